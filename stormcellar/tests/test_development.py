# SPDX-License-Identifier: MIT
"""The development server goes on when a saved file cannot be started, and shows the reason."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stormcellar.dev import files
from stormcellar.dev.failures import Failure, is_own_host, is_reached_by_others, page
from stormcellar.tests.copies import copy_of_the_project
from stormcellar.tests.serving import ServerProcess

DEADLINE_S = 40.0
LOOK_S = 0.1

Answer = tuple[int, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_project(tmp_path_factory.mktemp("development") / "site")


def development_server(site: Path, folder: Path, *arguments: str) -> ServerProcess:
    program = (sys.executable, str(site / "server.py"))
    return ServerProcess(folder / "data", "--debug", *arguments, program=program)


@pytest.fixture
def server(site: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    (tmp_path / "site.conf").write_text("site_name = Ours\n")
    with development_server(site, tmp_path, f"--config={tmp_path / 'site.conf'}") as running:
        yield running


def ask(url: str, path: str = "/login", *, accept: str = "text/html", host: str | None = None) -> Answer:
    """The status and the body; (0, "") if nobody answers."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path, headers={"Accept": accept, "Host": host or place.netloc})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def ask_until(server: ServerProcess, status: int, path: str = "/login") -> str:
    """Ask again until the answer has this status; returns its body."""
    end = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while time.monotonic() < end:
        found, body = ask(server.url, path)
        if found == status:
            return body
        pause.wait(LOOK_S)
    raise AssertionError(f"the last answer was {found}, not {status}; the server said:\n{server.log}")


