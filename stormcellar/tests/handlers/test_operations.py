# SPDX-License-Identifier: MIT
"""Alive, ready, and what is counted."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from stormcellar.events.journal import EventName
from stormcellar.events.metrics import LATENCIES_S, EachRequest
from stormcellar.sessions.session_store import FeedEntry
from stormcellar.tests.handlers.test_live import Site, run, site
from stormcellar.tests.serving import ROOT


async def get(here: Site, path: str, **headers: str) -> HTTPResponse:
    url = f"http://127.0.0.1:{here.port}{path}"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await AsyncHTTPClient().fetch(url, headers=sent, raise_error=False)


def test_a_server_that_answers_is_alive_whatever_name_it_is_called_by(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            answer = await get(here, "/healthz", Host="10.0.0.7")
            assert (answer.code, json.loads(answer.body)) == (200, {"status": "alive"})

    run(story)


def test_a_server_is_ready_with_database_feed_and_keys_and_not_while_it_drains(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            answer = await get(here, "/readyz")
            assert answer.code == 200
            assert set(json.loads(answer.body)["checks"]) == {
                "accepting",
                "database",
                "feed",
                "keys",
                "passwords",
            }
            assert json.loads(answer.body)["feed_mode"] == "poll"
            here.application.begin_draining()
            answer = await get(here, "/readyz")
            assert answer.code == 503
            assert json.loads(answer.body)["checks"]["accepting"] is False
            assert answer.headers["Connection"] == "close"

    run(story)


def test_a_lost_feed_shows_in_the_readiness(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            feed = here.application.sessions.feed
            await feed.stop()  # or it would catch up at once
            feed._lost()
            answer = await get(here, "/readyz")
            assert (answer.code, json.loads(answer.body)["checks"]["feed"]) == (503, False)

    run(story)


def test_metrics_count_requests_outcomes_and_refreshes_by_the_row_of_their_table(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session = await here.sign_in()
            assert session.new_tokens
            cookie = f"sAccessToken={session.new_tokens.access_token}"
            await get(here, "/dashboard", Cookie=cookie)
            await get(here, "/dashboard")
            for _ in range(2):
                await here.application.sessions.refresh_session(session.new_tokens.refresh_token or "")
            await asyncio.sleep(0)
            text = (await get(here, "/metrics")).body.decode()
            assert 'stormcellar_get_session_total{outcome="session"} 1.0' in text
            assert 'stormcellar_get_session_total{outcome="UnauthorisedError"} 1.0' in text
            assert 'stormcellar_session_events_total{event="rotated"} 1.0' in text
            assert 'stormcellar_session_events_total{event="repeated"} 1.0' in text
            assert 'stormcellar_session_events_total{event="created"} 1.0' in text
            assert 'stormcellar_account_events_total{event="signed in"} 1.0' in text
            assert 'stormcellar_request_seconds_count{handler="DashboardHandler",status="200"} 1.0' in text
            assert session.handle not in text

    run(story)


def test_how_late_a_revocation_is_heard_is_measured(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            sessions = here.application.sessions
            session = await here.sign_in()
            heard = asyncio.Event()
            sessions.feed.listen(lambda _: heard.set())
            late = FeedEntry(10**6, "revoked", session.handle, 0, "", sessions._tokens_end() - 0.2)
            sessions.feed._apply(late)
            await heard.wait()
            text = (await get(here, "/metrics")).body.decode()
            assert 'stormcellar_feed_delay_seconds_bucket{le="0.1"} 0.0' in text
            assert 'stormcellar_feed_delay_seconds_bucket{le="0.25"} 1.0' in text

    run(story)


def test_metrics_are_for_this_machine_only(tmp_path: Path) -> None:
    """A proxy on this machine passes on what others ask; it says so."""

    async def story() -> None:
        async with site(tmp_path) as here:
            assert (await get(here, "/metrics")).code == 200
            assert (await get(here, "/metrics", X_Forwarded_For="192.0.2.1")).code == 404

    run(story)


def test_metrics_are_for_the_networks_of_the_setting(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path, metrics_from=("10.0.0.0/8",)) as here:
            assert (await get(here, "/metrics")).code == 404
        async with site(tmp_path, metrics_from=("10.0.0.0/8", "127.0.0.0/8")) as here:
            assert (await get(here, "/metrics")).code == 200

    run(story)


def test_health_probes_are_logged_only_if_they_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="stormcellar.access")

    async def story() -> None:
        async with site(tmp_path) as here:
            for path in ("/healthz", "/readyz", "/metrics", "/login"):
                await get(here, path)
            here.application.begin_draining()
            await get(here, "/readyz")

    run(story)
    logged = [line.split()[:3] for line in caplog.messages if line[:1].isdigit()]
    assert logged == [["200", "GET", "/login"], ["503", "GET", "/readyz"]]


def test_the_times_of_requests_are_written_as_the_official_histogram_writes_them() -> None:
    official, ours = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram(
        "stormcellar_request_seconds",
        "Requests by handler and status",
        ["handler", "status"],
        buckets=LATENCIES_S,
        registry=official,
    )
    counted = EachRequest()
    ours.register(counted)
    for status, seconds in ((200, 0.0), (200, 0.001), (200, 0.0011), (200, 5), (503, 7.5), (503, 0.3)):
        histogram.labels("PageHandler", str(status)).observe(seconds)
        counted.took("PageHandler", status, seconds)

    def samples(registry: CollectorRegistry) -> list[str]:
        lines = generate_latest(registry).decode().splitlines()
        return [line for line in lines if "request_seconds" in line and "_created" not in line]

    assert samples(ours) == samples(official)


OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def test_every_metric_is_explained_and_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            text = (await get(here, "/metrics")).body.decode()
            shown = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
            shown = {name for name in shown if not name.endswith("_created")}
            assert set(re.findall(r"^\| `(stormcellar_\w+)` \|", OPERATIONS, re.MULTILINE)) == shown

    run(story)


def test_every_event_of_the_audit_log_is_explained() -> None:
    table = OPERATIONS.split("## Audit log")[1].split("## Traces")[0]
    cells = re.findall(r"^\| (`.*?) \| ", table, re.MULTILINE)
    assert sorted(name for cell in cells for name in re.findall("`(.*?)`", cell)) == sorted(
        get_args(EventName)
    )
