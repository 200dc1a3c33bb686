# SPDX-License-Identifier: MIT
"""How lines of the log look, for people and for programs.

Source: OWASP ASVS 5.0, 16.2 and 16.4.1.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stormcellar.events import logs
from stormcellar.events.journal import Event, Journal, log_event
from stormcellar.events.logs import (
    JsonFormatter,
    LineHandler,
    TextFormatter,
    current_request,
    escaped,
    only_handler,
    utc,
)
from stormcellar.events.publisher import Publisher
from stormcellar.sessions.events import SessionEvent, session_hash
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.serving import ServerProcess

WHEN = 1_800_000_000.1239
TIME = "2027-01-15T08:00:00.123Z"
NASTY = "a\r\nERROR forged\x1b[2J\x00\x85\u2028\u202eb\ud800"


def record(message: str = "hello", *args: Any, **more: Any) -> logging.LogRecord:
    found = logging.LogRecord(
        "stormcellar.test", logging.WARNING, "", 0, message, args, more.pop("exc", None)
    )
    found.created = WHEN
    vars(found).update(more)
    return found


def failure() -> Any:
    try:
        raise RuntimeError(NASTY)
    except RuntimeError as error:
        return type(error), error, error.__traceback__


@pytest.fixture
def serving() -> Iterator[Any]:
    """While a request of this number and session is being served."""
    request = SimpleNamespace(remote_ip="203.0.113.7")
    handler = SimpleNamespace(
        request_id="0a1b2c", session=SimpleNamespace(handle="the-handle"), request=request
    )
    reset = current_request.set(handler)  # type: ignore[arg-type]
    yield handler
    current_request.reset(reset)


class TestLinesWithoutARecord:
    """The line of each request is written without one; nobody who reads the log can tell."""

    @pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
    def test_they_are_those_that_a_record_makes(
        self, formatter: TextFormatter, serving: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        handler = LineHandler(io.StringIO())
        handler.setFormatter(formatter)
        monkeypatch.setattr("stormcellar.events.logs.time.time", lambda: WHEN)
        handler.write_line("WARNING", "stormcellar.test", NASTY, {"status": 200})
        written = handler.stream.getvalue()  # type: ignore[attr-defined]
        handler.emit(record(NASTY, fields={"status": 200}))
        assert handler.stream.getvalue() == written * 2  # type: ignore[attr-defined]

    def test_they_are_written_only_where_a_record_would_go_nowhere_else(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = logging.root
        monkeypatch.setattr(root, "handlers", [])
        log = logging.getLogger("stormcellar.somewhere")
        assert only_handler(log, logging.INFO) is None
        ours = LineHandler(io.StringIO())
        root.addHandler(ours)
        assert only_handler(log, logging.INFO) is ours
        ours.setLevel(logging.WARNING)
        assert only_handler(log, logging.INFO) is None
        ours.setLevel(logging.NOTSET)
        other = logging.NullHandler()
        for somebody in (log, root):
            somebody.addHandler(other)
            assert only_handler(log, logging.INFO) is None
            somebody.removeHandler(other)
        log.addFilter(lambda _: True)
        assert only_handler(log, logging.INFO) is None

    def test_a_line_that_cannot_be_written_fails_no_request(self) -> None:
        """The disk under the log may be full, or whoever reads it gone."""

        class Full(io.StringIO):
            def write(self, _: str) -> int:
                raise OSError(28, "No space left on device")

        closed = io.StringIO()
        closed.close()
        for stream in (Full(), closed):
            handler = LineHandler(stream)
            handler.setFormatter(TextFormatter())
            handler.write_line("INFO", "stormcellar.access", "200 GET /", {})


class TestText:
    def test_a_line_says_when_in_utc_how_bad_where_and_what(self) -> None:
        assert TextFormatter().format(record("%d of %s", 2, "three")) == (
            f"{TIME} WARNING stormcellar.test 2 of three"
        )

    def test_while_a_request_is_served_its_number_and_its_session_stand_in_it(self, serving: Any) -> None:
        known = f"{TIME} WARNING stormcellar.test [0a1b2c {session_hash('the-handle')}] hello"
        assert TextFormatter().format(record()) == known
        serving.session = None
        assert TextFormatter().format(record()) == f"{TIME} WARNING stormcellar.test [0a1b2c] hello"

    def test_nothing_begins_a_line_or_steers_a_terminal(self) -> None:
        for line in TextFormatter().format(record("%s", NASTY, exc=failure())).splitlines()[1:]:
            assert line.startswith("    "), line
        text = TextFormatter().format(record(NASTY, exc=failure()))
        assert not re.search("[^\\n\x20-\x7e]", text)
        assert "a\\x0d\\x0aERROR forged\\x1b[2J\\x00\\x85\\u2028\\u202eb\\ud800" in text


class TestJson:
    def test_a_line_is_one_object_with_what_its_record_carries(self, serving: Any) -> None:
        fields = {"status": 200, "path": "/"}
        assert json.loads(JsonFormatter().format(record("%d", 5, fields=fields))) == {
            "time": TIME,
            "level": "WARNING",
            "logger": "stormcellar.test",
            "message": "5",
            "request_id": "0a1b2c",
            "session": session_hash("the-handle"),
            **fields,
        }

    def test_outside_a_request_there_is_no_number_and_no_session(self) -> None:
        assert json.loads(JsonFormatter().format(record())).keys() == {"time", "level", "logger", "message"}

    def test_an_exception_is_a_field_and_the_line_stays_one_line_of_ascii(self) -> None:
        line = JsonFormatter().format(record(NASTY, exc=failure()))
        assert re.fullmatch(r"[\x20-\x7e]+", line)
        assert json.loads(line)["message"] == NASTY
        assert "RuntimeError" in json.loads(line)["exception"]
        assert "Traceback" in json.loads(line)["exception"]


def test_moments_are_in_utc_with_milliseconds() -> None:
    assert utc(0.0) == "1970-01-01T00:00:00.000Z"
    assert utc(WHEN) == TIME


def test_a_handle_cannot_be_read_from_what_stands_for_it() -> None:
    assert re.fullmatch("[0-9a-f]{12}", session_hash("one"))
    assert session_hash("one") != session_hash("two")
    assert session_hash("\ud800")  # whatever a client may send


class TestJournal:
    def test_while_a_request_is_served_its_client_and_its_number_are_noted(
        self, serving: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        journal, heard = journal_and_heard()
        with caplog.at_level(logging.INFO):
            journal.record(
                "throttled", user_id="ann", session_handle="h", detail="e-mail\nlookups " + 300 * "x"
            )
        (event,) = heard
        assert (event.client_address, event.request_id) == ("203.0.113.7", "0a1b2c")
        assert event.detail.startswith("e-mail\\x0alookups xxx")
        assert len(event.detail) < 210
        (line,) = caplog.records
        assert line.levelno == logging.WARNING
        assert line.getMessage().startswith(f"throttled: user ann, session {session_hash('h')}, from 203.")
        assert line.fields == {  # type: ignore[attr-defined]
            "event": "throttled",
            "user_id": "ann",
            "session": session_hash("h"),
            "client_address": "203.0.113.7",
            "detail": event.detail,
        }

    def test_outside_a_request_it_notes_what_it_is_given(self) -> None:
        journal, heard = journal_and_heard()
        journal.record("account deleted", user_id="ann")
        assert heard == [Event("account deleted", FakeClock().now(), "ann")]

    @pytest.mark.parametrize(
        ("engine", "kept"),
        [
            (("created", ""), ["signed in"]),
            (("rotated", ""), []),
            (("repeated", ""), []),
            (("repeated_late", ""), ["session renewed late"]),
            (("continued", ""), ["session continued"]),
            (("theft", ""), ["theft"]),
            (("revoked", "theft"), []),  # which is told once
            (("revoked", "signed out"), ["signed out"]),
            (("revoked", "new password"), ["session revoked"]),
        ],
    )
    def test_what_becomes_of_the_engines_events(self, engine: tuple[Any, str], kept: list[str]) -> None:
        journal, heard = journal_and_heard()
        name, reason = engine
        journal.session_event(SessionEvent(name, 1.0, "h", "ann", reason))
        assert [event.name for event in heard] == kept
        assert all((event.user_id, event.session_handle) == ("ann", "h") for event in heard)


def journal_and_heard() -> tuple[Journal, list[Event]]:
    """A journal, and the events that a subscriber has heard of it."""
    events, heard = Publisher(), []  # type: ignore[var-annotated]
    events.subscribe(Event, log_event)
    events.subscribe(Event, heard.append)
    return Journal(FakeClock(), events), heard


@pytest.mark.slow
def test_a_server_that_is_told_so_logs_json_alone(tmp_path: Path) -> None:
    from tornado.httpclient import AsyncHTTPClient

    async def visit(url: str) -> str:
        answer = await AsyncHTTPClient().fetch(url + "/none?token=secret", raise_error=False)
        return str(answer.headers["X-Request-Id"])

    with ServerProcess(tmp_path, "--log_format=json", "--debug") as server:
        number = asyncio.run(visit(server.url))
        server.stop()
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    said = [line for line in server.log.splitlines() if not line.startswith("{")]
    assert len(said) == 3, said  # where it is, where its data is, how to stop it
    (access,) = (line for line in lines if line["logger"] == "stormcellar.access")
    assert access["request_id"] == number
    assert (access["method"], access["path"], access["status"]) == ("GET", "/none", 404)
    assert access["client_address"] == "127.0.0.1"
    assert access["duration_ms"] >= 0
    assert "secret" not in server.log


def test_control_characters_are_written_out() -> None:
    assert escaped("tab\there, ümlaut stays") == "tab\\x09here, ümlaut stays"


def test_lines_beyond_the_bound_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of a full pipe comes back; the writer of the lines never waited."""
    monkeypatch.setattr(logs, "MOST_WAITING", 100_000)
    reader, writer = os.pipe()
    stream = logs.BackgroundWriter(writer, TextFormatter())
    for _ in range(4000):
        stream.write("x" * 99 + "\n")
    stream.finish(0.1)
    received = b""
    while b"lines were dropped" not in received:
        received += os.read(reader, 65536)
        stream.write("x" * 99 + "\n")
    dropped = re.findall(rb"WARNING stormcellar.log (\d+) lines were dropped", received)
    assert int(dropped[0]) > 1000
    assert received.count(b"x" * 99) > 1000
    os.close(reader)
    os.close(writer)
