# SPDX-License-Identifier: MIT
"""The code of the documentation runs as it stands there, and does what the page says of it.

The Python blocks of a page are one program: they run in order, with the names that the page speaks of. A
block that cannot run has a comment in front of it, which says why: <!-- not run: ... -->.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.routing import URLSpec
from tornado.websocket import websocket_connect

from stormcellar.accounts import Mailbox
from stormcellar.api.openapi import description
from stormcellar.application import Application
from stormcellar.pages import STATIC
from stormcellar.testing.client import Client, json_of
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import LIFETIME_S
from stormcellar.tests.parts import require
from stormcellar.tests.serving import ROOT, SITE_DIR
from stormcellar.web.mails import Mails

pytestmark = pytest.mark.kit

DOCS = ROOT / "docs"
ELSEWHERE = {
    "coming-from-supertokens.md": "stormcellar/tests/test_docs.py",  # it runs as another backend
    "testing.md": "stormcellar/tests/test_testing_page.py",  # its blocks are tests
}
PASSWORD = "an amber lantern hums"
LEAST_PAGE = '{% extends "base.html" %}{% block title %}X{% end %}{% block content %}SHOWN{% end %}'
MODULE = re.compile(r'^import \{(.*?)\} from "\./(\S+)";$', re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    """The code of a page, but for what says why it is not run."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(
        rf"^(<!-- not run: .+ -->\n)?```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    )
    return [code for reason, code in found if not reason]


PAGES = sorted(path.name for path in DOCS.glob("*.md") if blocks(path.name, "python"))


class Program:
    """The Python blocks of a page, and the names that they have made."""

    def __init__(self, page: str, app: Application, user_id: str, session_handle: str) -> None:
        self.page = page
        self.routes: list[URLSpec] = []
        session = SimpleNamespace(user_id=user_id, handle=session_handle)
        self.names: dict[str, Any] = {
            "__name__": page,
            "application": app,
            "self": SimpleNamespace(app=app, session=session),
            "user_id": user_id,
            "session_handle": session_handle,
            "time": time,
            "URLSpec": self._route,
        }

    def _route(self, *args: Any, **more: Any) -> None:
        self.routes.append(URLSpec(*args, **more))

    async def run(self, containing: str = "", *, but: str = "\0") -> None:
        """Run all blocks, or those with these words and not with those."""
        for number, block in enumerate(blocks(self.page, "python"), 1):
            if containing in block and but not in block:
                name = f"docs/{self.page}, block {number}"
                result = eval(compile(block, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), self.names)
                if inspect.isawaitable(result):
                    await result

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


@pytest.fixture
def templates(app: Application, tmp_path: Path) -> Path:
    """A copy of the templates, in which a page may write its own."""
    folder = Path(shutil.copytree(SITE_DIR / "templates", tmp_path / "templates"))
    (folder / "mail").mkdir()
    app.settings["template_path"] = str(folder)
    app.mails = Mails(
        folder,
        app.mails.delivery.outbox,
        Mailbox(),
        site_name=app.options.site_name,
        link_base="http://localhost:8888",
    )
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    for name, code in re.findall(
        r"In `templates/([\w/.]+)`:\n\n```html\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    ):
        (folder / name).write_text(code)
    mail = re.search(r"^```\n(\{# templates/mail/(\w+)\.txt #\}\n.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert mail
    (folder / "mail" / f"{mail[2]}.txt").write_text(mail[1])
    (folder / "mail" / f"{mail[2]}.html").write_text("<p>{{ link }}</p>")
    return folder


@pytest.fixture
def program(app: Application, client: Client, templates: Path) -> Callable[[str], Any]:
    """Signs the client up, runs a page's blocks and serves its routes."""

    async def run(page: str, **which: str) -> Program:
        await client.sign_up(password=PASSWORD)
        made = Program(page, app, client.user_id, client.session_handle)
        await made.run(**which)
        app.add_handlers(r".*", made.routes)
        return made

    return run


def least_page(folder: Path, name: str, shows: str) -> None:
    (folder / name).write_text(LEAST_PAGE.replace("SHOWN", shows))


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ELSEWHERE])
@pytest.mark.gen_test
async def test_the_python_of_a_page_runs(page: str, program: Any) -> None:
    await program(page)


