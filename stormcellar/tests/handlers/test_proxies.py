# SPDX-License-Identifier: MIT
"""Whose address a request comes from: X-Forwarded-For is read from the right, and from known proxies only."""

from __future__ import annotations

import logging

import pytest
from tornado.httpclient import AsyncHTTPClient

from stormcellar.application import Application
from stormcellar.testing.client import NAVIGATION, Client
from stormcellar.tests.handlers.parts import with_settings
from stormcellar.web.proxies import Proxies, client_network

OURS = ("127.0.0.1/32", "::1/128", "10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    ("peer", "header", "caller"),
    [
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1,203.0.113.9,\t10.1.2.3 ,fd00::7", "203.0.113.9"),
        ("127.0.0.1", "10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("203.0.113.50", "198.51.100.1", "203.0.113.50"),
        ("192.168.1.1", "198.51.100.1", "192.168.1.1"),
        ("127.0.0.1", "203.0.113.9,", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.9, , 10.1.2.3 ,,", "203.0.113.9"),
        ("127.0.0.1", " , ", "127.0.0.1"),
        ("::1", "2001:DB8::0:1", "2001:db8::1"),
        ("fd00::1", "[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", "203.0.113.9:55123", "203.0.113.9"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.50", None, "203.0.113.50"),
        ("::ffff:203.0.113.50", "198.51.100.1", "203.0.113.50"),
        ("10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, ::ffff:10.0.0.2", "198.51.100.1"),
    ],
)
def test_the_caller_is_the_first_from_the_right_who_is_no_proxy_of_ours(
    peer: str, header: str | None, caller: str
) -> None:
    assert Proxies(OURS).caller(peer, header) == caller


@pytest.mark.parametrize(
    "garbage",
    [
        "unknown",
        "_hidden",
        "203.0.113.300",
        "203.0.113.9/32",
        "0xCB007109",
        "3405803785",
        "203.0.113.009",
        "fe80::1%eth0",
        "[203.0.113.9",
        "for=203.0.113.9",
        "203.0.113.9;",
        "203.0.113.9 198.51.100.1",
        "٢٠٣.0.113.9",
        "x" * 30_000,
    ],
)
def test_what_is_no_address_ends_the_reading(garbage: str) -> None:
    proxies = Proxies(OURS)
    assert proxies.caller("127.0.0.1", garbage) == "127.0.0.1"
    assert proxies.caller("127.0.0.1", f"198.51.100.1, {garbage}, 10.1.2.3") == "10.1.2.3"
    assert proxies.caller("127.0.0.1", f"{garbage}, 203.0.113.9") == "203.0.113.9"


def test_nobody_is_trusted_by_default_not_even_this_machine() -> None:
    assert Proxies(()).caller("127.0.0.1", "203.0.113.9") == "127.0.0.1"


def test_a_peer_without_an_address_is_left_as_it_is() -> None:
    assert Proxies(OURS).caller("", "203.0.113.9") == ""


def test_the_peer_of_a_unix_socket_is_trusted_as_a_proxy() -> None:
    """Tornado gives it the address 0.0.0.0, which no TCP peer has."""
    assert Proxies(()).caller("0.0.0.0", "198.51.100.1, 203.0.113.9") == "203.0.113.9"
    assert Proxies(OURS).caller("0.0.0.0", "203.0.113.9, 10.0.0.1") == "203.0.113.9"
    assert Proxies(()).caller("0.0.0.0", None) == "0.0.0.0"


@pytest.mark.parametrize("name", ["Forwarded", "X-Real-Ip"])
def test_a_proxy_that_sends_another_header_is_reported_once(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.WARNING)
    proxies = Proxies(OURS)
    proxies.warn_of_other_headers("203.0.113.50", {name: "for=198.51.100.1"})
    assert caplog.messages == []
    for _ in range(3):
        proxies.warn_of_other_headers("10.0.0.1", {name: "for=198.51.100.1"})
    (message,) = caplog.messages
    assert "have it send X-Forwarded-For, or remove it from trusted_proxies" in message
    assert "198.51.100.1" not in message


def test_a_proxy_that_the_settings_do_not_name_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    proxies = Proxies(())
    proxies.caller("9.9.9.9", "198.51.100.1")  # documentation addresses count as private
    assert caplog.messages == []
    for _ in range(3):
        proxies.caller("127.0.0.1", "198.51.100.1")
    (message,) = caplog.messages
    assert "add it to trusted_proxies" in message
    assert "198.51.100.1" not in message


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("0.0.0.0", "0.0.0.0"),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network_of_64_bits(address: str, client: str) -> None:
    assert client_network(address) == client


@with_settings(trusted_proxies=("127.0.0.1",))
@pytest.mark.gen_test
async def test_the_access_log_has_the_callers_address(
    client: Client, app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="stormcellar.access")
    await client.get("/login", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.9"})
    await client.get("/login")
    assert [message.rsplit(" ", 1)[-1] for message in caplog.messages] == ["203.0.113.9", "127.0.0.1"]


@pytest.mark.gen_test
async def test_a_strangers_header_does_not_get_into_the_log(
    client: Client, app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await client.get("/healthz", headers={"X-Forwarded-For": "203.0.113.9", "X-Real-Ip": "203.0.113.9"})
    assert "203.0.113.9" not in caplog.text


@with_settings(trusted_proxies=("127.0.0.1",))
@pytest.mark.gen_test
async def test_a_proxys_other_headers_change_neither_links_nor_cookies_nor_issuer(
    client: Client, http_client: AsyncHTTPClient, base_url: str, app: Application
) -> None:
    told = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Scheme": "https",
        "Forwarded": "for=203.0.113.9;proto=https;host=evil.example",
    }
    answer = await client.post(
        "/signup", {"email": "ann@example.com", "password": "tall ships sail 27 seas"}, headers=told
    )
    assert answer.code == 303
    assert answer.headers["Location"].startswith("/")
    assert not any("Secure" in line for line in answer.headers.get_list("Set-Cookie"))
    plain = await http_client.fetch(f"{base_url}/auth/.well-known/openid-configuration", headers=NAVIGATION)
    forged = await http_client.fetch(
        f"{base_url}/auth/.well-known/openid-configuration", headers={**NAVIGATION, **told}
    )
    assert forged.body == plain.body
    assert b"evil.example" not in forged.body


@pytest.mark.parametrize(
    ("peer", "scheme", "times"),
    [
        ("10.0.0.1", "https", 1),
        ("10.0.0.1", " HTTPS ", 1),
        ("10.0.0.1", "http", 0),
        ("203.0.113.50", "https", 0),
    ],
)
def test_https_at_the_proxy_is_reported_once_where_public_url_says_http(
    caplog: pytest.LogCaptureFixture, peer: str, scheme: str, times: int
) -> None:
    caplog.set_level(logging.WARNING)
    proxies = Proxies(OURS)
    for _ in range(3):
        proxies.warn_of_scheme(peer, {"X-Forwarded-Proto": scheme})
    assert len([text for text in caplog.messages if "set public_url" in text]) == times


@with_settings(trusted_proxies=("127.0.0.1",))
@pytest.mark.gen_test
async def test_a_request_by_https_through_a_proxy_names_the_setting_public_url(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    assert (await client.get("/login", headers=headers)).code == 200
    assert [text for text in caplog.messages if "set public_url" in text]
