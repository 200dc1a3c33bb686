# SPDX-License-Identifier: MIT
"""What the server counts, through Prometheus' official client (an extra: requirements-metrics.txt).

Each process counts for itself. With several workers a scrape reaches one of them at a time; the metric
`stormcellar_process` tells which.
"""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from tornado.web import RequestHandler

if TYPE_CHECKING:
    from server import Application
    from sessions.store.session_store import FeedEntry

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


class Metrics:
    """The counters of one application in this process."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._registry = CollectorRegistry()
        label = {"process": str(os.getpid())}
        Gauge("stormcellar_process", "This process", list(label), registry=self._registry).labels(
            **label
        ).set(1)
        self._each_request = EachRequest()
        self._registry.register(self._each_request)
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
        self._gauge("live_connections", "Open WebSockets and event streams", lambda: len(application.live))
        self._gauge(
            "feed_live", "1 while revocations are heard", lambda: application.sessions.feed.state == "live"
        )
        self._gauge("feed_entries", "Revocations in memory", lambda: len(application.sessions.feed.revoked))
        if not application.options.verify_only:
            self._gauge("hash_queue", "Passwords waiting to be hashed", lambda: application.hasher.waiting)
            self._gauge("audit_events_lost", "Events that could not be kept", lambda: application.audit.lost)
            delivery = application.mails.delivery
            self._gauge("mails_waiting", "Mails in the outbox", lambda: delivery.state.waiting)
            self._gauge("mails_oldest_seconds", "Age of the oldest of them", lambda: delivery.state.oldest_s)
            self._gauge("mails_given_up", "Mails that were not sent", lambda: delivery.given_up)
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

    def _gauge(self, name: str, meaning: str, value: Any) -> None:
        gauge = Gauge(f"stormcellar_{name}", meaning, registry=self._registry)
        gauge.set_function(lambda: float(value()))

    def request(self, handler: RequestHandler) -> None:
        """A request was answered."""
        self._each_request.took(type(handler).__name__, handler.get_status(), handler.request.request_time())

    def get_session(self, outcome: str) -> None:
        """`outcome` is "session", "none", or the name of the error."""
        self._each_request.outcomes[outcome] += 1

    def session_event(self, event: str) -> None:
        self._events.labels(event).inc()

    def account_event(self, event: str) -> None:
        self._account_events.labels(event).inc()

    async def watch_loop(self) -> None:
        """Measure, for as long as the application runs, how late the event loop is."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(LAG_INTERVAL_S)
            self._lag.observe(max(0.0, time.perf_counter() - began - LAG_INTERVAL_S))

    def as_text(self) -> tuple[str, bytes]:
        """The content type and the text for a scrape."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)