def test_every_page_whose_code_runs_elsewhere_is_there() -> None:
    for page, test in ELSEWHERE.items():
        if page in PAGES:
            assert (ROOT / test).exists(), test


def test_what_scripts_of_the_documentation_import_is_exported() -> None:
    seen = 0
    for path in DOCS.glob("*.md"):
        for names, module in MODULE.findall("\n".join(blocks(path.name, "js"))):
            source = (STATIC / module).read_text(encoding="utf-8")
            for name in names.split(","):
                assert re.search(rf"^export (async )?function {name.strip()}\b", source, re.MULTILINE), name
                seen += 1
    assert seen >= 2


# -- pages.md ---------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_reports_are_for_people_who_are_signed_in(
    program: Any, client: Client, new_client: Callable[..., Client]
) -> None:
    await program("pages.md")
    assert f"Reports for {client.user_id}" in (await client.get("/reports")).body.decode()
    guest = await new_client().get("/reports")
    assert (guest.code, guest.headers["Location"]) == (303, "/login?redirectBack=/reports")


@pytest.mark.gen_test
async def test_prices_are_for_everybody_and_know_their_reader(
    app: Application, program: Any, templates: Path, client: Client, new_client: Callable[..., Client]
) -> None:
    code = await program("pages.md")
    fragment, script = [block for block in blocks("pages.md", "html") if "extends" not in block]
    least_page(templates, "prices.html", "{{ name }}:" + fragment)
    (templates / "prices.html").write_text((templates / "prices.html").read_text() + script)
    app.add_handlers(r".*", [(r"/prices", code["PricesHandler"])])
    for_guests = (await new_client().get("/prices")).body.decode()
    assert re.search(r'guest:\s*<a href="/login\?redirectBack=%2Fprices">Sign in</a>', for_guests)
    assert '<script type="module" src="/static/reports.js"></script>' in for_guests
    own = (await client.get("/prices")).body.decode()
    assert f"Signed in as {client.user_id}." in own
    assert "<time datetime=" in own


@pytest.mark.gen_test
async def test_invoices_ask_for_a_role_and_a_recent_sign_in(
    app: Application, program: Any, templates: Path, client: Client, clock: FakeClock
) -> None:
    code = await program("pages.md")
    least_page(templates, "invoices.html", "invoices")
    app.add_handlers(r".*", [(r"/invoices", code["InvoicesHandler"])])
    assert (await client.get("/invoices")).code == 403
    await app.account_claims.change_roles(app.sessions, client.user_id, add=["accounting"])
    assert (await client.get("/invoices")).code == 200
    clock.advance(15 * 60 + 1)
    late = await client.get("/invoices")
    assert (late.code, late.headers["Location"]) == (303, "/confirm-password?redirectBack=/invoices")
    unsent = await client.post("/invoices", {"paid": "yes"})
    assert (unsent.code, unsent.headers["Location"]) == (
        303,
        "/confirm-password?redirectBack=/invoices&unsent=yes",
    )


@pytest.mark.gen_test
async def test_downloads_are_for_those_who_paid_and_lead_all_others_to_the_prices(
    app: Application, program: Any, templates: Path, client: Client
) -> None:
    code = await program("pages.md")
    least_page(templates, "downloads.html", "downloads")
    app.add_handlers(r".*", [(r"/downloads", code["DownloadsHandler"])])
    refused = await client.get("/downloads")
    assert (refused.code, refused.headers["Location"]) == (303, "/prices")
    await app.sessions.set_claim_value(client.session_handle, code["PAID"], True, owner=None)
    await client.refresh()
    assert (await client.get("/downloads")).code == 200


