# SPDX-License-Identifier: MIT
"""What the server counts, through Prometheus' official client (an extra: requirements/metrics.txt).

With several workers a scrape reaches any one of them. Each worker writes its figures twice a second to a
folder that the supervisor made (prometheus_client's multiprocess mode), and a scrape adds the files up. A
worker that is killed loses the counts of half a second.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from tornado.web import RequestHandler

from stormcellar.events.journal import Event
from stormcellar.events.metric_files import FOLDER_VARIABLE, lock
from stormcellar.sessions.events import SessionEvent

if TYPE_CHECKING:
    from stormcellar.application import Application
    from stormcellar.sessions.session_store import FeedEntry

GaugeMode = Literal["livesum", "livemin", "livemax", "sum"]

LAG_INTERVAL_S = 0.5
LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class EachRequest(Collector):
    """What is counted at each request: plain numbers, which only the event loop's thread changes.

    The client's own counters take a lock for each label and bucket, which would be a good part of a request.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = defaultdict(int)
        self._times: dict[tuple[str, int], list[float]] = {}

    def took(self, handler: str, status: int, seconds: float) -> None:
        times = self._times.get((handler, status))
        if times is None:  # a number for each bucket, one for what is longer, and the sum of all
            times = self._times[handler, status] = [0] * (len(LATENCIES_S) + 2)
        times[bisect_left(LATENCIES_S, seconds)] += 1
        times[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        requests = HistogramMetricFamily(
            "stormcellar_request_seconds", "Requests by handler and status", labels=["handler", "status"]
        )
        bounds = [*map(str, map(float, LATENCIES_S)), "+Inf"]
        for (handler, status), times in self._times.items():
            buckets = list(zip(bounds, accumulate(times[:-1]), strict=True))
            requests.add_metric([handler, str(status)], buckets, times[-1])
        yield requests
        sessions = CounterMetricFamily(
            "stormcellar_get_session", "Outcomes of get_session", labels=["outcome"]
        )
        for outcome, count in self.outcomes.items():
            sessions.add_metric([outcome], count)
        yield sessions


class EachRequestFiles:
    """Writes what EachRequest counts into the folder of all workers."""

    def __init__(self, folder: Path, counted: EachRequest) -> None:
        self._counted = counted
        name = f"{os.getpid()}-each.db"
        self._files: dict[str, Any] = {
            kind: MmapedDict(str(folder / f"{kind}_{name}"))  # type: ignore[no-untyped-call]
            for kind in ("histogram", "counter")
        }

    def write(self) -> None:
        """Write the current totals of this process."""
        for metric in self._counted.collect():
            values = self._files[metric.type]
            below: float = 0  # the files have the number of each bucket alone, and no _count
            for sample in metric.samples:
                if sample.name.endswith("_count") and metric.type == "histogram":
                    continue
                value = sample.value
                if sample.name.endswith("_bucket"):
                    value, below = value - below, value
                    below = 0 if sample.labels["le"] == "+Inf" else below
                names, labels = [*sample.labels.keys()], [*sample.labels.values()]
                key = mmap_key(metric.name, sample.name, names, labels, metric.documentation)
                values.write_value(key, value, time.time())


class Metrics:
    """The counters of one application in this process, and the way to those of all workers."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._registry = CollectorRegistry()
        self._gauges: list[tuple[Gauge, Callable[[], float]]] = []
        self._each_request = EachRequest()
        self._registry.register(self._each_request)
        folder = os.environ.get(FOLDER_VARIABLE)
        self._folder = Path(folder) if folder else None
        self._shared = EachRequestFiles(self._folder, self._each_request) if self._folder else None
        Gauge(
            "stormcellar_process",
            "The processes",
            ["process"],
            registry=self._registry,
            multiprocess_mode="livesum",
        ).labels(str(os.getpid())).set(1)
        self._events = Counter(
            "stormcellar_session_events",
            "Created, revoked; refreshes by outcome: rotated, repeated, repeated_late, continued, theft",
            ["event"],
            registry=self._registry,
        )
        self._account_events = Counter(
            "stormcellar_account_events",
            "What happened to accounts, by the names of the audit log",
            ["event"],
            registry=self._registry,
        )
        self._gauge(
            "live_connections", "Open WebSockets and event streams", lambda: len(application.live), "livesum"
        )
        self._gauge(
            "feed_live",
            "1 while revocations are heard",
            lambda: application.sessions.feed.state == "live",
            "livemin",
        )
        self._gauge(
            "feed_entries",
            "Revocations in memory",
            lambda: len(application.sessions.feed.revoked),
            "livemax",
        )
        if not application.options.verify_only:
            self._gauge(
                "hash_queue", "Passwords waiting to be hashed", lambda: application.hasher.waiting, "livesum"
            )
            self._gauge(
                "audit_events_lost", "Events that could not be kept", lambda: application.audit.lost, "sum"
            )
            delivery = application.mails.delivery
            self._gauge("mails_waiting", "Mails in the outbox", lambda: delivery.state.waiting, "livemax")
            self._gauge(
                "mails_oldest_seconds",
                "Age of the oldest of them",
                lambda: delivery.state.oldest_s,
                "livemax",
            )
            self._gauge("mails_given_up", "Mails that were not sent", lambda: delivery.given_up, "sum")
        self._lag = self._histogram("event_loop_lag", "How late the event loop was")

        if not application.options.verify_only:
            self._feed_delay = self._histogram(
                "feed_delay", "From writing a revocation or a change of claims to hearing of it here"
            )
            application.sessions.feed.listen(self._heard)

    def _heard(self, entry: FeedEntry) -> None:
        sessions = self._application.sessions
        if sessions.feed.state != "never" and entry.kind in ("revoked", "payload"):
            self._feed_delay.observe(max(0.0, sessions.heard_after_s(entry)))

    def _histogram(self, name: str, meaning: str) -> Histogram:
        return Histogram(f"stormcellar_{name}_seconds", meaning, buckets=LATENCIES_S, registry=self._registry)

    def _gauge(self, name: str, meaning: str, value: Callable[[], float], mode: GaugeMode) -> None:
        """Add a gauge; `mode` says how the values of several workers become one."""
        gauge = Gauge(f"stormcellar_{name}", meaning, registry=self._registry, multiprocess_mode=mode)
        self._gauges.append((gauge, value))

    def request(self, handler: RequestHandler) -> None:
        """A request was answered."""
        self._each_request.took(type(handler).__name__, handler.get_status(), handler.request.request_time())

    def get_session(self, outcome: str) -> None:
        """`outcome` is "session", "none", or the name of the error."""
        self._each_request.outcomes[outcome] += 1

    def count_session_event(self, event: SessionEvent) -> None:
        self._events.labels(event.name).inc()

    def count_event(self, event: Event) -> None:
        self._account_events.labels(event.name).inc()

    async def watch_loop(self) -> None:
        """Measure, for as long as the application runs, how late the event loop is."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(LAG_INTERVAL_S)
            self._lag.observe(max(0.0, time.perf_counter() - began - LAG_INTERVAL_S))
            self.write_shared()

    def write_shared(self) -> None:
        """Write the figures of this process to the folder of all workers, if there is one."""
        if self._shared is not None:
            self._set_gauges()
            self._shared.write()

    def _set_gauges(self) -> None:
        for gauge, value in self._gauges:
            gauge.set(float(value()))

    def as_text(self) -> tuple[str, bytes]:
        """Return the content type and the text for a scrape."""
        self._set_gauges()
        if self._folder is None:
            return CONTENT_TYPE_LATEST, generate_latest(self._registry)
        self.write_shared()
        registry = CollectorRegistry()
        with lock(self._folder, fcntl.LOCK_SH):
            MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
            return CONTENT_TYPE_LATEST, generate_latest(registry)
