# SPDX-License-Identifier: MIT
"""A web server that only verifies tokens lets nobody in who owes a code to the API server."""

from __future__ import annotations

from pathlib import Path

from stormcellar.extras.authenticator.tests.parts import switch_on
from stormcellar.testing.client import json_of
from stormcellar.tests.handlers.test_verify_only import API, WWW, Servers, tell


def test_the_code_is_asked_for_at_the_api_server_which_leads_back(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        await servers.sign_up()
        phone, _ = await switch_on(servers.api)
        assert (await servers.web.get("/dashboard")).code == 200
        await servers.api.post("/signout")
        await servers.api.sign_in()
        page, steps = await servers.visit(f"{WWW}/dashboard?x=1")
        assert steps == [
            f"303 {WWW}/dashboard?x=1",
            f"200 {API}/second-factor?redirectBack={WWW.replace('://', '%3A//')}/dashboard%3Fx%3D1",
        ]
        assert f'value="{WWW}/dashboard?x=1"'.encode() in page.body
        refused = await servers.web.call("/sample/api", method="GET")
        assert (refused.code, json_of(refused)["claimValidationErrors"][0]["id"]) == (403, "st-mfa")
        code = {"code": phone.code(servers.clock.now()), "redirectBack": f"{WWW}/dashboard?x=1"}
        done = await servers.api.post("/second-factor", code)
        assert done.headers["Location"] == f"{WWW}/dashboard?x=1"
        assert (await servers.web.get("/dashboard")).code == 200

    tell(tmp_path, story)


def test_tokens_of_servers_that_know_no_second_factor_are_good(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        await servers.sign_up()
        (part,) = (extra for extra in servers.api_app.extras if "authenticator" in type(extra).__module__)
        await servers.api_app.sessions.remove_claim(servers.api.session_handle, part.claims[0], owner=None)
        await servers.api.refresh()
        assert "st-mfa" not in servers.api.front_token()["up"]
        assert (await servers.web.get("/dashboard")).code == 200

    tell(tmp_path, story)