# -- api.md -----------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_notes_take_and_give_json_and_refuse_as_the_page_says(
    program: Any, client: Client, new_client: Callable[..., Client], clock: FakeClock
) -> None:
    await program("api.md")
    assert json_of(await client.call("/api/notes", method="GET"))["notes"] == []
    made = await client.call("/api/notes", {"text": "hello"})
    assert (made.code, json_of(made)["note"]) == (201, {"text": "hello"})
    garbled = await client.call("/api/notes", headers={"Content-Type": "application/json"})
    assert (garbled.code, sorted(json_of(garbled))) == (400, ["message", "requestId"])
    assert (await client.call("/api/notes", {"text": "x" * 65536})).code == 413
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://other.example"}
    assert (await client.call("/api/notes", {}, headers=foreign)).code == 403
    guest = await new_client().call("/api/notes", method="GET")
    assert (guest.code, json_of(guest)) == (401, {"message": "unauthorised"})
    clock.advance(LIFETIME_S)
    late = await client.call("/api/notes", method="GET")
    assert (late.code, json_of(late)) == (401, {"message": "try refresh token"})


@pytest.mark.gen_test
async def test_the_described_endpoint_is_in_the_description(app: Application, program: Any) -> None:
    code = await program("api.md")
    table = [URLSpec(r"/api/notes", code["DescribedNotesAPIHandler"])]
    assert sorted(description(table, app.options)["paths"]["/api/notes"]) == ["get", "post"]


@pytest.mark.gen_test
async def test_a_program_signs_in_calls_and_refreshes_by_the_commands_of_the_page(
    program: Any, base_url: str
) -> None:
    require("curl")
    await program("api.md")
    sign_in, calls = blocks("api.md", "sh")
    call, refresh = re.findall(r"^curl .*$", calls, re.MULTILINE)

    async def answer_of(command: str, **environment: str) -> str:
        command = command.replace("http://localhost:8888", base_url).replace("curl ", "curl -s ", 1)
        process = await asyncio.create_subprocess_shell(
            command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **environment}
        )
        return (await process.communicate())[0].decode()

    def tokens(answer: str) -> dict[str, str]:
        return {name.lower(): value for name, value in re.findall(r"^(st-\S+): (\S+)", answer, re.I | re.M)}

    first = tokens(await answer_of(sign_in))
    notes = json.loads(await answer_of(call, ACCESS_TOKEN=first["st-access-token"]))
    assert notes["notes"] == []
    second = tokens(await answer_of(refresh, REFRESH_TOKEN=first["st-refresh-token"]))
    assert second["st-refresh-token"] != first["st-refresh-token"]


# -- sockets.md -------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_socket_speaks_hears_messages_and_ends_with_its_session(
    app: Application, program: Any, client: Client, base_url: str
) -> None:
    code = await program("sockets.md", but="send_to_user")
    cookie = f"sAccessToken={client.cookies['sAccessToken']}"
    address = base_url.replace("http", "ws") + "/ws/echo"
    socket = await websocket_connect(HTTPRequest(address, headers={"Cookie": cookie, "Origin": base_url}))
    assert await socket.read_message() == f"hello {client.user_id}"
    await socket.write_message("and back")
    assert await socket.read_message() == "and back"
    await code.run("send_to_user")
    said = {await socket.read_message(), await socket.read_message()}
    assert said == {"your report is ready", "only this browser"}
    await app.sessions.revoke_session(client.session_handle, owner=None)
    assert await socket.read_message() is None
    assert socket.close_code == 4001


@pytest.mark.gen_test
async def test_a_stream_ticks_and_its_last_event_says_why_it_ends(
    app: Application, program: Any, client: Client, http_client: AsyncHTTPClient, base_url: str
) -> None:
    code = await program("sockets.md", but="send_to_user")
    app.add_handlers(r".*", [(r"/ticks", code["TicksHandler"])])
    heard: list[str] = []
    ticked = asyncio.Event()

    def hear(chunk: bytes) -> None:
        heard.append(chunk.decode())
        ticked.set()

    headers = {"Cookie": f"sAccessToken={client.cookies['sAccessToken']}", "Sec-Fetch-Site": "same-origin"}
    stream = http_client.fetch(HTTPRequest(f"{base_url}/ticks", headers=headers, streaming_callback=hear))
    await ticked.wait()
    assert heard[0] == "event: tick\ndata: 0\n\n"
    await app.sessions.revoke_session(client.session_handle, owner=None)
    await stream
    assert heard[-1].startswith('event: session\ndata: {"code": 4001')


