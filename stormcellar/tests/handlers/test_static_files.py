# SPDX-License-Identifier: MIT
"""Parts of static files: only of the version that the client has (RFC 9110, 13.1.5)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.httpclient import HTTPResponse
from tornado.web import StaticFileHandler

from stormcellar.application import Application
from stormcellar.pages import STATIC
from stormcellar.testing.client import Client
from stormcellar.tests import site as server
from stormcellar.web.static import SiteStaticHandler

OLD, NEW = b"the old text, some bytes", b"THE NEW TEXT, SOME BYTES"
LONG_AGO = 1_700_000_000


@pytest.fixture
def file(app: Application) -> Iterator[Path]:
    """A static file of the site."""
    path = server.SITE.folder / "static" / f"test-{os.getpid()}.txt"
    write(path, OLD, LONG_AGO)
    yield path
    path.unlink()


def write(path: Path, content: bytes, modified_at: int) -> None:
    path.write_bytes(content)
    os.utime(path, (modified_at, modified_at))


async def ask(client: Client, file: Path, **headers: str) -> HTTPResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.request("GET", f"/static/{file.name}", headers=sent)


@pytest.mark.parametrize("validator", ["Etag", "Last-Modified"])
@pytest.mark.gen_test
async def test_a_part_of_the_same_version_is_sent(client: Client, file: Path, validator: str) -> None:
    whole = await ask(client, file)
    part = await ask(client, file, Range="bytes=4-6", If_Range=whole.headers[validator])
    assert (part.code, part.body, part.headers["Content-Range"]) == (206, b"old", f"bytes 4-6/{len(OLD)}")


@pytest.mark.parametrize("validator", ["Etag", "Last-Modified"])
@pytest.mark.gen_test
async def test_the_whole_file_is_sent_if_it_has_changed(client: Client, file: Path, validator: str) -> None:
    whole = await ask(client, file)
    write(file, NEW, LONG_AGO + 60)
    answer = await ask(client, file, Range="bytes=4-6", If_Range=whole.headers[validator])
    assert (answer.code, answer.body) == (200, NEW)
    assert "Content-Range" not in answer.headers
    assert answer.headers["Etag"] != whole.headers["Etag"]


@pytest.mark.parametrize(
    "if_range", ['"another"', "W/{etag}", "{etag}, {etag}", "Tue, 14 Nov 2023 22:13:21 GMT", "soon"]
)
@pytest.mark.gen_test
async def test_another_validator_brings_the_whole_file(client: Client, file: Path, if_range: str) -> None:
    whole = await ask(client, file)
    answer = await ask(client, file, Range="bytes=4-6", If_Range=if_range.format(etag=whole.headers["Etag"]))
    assert (answer.code, answer.body) == (200, OLD)


@pytest.mark.gen_test
async def test_a_range_without_a_condition_is_served(client: Client, file: Path) -> None:
    assert (await ask(client, file, Range="bytes=4-6")).code == 206
    assert (await ask(client, file, If_Range='"x"')).code == 200


@pytest.mark.gen_test
async def test_a_changed_file_is_not_taken_for_unchanged(client: Client, file: Path) -> None:
    tag = (await ask(client, file)).headers["Etag"]
    assert (await ask(client, file, If_None_Match=tag)).code == 304
    write(file, NEW, LONG_AGO + 60)
    answer = await ask(client, file, If_None_Match=tag)
    assert (answer.code, answer.body) == (200, NEW)


# -- the kit's files, where the site has none ---------------------------------------------------------


@pytest.fixture
def own_static(app: Application, tmp_path: Path) -> Path:
    """The folder of static files of another site, at /own/."""
    folder = tmp_path / "own"
    folder.mkdir()
    app.add_handlers(r".*", [(r"/own/(.*)", SiteStaticHandler, {"path": folder})])
    return folder


@pytest.mark.gen_test
async def test_a_static_file_of_the_site_replaces_the_kits(client: Client, own_static: Path) -> None:
    kits = await client.get("/own/style.css")
    assert (kits.code, kits.body) == (200, (STATIC / "style.css").read_bytes())
    (own_static / "style.css").write_bytes(NEW)
    own = await client.get("/own/style.css")
    assert (own.code, own.body) == (200, NEW)
    assert own.headers["Etag"] != kits.headers["Etag"]


@pytest.mark.gen_test
async def test_only_files_of_the_two_folders_are_served(client: Client, own_static: Path) -> None:
    (own_static.parent / "beside.txt").write_text("private")
    for path in ("../beside.txt", "../__init__.py", "../templates/error.html", "behaviours", "", "none.js"):
        assert (await client.get(f"/own/{path}")).code in (403, 404), path


def test_the_address_of_a_kits_file_has_the_version_of_its_content(tmp_path: Path) -> None:
    settings = {"static_path": str(tmp_path)}
    kits = SiteStaticHandler.make_static_url(settings, "style.css")
    assert kits == f"/static/style.css?v={StaticFileHandler.get_content_version(str(STATIC / 'style.css'))}"
    (tmp_path / "style.css").write_bytes(NEW)
    StaticFileHandler.reset()
    assert SiteStaticHandler.make_static_url(settings, "style.css") not in ("/static/style.css", kits)