BROKEN = {
    "a syntax error": ("handlers/pages.py", "\ndef broken(:\n", "SyntaxError", "def broken(:"),
    "an import error": (
        "stormcellar/web/mails.py",
        "\nimport no_such\n",
        "ModuleNotFoundError",
        "import no_such",
    ),
    "an error in settings.py": ("stormcellar/settings.py", "\n1 / 0\n", "ZeroDivisionError", "1 / 0"),
    "an exit": (
        "stormcellar/events/journal.py",
        "\nimport os; os._exit(3)\n",
        "ended before it was ready",
        "",
    ),
    "a handler without an access rule": (
        "handlers/routes.py",
        "\n_plain = routes\ndef routes(options):\n"
        "    from handlers.base import BaseHandler\n"
        "    class Unsaid(BaseHandler): pass\n"
        "    return [*_plain(options), URLSpec(r'/unsaid', Unsaid)]\n",
        "Unsaid",
        "",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("file", "text", "title", "line"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_shown_and_the_server_returns_when_it_is_saved_again(
    site: Path, server: ServerProcess, file: str, text: str, title: str, line: str
) -> None:
    path = site / file
    good = path.read_text(encoding="utf-8")
    assert ask(server.url)[0] == 200
    try:
        path.write_text(good + text, encoding="utf-8")
        shown = ask_until(server, 503)
        assert title in shown
        if line:
            assert f"{line}</mark>" in shown
            assert f"{path}, line {good.count(chr(10)) + 2}<" in shown
        status, plain = ask(server.url, accept="application/json")
        assert (status, "<html" not in plain) == (503, True)
        assert title in plain
        if line:
            assert "Traceback" in server.log
            assert line not in ask(server.url, host="attacker.example")[1]
    finally:
        path.write_text(good, encoding="utf-8")
    assert "<form" in ask_until(server, 200)
    assert server.log.count("Ctrl+C stops it") == 1
    assert server.stop() == 0


@pytest.mark.slow
def test_a_wrong_setting_in_the_file_of_settings_is_shown(server: ServerProcess, tmp_path: Path) -> None:
    assert "Ours" in ask(server.url)[1]
    (tmp_path / "site.conf").write_text("site_nam = Ours\n")
    shown = ask_until(server, 503)
    assert "there is no such setting. Did you mean site_name" in shown
    assert "Traceback" not in shown
    (tmp_path / "site.conf").write_text("site_name = Theirs\n")
    assert "Theirs" in ask_until(server, 200)


@pytest.mark.slow
def test_a_missing_template_breaks_its_page_only(site: Path, server: ServerProcess) -> None:
    template = site / "templates" / "account" / "login.html"
    good = template.read_text(encoding="utf-8")
    try:
        template.unlink()
        ask_until(server, 500)
        assert ask(server.url, "/healthz")[0] == 200
    finally:
        template.write_text(good, encoding="utf-8")
    ask_until(server, 200)


@pytest.mark.slow
def test_the_server_stops_while_a_file_is_broken(site: Path, server: ServerProcess) -> None:
    path = site / "handlers" / "pages.py"
    good = path.read_text(encoding="utf-8")
    try:
        path.write_text(good + "\n(\n", encoding="utf-8")
        ask_until(server, 503)
        assert server.stop() == 0
    finally:
        path.write_text(good, encoding="utf-8")


@pytest.mark.slow
def test_a_child_that_ends_by_itself_is_reported(server: ServerProcess) -> None:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    assert "The server ended with status -9" in ask_until(server, 503)


@pytest.mark.slow
def test_the_child_ends_with_a_parent_that_is_killed(server: ServerProcess) -> None:
    os.kill(server.pid, signal.SIGKILL)
    end = time.monotonic() + DEADLINE_S
    while ask(server.url)[0] and time.monotonic() < end:
        pass
    assert ask(server.url)[0] == 0


@pytest.mark.slow
def test_a_first_start_that_fails_ends_the_program(site: Path, tmp_path: Path) -> None:
    server = development_server(site, tmp_path, "--database=postgresql://localhost:1/none")
    with pytest.raises(AssertionError, match="the server did not start"):
        server.start()
    assert "Stormcellar does not start" in server.log
    assert "Traceback" not in server.log


def test_the_page_escapes_what_it_shows(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("".join(f"line {number}\n" for number in range(1, 20)) + "<script>\n")
    shown = page(Failure("<b>", str(file), 20, "<i>"))
    assert "<b>" not in shown
    assert "<script>" not in shown
    assert "<i>" not in shown
    assert "<mark>   20  &lt;script&gt;</mark>" in shown
    assert "line 14" not in shown
    assert "line 15" in shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("www.example.com", True),
        ("attacker.example", False),
        ("", False),
    ],
)
def test_only_names_of_this_machine_get_the_source(name: str, expected: bool) -> None:
    assert is_own_host(name, "https://www.example.com") is expected


def test_added_removed_and_changed_files_are_noticed(tmp_path: Path) -> None:
    file = tmp_path / "settings.conf"
    before = files.snapshot(tmp_path / "site", [file])
    assert files.changed(before, files.snapshot(tmp_path / "site", [file])) == ""
    file.write_text("a = 1\n")
    added = files.snapshot(tmp_path / "site", [file])
    assert files.changed(before, added).endswith("settings.conf")
    file.write_text("a = 12\n")
    assert files.changed(added, files.snapshot(tmp_path / "site", [file])).endswith("settings.conf")
    assert files.changed(added, before).endswith("settings.conf")


def test_the_file_of_settings_is_found_where_a_start_looks_for_it() -> None:
    assert files.config_files(["--config=/a"], {}) == [Path("/a")]
    assert files.config_files(["--debug", "--config", "/a"], {"STORMCELLAR_CONFIG": "/b"}) == [
        Path("/b"),
        Path("/a"),
    ]
    assert files.config_files(["--config"], {}) == []


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("", False),
        ("http://localhost:8888", False),
        ("https://127.0.0.1:8443", False),
        ("https://a-name.tunnel.example", True),
        ("http://192.168.1.20:8888", True),
    ],
)
def test_visitors_of_other_machines_see_no_traceback(origin: str, expected: bool) -> None:
    assert is_reached_by_others(origin) is expected


def test_the_server_starts_again_with_cookie_names_of_its_own(server: ServerProcess) -> None:
    """A browser on this host brings the cookies of another development server on another port."""
    claims = base64.urlsafe_b64encode(json.dumps({"iss": "http://localhost:9999/auth"}).encode()).decode()
    header = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"d-1","typ":"JWT","version":"5"}').decode()
    token = f"{header.rstrip('=')}.{claims.rstrip('=')}.{'A' * 342}"
    request = urllib.request.Request(server.url + "/login", headers={"Cookie": f"sAccessToken={token}"})
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        assert answer.status == 200
    end = time.monotonic() + DEADLINE_S
    while "the server was started again" not in server.log:
        assert time.monotonic() < end, server.log
        time.sleep(LOOK_S)
    fields = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": "Heather-brooks-7"}]
    request = urllib.request.Request(
        server.url + "/auth/signup",
        json.dumps({"formFields": fields}).encode(),
        {"Content-Type": "application/json", "Cookie": f"sAccessToken={token}", "st-auth-mode": "cookie"},
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        names = {line.partition("=")[0] for line in answer.headers.get_all("Set-Cookie")}
    assert {"sAccessToken_0", "sRefreshToken_0"} <= names
    assert "sAccessToken" not in names