# -- forms.md ---------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_form_is_taken_shown_again_and_survives_an_expired_token(
    app: Application, program: Any, client: Client, clock: FakeClock
) -> None:
    code = await program("forms.md")
    app.add_handlers(r".*", [(r"/note", code["NoteHandler"])])
    assert 'name="text" value=""' in (await client.get("/note")).body.decode()
    refused = await client.post("/note", {"text": ""})
    assert refused.code == 422
    assert "Please write something." in refused.body.decode()
    clock.advance(2 * LIFETIME_S)
    await client.post("/note", {"text": "two hours"}, follow=True)
    assert [step.split("?")[0].split()[:2] for step in client.visited[:3]] == [
        ["POST", "/note"],
        ["POST", "/auth/session/refresh/return"],
        ["POST", "/note"],
    ]
    kept = await app.sessions.get_session_information(client.session_handle)
    assert kept is not None
    assert kept.session_data_in_database == {"note": "two hours"}


@pytest.mark.gen_test
async def test_an_upload_is_one_file(
    app: Application, program: Any, client: Client, clock: FakeClock
) -> None:
    code = await program("forms.md")
    app.add_handlers(r".*", [(r"/upload", code["UploadHandler"])])
    assert (await client.post("/upload", {})).code == 400
    clock.advance(2 * LIFETIME_S)
    taken = await client.post("/upload", files={"file": b"x" * 1000}, follow=True)
    assert taken.body == b"1000 bytes"
    assert code["UploadHandler"].max_body_bytes > app.options.max_body_bytes == 10 * 1024 * 1024


# -- accounts.md ------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_mail_of_ones_own_leaves_and_users_are_made_and_locked(
    app: Application, program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await program("accounts.md")
    await app.mails.finish()
    (_, mail), *_ = app.mails.mailer.numbered()  # type: ignore[attr-defined]
    assert (mail.to, mail.subject) == ("ann@example.com", f"Your report at {app.options.site_name}")
    assert "https://www.example.com/reports" in mail.text
    bob = await app.accounts.get_by_email("bob@example.com")
    assert bob is not None
    assert bob.locked
    assert await app.accounts.roles(bob.user_id) == ["editor"]
    await code["PrintingMailer"]().send(mail)
    assert capsys.readouterr().out.endswith(f"ann@example.com {mail.subject}\n")


# -- coming-from-signed-cookies.md ------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_ticket_signs_in_and_leaving_ends_the_session(
    app: Application, program: Any, templates: Path, new_client: Callable[..., Client]
) -> None:
    code = await program("coming-from-signed-cookies.md")
    least_page(templates, "reports.html", "{{ user }}")
    app.add_handlers(
        r".*",
        [
            (r"/ticket", code["TicketLoginHandler"]),
            (r"/leave", code["LeaveHandler"]),
            (r"/reports", code["ReportsHandler"]),
        ],
    )
    client = new_client()
    assert (await client.post("/ticket", {"ticket": "nobody@example.com"})).code == 403
    signed_in = await client.post("/ticket?redirectBack=/reports", {"ticket": "ann@example.com"}, follow=True)
    assert client.user_id in signed_in.body.decode()
    user_id = client.user_id
    assert (await client.post("/leave")).headers["Location"] == "/"
    assert (await client.get("/reports")).headers["Location"] == "/login?redirectBack=/reports"
    await app.accounts.lock(user_id)
    assert (await client.post("/ticket", {"ticket": "ann@example.com"})).code == 403
