# SPDX-License-Identifier: MIT
"""POST /proxy-check reports how a request arrived, to callers who know the secret."""

from __future__ import annotations

import time

import pytest

from stormcellar.application import Application
from stormcellar.testing.client import Client, json_of
from stormcellar.web.arrival import LIFETIME_S, SIGNATURE, sign


@pytest.mark.gen_test
async def test_a_signed_request_learns_how_it_arrived(client: Client, app: Application) -> None:
    headers = {SIGNATURE: sign(app.options, time.time()), "X-Forwarded-For": "203.0.113.77"}
    answer = await client.request("POST", "/proxy-check", body=b"12345", headers=headers)
    report = json_of(answer)
    assert (report["peer"], report["caller"], report["body_bytes"]) == ("127.0.0.1", "127.0.0.1", 5)
    assert report["headers"] == {"X-Forwarded-For": "203.0.113.77"}


@pytest.mark.parametrize("age_s", [LIFETIME_S + 2, -LIFETIME_S - 2])
@pytest.mark.gen_test
async def test_an_old_signature_opens_nothing(client: Client, app: Application, age_s: int) -> None:
    headers = {SIGNATURE: sign(app.options, time.time() - age_s)}
    assert (await client.request("POST", "/proxy-check", body=b"", headers=headers)).code == 404


@pytest.mark.parametrize("value", ["", "1.2", "x", "٣.x", "9" * 30, "1800000000.ÿ"])
@pytest.mark.gen_test
async def test_other_callers_get_404(client: Client, value: str) -> None:
    headers = {SIGNATURE: value} if value.isascii() else {SIGNATURE: value.encode().decode("latin1")}
    answer = await client.request("POST", "/proxy-check", body=b"", headers=headers)
    assert (answer.code, "peer" in json_of(answer)) == (404, False)
