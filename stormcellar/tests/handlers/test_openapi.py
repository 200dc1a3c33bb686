# SPDX-License-Identifier: MIT
"""The description of the JSON endpoints: complete, consistent, and not for the public.

stormcellar/tests/handlers/test_openapi_fuzz.py holds a running server to it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tornado.routing import URLSpec

from stormcellar.api.bodies import APIHandler
from stormcellar.api.openapi import OPERATIONS, Operation, Undescribed, description, speaks_json, template
from stormcellar.application import Application
from stormcellar.settings import Settings
from stormcellar.testing.client import Client, json_of
from stormcellar.tests.handlers.parts import example_path, implements, with_settings
from stormcellar.tests.serving import SITE_DIR, process_env
from stormcellar.tests.site import SITE
from stormcellar.web.handler import ProtectedAPIHandler
from stormcellar.web.live import LiveHandler

ROOT = Path(__file__).parents[3]
PLACES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "at the root": {"api_base_path": ""},
    "elsewhere": {"api_base_path": "/api/auth"},
    "in debug mode": {"debug": True},
    "verify-only": {
        "public_url": "https://www.example.com",
        "api_domain": "https://api.example.com",
        "jwks_url": "https://api.example.com/auth/jwt/jwks.json",
        "cookie_domain": "example.com",
    },
}


@pytest.mark.parametrize("more", PLACES.values(), ids=PLACES)
def test_every_json_route_is_described_with_all_its_methods(more: dict[str, Any]) -> None:
    """If this fails for a route of yours, the message says what to add and where."""
    options = Settings(**more)
    table = SITE.route_table(options)
    paths = description(table, options)["paths"]
    expected = set()
    for route in table:
        handler = route.handler_class
        if getattr(handler, "speaks_json", False) and not issubclass(handler, LiveHandler):
            expected.add(example_path(route.regex.pattern))
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                item = paths[example_path(route.regex.pattern)]
                assert (method.lower() in item) is implements(handler, method), route
    assert set(paths) == expected


def test_every_row_belongs_to_an_endpoint_that_is_there() -> None:
    handlers = {route.handler_class for route in SITE.route_table(Settings(debug=True))}
    assert set(OPERATIONS) <= handlers
    assert all(speaks_json(handler) for handler in OPERATIONS)


def test_a_route_without_a_row_is_named_with_what_to_do() -> None:
    class ReportHandler(ProtectedAPIHandler):
        async def get(self) -> None:
            pass

    table = [*SITE.route_table(Settings()), URLSpec("/report", ReportHandler)]
    with pytest.raises(Undescribed, match=r"ReportHandler takes GET.*add a row to OPERATIONS"):
        description(table, Settings())


def test_a_class_may_bring_its_own_row_and_its_address_parameters() -> None:
    class ReportHandler(APIHandler):
        public = "an example"
        operations: ClassVar = {"GET": Operation("A report.", {"type": "object"})}

        async def get(self, number: str) -> None:
            pass

    pattern = r"/reports/(?P<number>[0-9]{1,9})\.json"
    item = description([URLSpec(pattern, ReportHandler)], Settings())["paths"]["/reports/{number}.json"]
    (parameter,) = item["parameters"]
    assert parameter["in"] == "path"
    assert parameter["schema"]["pattern"] == "^[0-9]{1,9}$"
    with pytest.raises(Undescribed, match="without a name"):
        template(r"/reports/([0-9]+)")


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def test_what_it_refers_to_is_there_and_every_operation_has_its_own_name() -> None:
    document = description(SITE.route_table(Settings()), Settings())
    assert json.loads(json.dumps(document)) == document
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) == known
    names = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
    ]
    assert len(names) == len(set(names)) > 20


def test_who_needs_a_session_is_said() -> None:
    paths = description(SITE.route_table(Settings()), Settings())["paths"]
    assert "security" not in paths["/auth/signin"]["post"]
    assert {} not in paths["/auth/signout"]["post"]["security"]
    assert {} in paths["/auth/user/email/verify"]["post"]["security"]
    options = Settings(public_url="https://www.example.com", cookie_prefix=True)
    schemes = description([], options)["components"]["securitySchemes"]
    assert schemes["cookie"]["name"] == "__Host-sAccessToken"


def test_a_command_prints_it_and_makes_no_file(tmp_path: Path) -> None:
    command = [sys.executable, str(SITE_DIR / "server.py"), "--openapi", "--site_name=Reports"]
    printed = subprocess.run(
        command, cwd=tmp_path, env=process_env(), capture_output=True, text=True, check=True
    ).stdout
    options = Settings(site_name="Reports")
    assert json.loads(printed) == description(SITE.route_table(options), options)
    assert list(tmp_path.iterdir()) == []


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_developers_get_it_from_the_server(client: Client, app: Application) -> None:
    answer = json_of(await client.call("/auth/openapi.json", method="GET"))
    assert answer == description(SITE.route_table(app.options), app.options)
    assert "/auth/openapi.json" in answer["paths"]


@pytest.mark.gen_test
async def test_the_public_does_not(client: Client) -> None:
    assert (await client.call("/auth/openapi.json", method="GET")).code == 404
