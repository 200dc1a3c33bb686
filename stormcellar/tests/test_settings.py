# SPDX-License-Identifier: MIT
"""What can be set from outside, from where, and what stops the start."""

import dataclasses
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stormcellar import machine
from stormcellar import settings as settings_module
from stormcellar.accounts import ARGON2ID
from stormcellar.secret_files import load_or_create_secret
from stormcellar.settings import (
    Settings,
    SettingsError,
    help_text,
    is_loopback,
    load,
    markdown,
)
from stormcellar.tests.serving import ROOT, process_env

GOOD_SECRET = "Jq3vX8ZpL0tWm5RkYc7HsNb2Gd9FfAe4"
OPEN_HTTPS = {"public_url": "https://www.example.com"}
API_SERVER = {"public_url": "https://api.example.com", "website_domain": "https://www.example.com"}
WEB_SERVER = {
    "public_url": "https://www.example.com",
    "api_domain": "https://api.example.com",
    "jwks_url": "https://api.example.com/auth/jwt/jwks.json",
    "cookie_domain": "example.com",
}
LOCAL_WEB_SERVER = {
    "api_domain": "http://localhost:9000",
    "jwks_url": "http://127.0.0.1:9000/auth/jwt/jwks.json",
}
FIELDS = dataclasses.fields(Settings)


def refusal(**values: object) -> str:
    """The message of the SettingsError that these values raise."""
    with pytest.raises(SettingsError) as caught:
        Settings(**values)  # type: ignore[arg-type]
    return str(caught.value)


def load_refusal(*argv: str, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(argv, environ)
    return str(caught.value)


@pytest.fixture
def config(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "kit.conf"
        path.write_text(text)
        return path

    return write


@pytest.mark.kit
class TestEverySettingIsDocumented:
    @pytest.mark.parametrize("entry", FIELDS, ids=lambda entry: entry.name)
    def test_a_setting_says_its_default_unit_effect_and_danger(self, entry):
        assert "about" in entry.metadata, f"{entry.name}: declare it with setting(...)"
        about = entry.metadata["about"]
        assert entry.default is not dataclasses.MISSING
        assert about.unit
        for text in (about.effect, about.danger):
            assert re.fullmatch(r"\S.{15,}\.", text), f"{entry.name}: write a sentence, not {text!r}"
        if entry.type is int:
            assert None not in (about.minimum, about.maximum), f"{entry.name}: say from where to where"

    def test_a_length_of_time_has_its_unit_in_its_name(self):
        seconds = {entry.name for entry in FIELDS if entry.metadata["about"].unit == "seconds"}
        assert seconds == {entry.name for entry in FIELDS if entry.name.endswith("_s")}

    def test_the_page_is_not_stale(self):
        page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
        assert page == markdown(), "run `make docs`"

    def test_the_page_is_what_the_module_prints(self):
        done = subprocess.run(
            [sys.executable, "-m", "stormcellar.settings"],
            cwd=ROOT,
            env=process_env(),
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode() == markdown()

    def test_the_page_and_the_help_name_every_setting_with_effect_and_danger(self):
        def squeezed(text: str) -> str:
            return re.sub(r"\s+", " ", text)

        page, meanings = squeezed(markdown()), squeezed(right_column(help_text()))
        for entry in FIELDS:
            about = entry.metadata["about"]
            option = "--" + entry.name.replace("_", "-")
            assert f"`{option}` or `STORMCELLAR_{entry.name.upper()}`" in page
            assert f"  {option}=" in help_text()
            for text in (about.effect, about.danger):
                assert text in page
                assert text in meanings

    def test_the_help_fits_a_terminal_of_100_columns(self):
        assert max(map(len, help_text().splitlines())) <= 100

    def test_the_file_shown_on_the_page_works(self, config):
        example = re.search(r"```\n(.*?)```", markdown(), re.DOTALL)
        assert example
        loaded = load([f"--config={config(example[1])}"], {})
        assert loaded.access_token_lifetime_s == 900
        assert loaded.trusted_origins == ("https://app.example.com", "https://admin.example.com")


def right_column(text: str) -> str:
    start = next(line.index("The port") for line in text.splitlines() if line.startswith("  --port="))
    return "\n".join(line[start:] for line in text.splitlines())


class TestDefaults:
    @pytest.mark.kit
    def test_the_names_and_defaults_that_the_outside_relies_on(self):
        relied_on = {
            "port": 8888,
            "address": "127.0.0.1",
            "public_url": "",
            "site_name": "Stormcellar",
            "debug": False,
            "data_dir": Path("var"),
            "database": "",
            "secret": "",
            "database_wait_s": 30,
            "trusted_origins": (),
            "trusted_proxies": (),
            "max_body_bytes": 10485760,
            "rate_limits": True,
            "cookie_domain": "",
            "cookie_same_site": "lax",
            "cookie_prefix": "auto",
            "cookie_suffix": "",
            "api_base_path": "/auth",
            "refresh_mode": "page",
            "access_token_lifetime_s": 3600,
            "access_token_jitter_percent": 5,
            "refresh_token_lifetime_s": 2592000,
            "session_lifetime_s": 7776000,
            "keep_signed_in": "ask",
            "temporary_session_lifetime_s": 43_200,
            "max_sessions_per_user": 100,
            "refresh_grace_s": 30,
            "signing_key_rotation_s": 604800,
            "use_dynamic_signing_key": True,
            "check_database": False,
            "feed_lost": "serve",
            "password_min_length": 8,
            "password_hash_threads": 0,
            "password_hash_queue": 64,
            "password_reset_lifetime_s": 3600,
            "smtp_url": "",
            "mail_from": "",
            "smtp_ehlo_name": "",
            "mail_link_base_path": "",
            "registration": "open",
            "email_verification": "off",
            "roles_in_token": False,
            "log_format": "text",
            "event_loop": "asyncio",
            "audit_retention_s": 7776000,
            "older_cookie_domain": "auto",
            "token_transfer_method": "any",
            "expose_access_token": False,
            "hsts_include_subdomains": False,
            "hsts_max_age_s": 2592000,
            "max_form_bytes": 1048576,
            "max_sockets_per_user": 32,
            "max_socket_message_bytes": 1048576,
            "anti_csrf": "auto",
            "website_domain": "",
            "api_domain": "",
            "jwks_url": "",
            "sign_in_url": "",
        }
        defaults = dataclasses.asdict(Settings())
        assert {name: defaults.get(name) for name in relied_on} == relied_on

    def test_nothing_given_means_the_defaults(self):
        assert load([], {"PATH": "/bin"}) == Settings()

    def test_settings_cannot_be_changed_afterwards(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            Settings().port = 1  # type: ignore[misc]

    def test_a_changed_copy_is_checked_too(self):
        with pytest.raises(SettingsError):
            dataclasses.replace(Settings(), port=-1)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"port": 0}, 0),
        ({"port": 65535}, 65535),
        ({"address": "LocalHost"}, "localhost"),
        ({"address": "0:0:0:0:0:0:0:1"}, "::1"),
        ({"address": "127.0.0.1,::1 , 127.0.0.1"}, "127.0.0.1, ::1"),
        ({"address": "unix:/run/Kit.sock"}, "unix:/run/Kit.sock"),
        ({"public_url": "HTTPS://WWW.Example.COM:443/"}, "https://www.example.com"),
        ({"public_url": "https://example.com:0443"}, "https://example.com"),
        ({"public_url": "https://example.com:8443"}, "https://example.com:8443"),
        ({"public_url": "http://localhost:80"}, "http://localhost"),
        ({"public_url": "http://[0:0:0:0:0:0:0:1]:8888"}, "http://[::1]:8888"),
        ({"public_url": "https://xn--mnchen-3ya.example"}, "https://xn--mnchen-3ya.example"),
        ({"database": "sqlite:///data/kit.sqlite3"}, "sqlite:///data/kit.sqlite3"),
        ({"database": "postgresql:///kit?host=/run/postgresql"}, "postgresql:///kit?host=/run/postgresql"),
        ({"database": "postgres://u:p%20@[::1]:1,h:2/kit"}, "postgres://u:p%20@[::1]:1,h:2/kit"),
        ({"trusted_origins": ("https://A.example:443", "https://a.example")}, ("https://a.example",)),
        ({"trusted_origins": ("http://localhost:3000",)}, ("http://localhost:3000",)),
        ({"trusted_origins": ("capacitor://localhost",)}, ("capacitor://localhost",)),
        ({"trusted_origins": ("chrome-extension://" + 8 * "abcd",)}, ("chrome-extension://" + 8 * "abcd",)),
        ({"trusted_proxies": ("127.0.0.1", "127.0.0.1/32")}, ("127.0.0.1/32",)),
        ({"trusted_proxies": ("10.0.0.0/255.0.0.0", "FD00::/8")}, ("10.0.0.0/8", "fd00::/8")),
        ({"cookie_same_site": " Strict "}, "strict"),
        ({"api_base_path": "/"}, ""),
        ({"api_base_path": ""}, ""),
        ({"api_base_path": "auth/"}, "/auth"),
        ({"api_base_path": "/api/v1.0/auth/"}, "/api/v1.0/auth"),
        ({"access_token_lifetime_s": 1}, 1),
        ({"access_token_jitter_percent": 25}, 25),
        ({"keep_signed_in": " Never"}, "never"),
        ({"cookie_suffix": "_8889"}, "_8889"),
        ({"temporary_session_lifetime_s": 1}, 1),
        ({"max_sessions_per_user": 1}, 1),
        ({"max_sessions_per_user": 10_000}, 10_000),
        ({"registration": "Closed"}, "closed"),
        ({"refresh_grace_s": 0}, 0),
        ({"refresh_grace_s": 300}, 300),
        ({"password_min_length": 64}, 64),
        ({"mail_from": " no-reply@example.com"}, "no-reply@example.com"),
        ({"smtp_ehlo_name": " www.example.com"}, "www.example.com"),
        ({"smtp_ehlo_name": "[192.0.2.1]"}, "[192.0.2.1]"),
        ({"mail_link_base_path": "auth/"}, "/auth"),
        ({"mail_link_base_path": "/"}, ""),
        ({"email_verification": "Required"}, "required"),
        ({"site_name": "  Käseglocke "}, "Käseglocke"),
    ],
)
def test_a_right_value_is_kept_in_its_one_spelling(given, kept):
    (name,) = given
    assert getattr(Settings(**given), name) == kept


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("port", -1, "0 to 65535"),
        ("port", 65536, "0 to 65535"),
        ("port", "8888", "a whole number"),
        ("port", True, "a whole number"),
        ("address", "", "an IP address"),
        ("address", "127.0.0.1:8888", "an IP address"),
        ("address", "127.1", "an IP address"),
        ("address", "two words", "an IP address"),
        ("public_url", "www.example.com", "http:// or https://"),
        ("public_url", "ftp://example.com", "http:// or https://"),
        ("public_url", "https://", "http:// or https://"),
        ("public_url", "https://example.com/path", "without path"),
        ("public_url", "https://example.com?q", "without path"),
        ("public_url", "https://example.com/#f", "without path"),
        ("public_url", "https://me@example.com", "without path"),
        ("public_url", "https://example.com:", "a port"),
        ("public_url", "https://example.com:0", "a port"),
        ("public_url", "https://example.com:65536", "a port"),
        ("public_url", "https://-example.com", "a host"),
        ("public_url", "https://example.com.", "a host"),
        ("public_url", "https://exa mple.com", "a host"),
        ("public_url", "https://münchen.example", "xn--"),
        ("public_url", "https://1.2.3", "a host"),
        ("public_url", "https://0x7f.1", "a host"),
        ("public_url", "https://[::g]", "a host"),
        ("public_url", " https://example.com", "http:// or https://"),
        ("public_url", "https://example.com\n", "one line"),
        ("data_dir", "", "a path"),
        ("data_dir", 7, "a path"),
        ("data_dir", "va\nr", "a path"),
        ("data_dir", Path("va\nr"), "a path"),
        ("database", "mysql://localhost/kit", "SQLite"),
        ("database", "postgresql://localhost", "postgresql://user"),
        ("database", "postgresql://kit:a/b@localhost/kit", "%XX"),
        ("database", "postgresql://localhost/kit?password=x", "nowhere else"),
        ("database", "postgresql://localhost/kit?sslmode=require&password=x", "nowhere else"),
        ("database", "postgresql:kit", "postgresql://user"),
        ("database", "sqlite://kit.sqlite3", "sqlite:///"),
        ("database", "sqlite:///", "sqlite:///"),
        ("database", "sqlite:///folder/", "sqlite:///"),
        ("database", "sqlite:///:memory:", "an SQLite file"),
        ("database", "sqlite:///kit.sqlite3?mode=ro", "without options"),
        ("debug", "false", "true or false"),
        ("debug", 0, "true or false"),
        ("secret", GOOD_SECRET[:31], "at least 32 characters"),
        ("database_wait_s", -1, "0 to 600"),
        ("database_wait_s", 601, "0 to 600"),
        ("secret", GOOD_SECRET + "\n", "one line"),
        ("secret", GOOD_SECRET.encode(), "text"),
        ("old_secrets", (GOOD_SECRET[:31],), "at least 32 characters"),
        ("trusted_proxies", "127.0.0.1", "a list"),
        ("trusted_proxies", ("localhost",), "an IP address or a network"),
        ("trusted_proxies", ("10.0.0.256",), "an IP address or a network"),
        ("trusted_proxies", ("10.0.0.0/33",), "an IP address or a network"),
        ("trusted_proxies", ("10.1.2.3/8",), "write 10.0.0.0/8, or 10.1.2.3"),
        ("trusted_proxies", ("0.0.0.0/0",), "every address"),
        ("trusted_proxies", ("::/0",), "every address"),
        ("metrics_from", ("0.0.0.0/0",), "every address"),
        ("metrics_from", ("prometheus",), "an IP address or a network"),
        ("trusted_proxies", ("::ffff:10.0.0.0/104",), "stands for IPv4"),
        ("max_body_bytes", 65535, "from 65536 to"),
        ("max_body_bytes", 1.5, "whole number"),
        ("rate_limits", "sometimes", "true or false"),
        ("trusted_origins", "https://a.example", "a list"),
        ("trusted_origins", (1,), "a list"),
        ("trusted_origins", ("*",), "http:// or https://"),
        ("trusted_origins", ("null",), "http:// or https://"),
        ("trusted_origins", ("file://",), "http:// or https://"),
        ("trusted_origins", ("javascript://localhost",), "http:// or https://"),
        ("trusted_origins", ("capacitor://localhost/",), "http:// or https://"),
        ("trusted_origins", ("CAPACITOR://localhost",), "http:// or https://"),
        ("trusted_origins", ("https://a.example/path",), "without path"),
        ("trusted_origins", ("http://a.example",), "https:// unless"),
        ("cookie_domain", "com", "with a dot"),
        ("older_cookie_domain", "com", "with a dot"),
        ("processes", 0, "1 to 256"),
        ("processes", "two", "whole number"),
        ("drain_s", 0, "1 to 600"),
        ("lame_duck_s", -1, "0 to 600"),
        ("watchdog_s", -1, "0 to 3600"),
        ("unix_socket_mode", "rw", "octal"),
        ("unix_socket_mode", "440", "lets the owner write"),
        ("address", "unix:web.sock", "absolute"),
        ("address", "unix:/" + "a" * 100, "at most 100 bytes"),
        ("address", "127.0.0.1,", "an IP address"),
        ("token_transfer_method", "both", "any"),
        ("expose_access_token", "perhaps", "true"),
        ("hsts_include_subdomains", "yes", "true"),
        ("hsts_max_age_s", -1, "from 0 to"),
        ("max_form_bytes", 1024, "from 65536 to"),
        ("max_sockets_per_user", 0, "from 1 to"),
        ("max_socket_message_bytes", 0, "from 1024 to"),
        ("anti_csrf", "token", "NONE"),
        ("website_domain", "https://www.example.com/path", "without path"),
        ("api_domain", "api.example.com", "http:// or https://"),
        ("jwks_url", "https://", "the address of a JWKS"),
        ("jwks_url", "/auth/jwt/jwks.json", "the address of a JWKS"),
        ("jwks_url", "file:///keys", "the address of a JWKS"),
        ("jwks_url", "https://user@api.example.com/jwks.json", "the address of a JWKS"),
        ("jwks_url", "https://api.example.com/jwks.json#keys", "the address of a JWKS"),
        ("jwks_url", "http://api.example.com/jwks.json", "https:// unless"),
        ("sign_in_url", "login", "a path of this site"),
        ("sign_in_url", "//evil.example", "a path of this site"),
        ("sign_in_url", "/\\evil.example", "a path of this site"),
        ("sign_in_url", "javascript:alert(1)", "a path of this site"),
        ("cookie_domain", "localhost", "with a dot"),
        ("cookie_domain", "192.168.0.1", "not an IP address"),
        ("cookie_domain", "https://example.com", "a domain name"),
        ("cookie_same_site", "off", "lax, strict, none"),
        ("cookie_same_site", None, "lax, strict, none"),
        ("cookie_prefix", "yes", "auto, true, false"),
        ("api_base_path", "/a//b", "between slashes"),
        ("api_base_path", "/a/../b", "between slashes"),
        ("api_base_path", "/.", "between slashes"),
        ("api_base_path", "/a b", "between slashes"),
        ("api_base_path", "/a?b", "between slashes"),
        ("api_base_path", "https://example.com/auth", "between slashes"),
        ("refresh_mode", "script", "page, in_place, detour"),
        ("access_token_lifetime_s", 0, "from 1 to"),
        ("access_token_lifetime_s", 1.5, "a whole number"),
        ("access_token_jitter_percent", 26, "0 to 25"),
        ("access_token_jitter_percent", -1, "0 to 25"),
        ("refresh_token_lifetime_s", 401 * 86400, "to 34560000"),
        ("session_lifetime_s", 10**12, "a whole number"),
        ("keep_signed_in", "sometimes", "ask, always, never"),
        *(
            ("cookie_suffix", wrong, "write it like _8889")
            for wrong in ("12345678", "a b", "ä", "a;b", "\u0661")
        ),
        ("temporary_session_lifetime_s", 0, "from 1"),
        ("max_sessions_per_user", 0, "1 to 10000"),
        ("registration", "invited", "open, closed"),
        ("refresh_grace_s", 301, "0 to 300"),
        ("signing_key_rotation_s", 0, "from 1 to"),
        ("use_dynamic_signing_key", None, "true or false"),
        ("check_database", 1, "true or false"),
        ("feed_lost", "", "serve, refuse"),
        ("password_min_length", 7, "8 to 64"),
        ("password_min_length", 65, "8 to 64"),
        ("password_hash_threads", -1, "0 to 256"),
        ("password_hash_queue", 0, "1 to"),
        ("password_reset_lifetime_s", 59, "60 to 3600"),
        ("password_reset_lifetime_s", 3601, "60 to 3600"),
        ("smtp_url", "mail.example.com:25", "smtp://"),
        ("smtp_url", "http://mail.example.com", "smtp://"),
        ("smtp_url", "smtps://", "a host"),
        ("smtp_url", "smtps://mail.example.com:0", "a port"),
        ("smtp_url", "smtps://mail.example.com:99999", "a port"),
        ("smtp_url", "smtps://mail.example.com/inbox", "a host"),
        ("smtp_url", "smtps://mail.example.com?tls=no", "a host"),
        ("smtp_url", "smtps://:password@mail.example.com", "user:password"),
        ("smtp_url", "smtps://user:a/b@mail.example.com", "percent-encoded"),
        ("smtp_url", "smtp://user:password@mail.example.com", "without encryption"),
        ("smtp_ehlo_name", "www example", "a host name like"),
        ("smtp_ehlo_name", "x\r\nMAIL", "one line"),
        ("mail_from", "no-reply", "one e-mail address"),
        ("mail_from", "=?utf-8?q?x?=@example.com", "one e-mail address"),
        ("mail_from", "Kit <no-reply@example.com>", "one e-mail address"),
        ("mail_from", "a@example.com, b@example.com", "one e-mail address"),
        ("mail_from", "a@-example.com", "one e-mail address"),
        ("mail_from", "@example.com", "one e-mail address"),
        ("mail_link_base_path", "https://example.com/auth", "between slashes"),
        ("email_verification", "on", "off, optional, required"),
        ("roles_in_token", "yes", "true or false"),
        ("log_format", "logfmt", "text, json"),
        ("event_loop", "trio", "asyncio, uvloop"),
        ("audit_retention_s", -1, "0 to 315360000"),
        ("audit_retention_s", 315_360_001, "0 to 315360000"),
        ("site_name", "  ", "1 to 60 characters"),
        ("site_name", "x" * 61, "1 to 60 characters"),
        ("site_name", "a\x00b", "one line"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(name, value, expected):
    message = refusal(**{name: value})
    assert message.startswith(f"{name} is ")
    assert ", but " in message
    assert expected in message
    assert message.endswith(".")


@pytest.mark.kit
def test_every_setting_has_a_row_in_the_table_of_wrong_values():
    (table,) = (
        mark
        for mark in test_a_wrong_value_is_refused_with_what_was_expected.pytestmark
        if mark.name == "parametrize"
    )
    assert {row[0] for row in table.args[1]} == {entry.name for entry in FIELDS}


@pytest.mark.parametrize(
    ("together", "named", "advice"),
    [
        (
            {"access_token_lifetime_s": 7200, "refresh_token_lifetime_s": 7199},
            ("access_token_lifetime_s", "refresh_token_lifetime_s"),
            "Lower access_token_lifetime_s",
        ),
        (
            {"refresh_token_lifetime_s": 7201, "session_lifetime_s": 7200},
            ("refresh_token_lifetime_s", "session_lifetime_s"),
            "raise session_lifetime_s",
        ),
        (
            {"access_token_lifetime_s": 3600, "signing_key_rotation_s": 7199},
            ("signing_key_rotation_s", "access_token_lifetime_s"),
            "Raise it to 7200",
        ),
        ({"older_cookie_domain": ""}, ("older_cookie_domain", "cookie_domain"), "at auto"),
        (
            {"cookie_domain": "example.com", "older_cookie_domain": ".Example.com", **OPEN_HTTPS},
            ("older_cookie_domain", "cookie_domain"),
            "name the domain of before",
        ),
        ({"public_url": "http://example.com"}, ("public_url", "debug"), "write https://"),
        ({"public_url": "http://192.168.0.2:8888"}, ("public_url", "debug"), "write https://"),
        ({"public_url": "http://localhost.example.com"}, ("public_url", "debug"), "write https://"),
        ({"address": "0.0.0.0"}, ("address", "public_url"), "Set public_url"),
        ({"address": "::"}, ("address", "public_url"), "Set public_url"),
        ({"address": "127.0.0.1, 0.0.0.0"}, ("address", "public_url"), "Set public_url"),
        ({"address": "build.example"}, ("address", "public_url"), "Set public_url"),
        (
            {"debug": True, **OPEN_HTTPS, "secret": "please-CHANGE-ME-in-production-0123"},
            ("secret", "debug"),
            "public_url names another host",
        ),
        ({"secret": "please-CHANGE-ME-in-production-0123"}, ("secret", "debug"), "Leave it empty"),
        ({"secret": "ab12" * 8}, ("secret", "debug"), "Leave it empty"),
        ({"cookie_same_site": "none"}, ("cookie_same_site", "public_url"), "https:// address"),
        (
            {"cookie_same_site": "none", "public_url": "http://localhost"},
            ("cookie_same_site", "public_url"),
            "https:// address",
        ),
        ({"cookie_prefix": True}, ("cookie_prefix", "public_url"), "https:// address"),
        (
            {"cookie_prefix": True, "cookie_suffix": "_1", **OPEN_HTTPS},
            ("cookie_prefix", "cookie_suffix"),
            "Leave cookie_suffix empty",
        ),
        (
            {"cookie_prefix": True, "cookie_domain": "example.com", **OPEN_HTTPS},
            ("cookie_prefix", "cookie_domain"),
            "Turn cookie_prefix off",
        ),
        ({"cookie_domain": "example.com"}, ("cookie_domain", "public_url"), "Set public_url"),
        ({"smtp_url": "smtp://localhost"}, ("smtp_url", "mail_from"), "Set mail_from"),
        ({"jwks_url": "http://localhost:9000/jwks.json"}, ("jwks_url", "api_domain"), "Set api_domain"),
        ({**WEB_SERVER, "check_database": True}, ("jwks_url", "check_database"), "Turn check_database off"),
        ({"api_domain": "http://api.example.com"}, ("api_domain", "debug"), "Write https://"),
        ({"website_domain": "http://www.example.com"}, ("website_domain", "debug"), "Write https://"),
        ({"sign_in_url": "http://www.example.com/auth"}, ("sign_in_url", "debug"), "Write https://"),
        (
            {**API_SERVER, "cookie_domain": "api.example.com"},
            ("cookie_domain", "website_domain", "public_url"),
            "a parent of api.example.com and www.example.com",
        ),
        (
            {**WEB_SERVER, "cookie_domain": "www.example.com"},
            ("cookie_domain", "api_domain", "public_url"),
            "a parent of api.example.com and www.example.com",
        ),
        (
            {**WEB_SERVER, "cookie_domain": ""},
            ("jwks_url", "cookie_domain", "api_domain", "public_url"),
            "Set cookie_domain on both servers",
        ),
        (
            {**LOCAL_WEB_SERVER, "public_url": "http://127.0.0.1:8888"},
            ("jwks_url", "cookie_domain", "api_domain", "public_url"),
            "the same host",
        ),
        *(
            (
                {**API_SERVER, "website_domain": website},
                ("cookie_same_site", "api_domain", "website_domain", "public_url"),
                "set cookie_same_site to none",
            )
            for website in ("https://www.example.org", "https://192.0.2.1", "http://localhost:3000")
        ),
        ({"cookie_domain": "ample.com", **OPEN_HTTPS}, ("cookie_domain", "public_url"), "Set public_url"),
        (
            {"cookie_domain": "a.www.example.com", **OPEN_HTTPS},
            ("cookie_domain", "public_url"),
            "Set public_url",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_a_way_out(together, named, advice):
    with pytest.raises(SettingsError) as caught:
        Settings(**together)
    assert caught.value.names == named
    assert advice in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "together",
    [
        {"access_token_lifetime_s": 5, "refresh_token_lifetime_s": 5, "session_lifetime_s": 5},
        {"access_token_lifetime_s": 3600, "signing_key_rotation_s": 7200},
        {"public_url": "http://example.com", "debug": True},
        {"public_url": "http://127.0.0.1:9000"},
        {"public_url": "https://localhost", "debug": True},
        {"address": "0.0.0.0", "debug": True},
        {"address": "0.0.0.0", **OPEN_HTTPS},
        {"address": "::1"},
        {"address": "unix:/run/web.sock, 127.0.0.1"},
        {"secret": "please-change-me-in-production-0123", "debug": True},
        {"secret": GOOD_SECRET},
        {"cookie_same_site": "none", **OPEN_HTTPS},
        {"cookie_prefix": True, **OPEN_HTTPS},
        {"cookie_domain": ".Example.com", **OPEN_HTTPS},
        {"smtp_url": "smtp://user:password@localhost", "mail_from": "no-reply@example.com"},
        {"smtp_url": "smtp://mail.example.com:25/", "mail_from": "no-reply@example.com"},
        {
            "smtp_url": "smtps://us%40er:p%2Fw@[2001:db8::1]:465",
            "mail_from": "no-reply@xn--mnchen-3ya.example",
        },
        {"smtp_url": "smtp+starttls://mail.example.com", "mail_from": "no-reply@example.com"},
        {"mail_from": "no-reply@example.com"},
        API_SERVER,
        {**API_SERVER, "cookie_domain": "example.com"},
        {**API_SERVER, "website_domain": "https://www.example.org", "cookie_same_site": "none"},
        {**API_SERVER, "website_domain": "https://www.example.org", "token_transfer_method": "header"},
        {"website_domain": "http://localhost:9000"},
        {"website_domain": "http://127.0.0.1:9000"},
        {"api_domain": "https://www.example.com", **OPEN_HTTPS},
        WEB_SERVER,
        {**WEB_SERVER, "api_domain": "https://www.example.com", "cookie_domain": ""},
        {**WEB_SERVER, "jwks_url": "https://keys.example.org/jwks.json?app=1"},
        LOCAL_WEB_SERVER,
        {**LOCAL_WEB_SERVER, "public_url": "http://localhost:8888"},
        {
            "debug": True,
            "public_url": "http://www.site.test:1",
            "api_domain": "http://api.site.test:2",
            "jwks_url": "http://127.0.0.1:2/auth/jwt/jwks.json",
            "cookie_domain": "site.test",
        },
        {"sign_in_url": "/welcome?x=1"},
        {"sign_in_url": "https://www.example.com/auth"},
        {"cookie_domain": "www.example.com", "public_url": "https://www.example.com:8443"},
    ],
)
def test_values_that_do_go_together_are_accepted(together):
    Settings(**together)


def test_a_bad_combination_below_a_public_suffix_is_not_noticed():
    """There is no public suffix list here; the documentation says so."""
    Settings(public_url="https://api.one.co.uk", website_domain="https://www.two.co.uk")


def test_the_issuer_is_the_api_server():
    assert Settings(port=8888).issuer == "http://localhost:8888/auth"
    assert Settings(**OPEN_HTTPS, api_base_path="/api/auth").issuer == "https://www.example.com/api/auth"
    assert Settings(**WEB_SERVER).issuer == "https://api.example.com/auth"
    assert Settings(api_domain="https://API.example.com:443", **OPEN_HTTPS).issuer == (
        "https://api.example.com/auth"
    )


class TestThePublicUrlDecides:
    def test_without_one_there_is_no_origin_and_no_secure_cookie(self):
        settings = Settings()
        assert (settings.origin, settings.cookie_secure, settings.is_loopback_only) == (None, False, True)

    def test_https_makes_cookies_secure(self):
        settings = Settings(public_url="https://Example.com:443")
        assert (settings.origin, settings.cookie_secure) == ("https://example.com", True)

    def test_http_on_loopback_does_not(self):
        settings = Settings(public_url="http://localhost:9000")
        assert (settings.origin, settings.cookie_secure) == ("http://localhost:9000", False)
        assert settings.is_loopback_only

    def test_behind_a_proxy_the_site_is_public_although_the_address_is_loopback(self):
        assert not Settings(address="127.0.0.1", public_url="https://example.com").is_loopback_only

    def test_an_open_address_is_not_loopback_only(self):
        assert not Settings(address="0.0.0.0", public_url="http://localhost").is_loopback_only

    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]
    )
    def test_loopback_hosts(self, host):
        assert is_loopback(host)

    @pytest.mark.parametrize(
        "host", ["", "localhost.example", "notlocalhost", "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example"]
    )
    def test_other_hosts(self, host):
        assert not is_loopback(host)


@pytest.mark.parametrize(
    ("database", "path"),
    [
        ("", Path("somewhere/stormcellar.sqlite3")),
        ("sqlite:///kit.sqlite3", Path("kit.sqlite3")),
        ("sqlite:////srv/kit.sqlite3", Path("/srv/kit.sqlite3")),
    ],
)
def test_the_database_path(database, path):
    assert Settings(data_dir=Path("somewhere"), database=database).database_path == path


@pytest.mark.parametrize(
    ("cores", "memory_mib", "processes", "asked", "threads"),
    [
        (4, 8000, 1, 0, 4),
        (4, 8000, 1, 1, 1),
        (4, 8000, 1, 16, 4),
        (64, 2048, 1, 0, 26),  # a quarter of the memory
        (64, 2048, 4, 0, 6),  # all processes share the quarter
        (64, 256, 2, 64, 1),
        (1, 16, 1, 0, 1),
    ],
)
def test_threads_for_passwords_fit_cores_and_memory(
    monkeypatch, cores, memory_mib, processes, asked, threads
):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "memory_bytes", lambda: memory_mib * 1024 * 1024)
    assert Settings(password_hash_threads=asked, processes=processes).password_hash_workers == threads


def test_the_memory_of_a_hash_is_that_of_the_parameters():
    assert ARGON2ID.memory_kib * 1024 == settings_module.PASSWORD_HASH_BYTES


class TestWhereSettingsComeFrom:
    def test_the_command_line_wins_over_the_environment_and_that_over_the_file(self, config):
        path = config("port = 1001\naddress = 127.0.0.1\nsite_name = file\n")
        settings = load(
            [f"--config={path}", "--port=1003"],
            {"STORMCELLAR_PORT": "1002", "STORMCELLAR_ADDRESS": "127.0.0.2", "HOME": "/"},
        )
        assert (settings.port, settings.address, settings.site_name) == (1003, "127.0.0.2", "file")

    def test_the_environment_can_name_the_file_and_the_command_line_another(self, config, tmp_path):
        other = tmp_path / "other.conf"
        other.write_text("port = 2000")
        environ = {"STORMCELLAR_CONFIG": str(config("port = 1000"))}
        assert load([], environ).port == 1000
        assert load(["--config", str(other)], environ).port == 2000

    def test_an_empty_name_of_a_file_means_none(self):
        assert load([], {"STORMCELLAR_CONFIG": ""}) == Settings()

    @pytest.mark.parametrize(
        "argv",
        [
            ["--site-name=A b"],
            ["--site_name=A b"],
            ["--site-name", "A b"],
            ["--site_name", "A b"],
            ["--site-name=x", "--site-name=A b"],
        ],
    )
    def test_ways_to_write_an_option_of_which_the_last_wins(self, argv):
        assert load(argv, {}).site_name == "A b"

    @pytest.mark.parametrize(
        ("argv", "debug"),
        [
            (["--debug"], True),
            (["--debug=true"], True),
            (["--debug=ON"], True),
            (["--debug=false"], False),
            (["--no-debug"], False),
            (["--no_debug"], False),
            (["--debug", "--no-debug"], False),
        ],
    )
    def test_switches(self, argv, debug):
        assert load(argv, {"STORMCELLAR_DEBUG": "0" if debug else "1"}).debug is debug

    def test_each_kind_of_value_can_be_written_as_text(self):
        settings = load(
            ["--data-dir=~/kit", "--trusted-origins=https://a.example, https://b.example  https://c.example"],
            {
                "STORMCELLAR_COOKIE_SAME_SITE": "STRICT",
                "STORMCELLAR_CHECK_DATABASE": "yes",
                "STORMCELLAR_PORT": " 0 ",
            },
        )
        assert settings.data_dir == Path.home() / "kit"
        assert settings.trusted_origins == ("https://a.example", "https://b.example", "https://c.example")
        assert (settings.cookie_same_site, settings.check_database, settings.port) == ("strict", True, 0)

    def test_the_file_may_have_comments_empty_lines_quotes_and_a_byte_order_mark(self, config):
        path = config(
            '\ufeff# the site\n\n  # more\nsite-name = "A # b"\nport=1\ntrusted_origins =\ndatabase = ""\n'
        )
        settings = load([f"--config={path}"], {})
        assert (settings.site_name, settings.port, settings.trusted_origins) == ("A # b", 1, ())

    def test_values_of_the_file_may_contain_an_equals_sign(self, config):
        assert load([f"--config={config('site_name = a=b')}"], {}).site_name == "a=b"

    def test_an_empty_value_overrides_the_file(self, config):
        path = config("public_url = https://example.com")
        assert load([f"--config={path}"], {"STORMCELLAR_PUBLIC_URL": ""}).public_url == ""

    @pytest.mark.parametrize("word", ["--help", "-h"])
    def test_help_prints_the_settings_and_ends(self, word, capsys):
        with pytest.raises(SystemExit) as ended:
            load(["--port=x", word], {})
        assert ended.value.code == 0
        assert capsys.readouterr().out == help_text()


class TestUnknownNames:
    def test_on_the_command_line(self):
        assert "names --prot, but there is no such setting. Did you mean --port?" in load_refusal("--prot=1")

    def test_on_the_command_line_in_either_spelling(self):
        assert "Did you mean --refresh-grace-s?" in load_refusal("--refresh_grace", "3")

    def test_in_the_environment(self):
        message = load_refusal(STORMCELLAR_PUBLICURL="https://example.com")
        assert "names STORMCELLAR_PUBLICURL" in message
        assert "Did you mean STORMCELLAR_PUBLIC_URL?" in message

    def test_in_the_environment_in_small_letters(self):
        assert "names STORMCELLAR_port" in load_refusal(STORMCELLAR_port="1")

    def test_in_the_file(self, config):
        path = config("\nfeed_lots = serve")
        assert f"Line 2 of {path} names feed_lots" in load_refusal(f"--config={path}")
        assert "Did you mean feed_lost?" in load_refusal(f"--config={path}")

    def test_a_file_cannot_name_another_file(self, config):
        path = config("config = other.conf")
        assert "names config, but there is no such setting" in load_refusal(f"--config={path}")

    def test_without_a_near_name_the_help_is_named(self):
        assert "--help` lists them all" in load_refusal(STORMCELLAR_ZZZZZZ="1")
        assert "--help` lists them all" in load_refusal("--")

    def test_only_a_switch_can_be_switched_off(self):
        assert "names --no-port" in load_refusal("--no-port")


class TestWrongValuesNameTheirSource:
    def test_the_command_line(self):
        assert load_refusal("--port=eighty").endswith("(port: command line, --port)")
        assert "port is 'eighty', but it must be a whole number" in load_refusal("--port=eighty")

    def test_the_environment(self):
        message = load_refusal(STORMCELLAR_DEBUG="maybe")
        assert message.endswith("(debug: environment variable STORMCELLAR_DEBUG)")

    def test_the_file(self, config):
        path = config("# one\nport = 70000")
        assert load_refusal(f"--config={path}").endswith(f"(port: line 2 of {path})")

    def test_of_a_combination_each(self, config):
        path = config("refresh_token_lifetime_s = 60")
        message = load_refusal(f"--config={path}")
        assert message.endswith(
            f"(access_token_lifetime_s: default; refresh_token_lifetime_s: line 1 of {path})"
        )

    @pytest.mark.parametrize("text", ["", "1_000", "1e3", "0x10", "٣", "1" * 30])
    def test_a_number_is_written_in_plain_digits(self, text):
        assert "a whole number" in load_refusal(f"--port={text}")

    def test_an_empty_path_is_not_the_current_folder(self):
        assert "data_dir is '', but it must be a path" in load_refusal("--data-dir=")

    def test_an_option_without_value(self):
        assert "--port has no value" in load_refusal("--port")
        assert "--port has no value" in load_refusal("--port", "--debug")

    def test_an_argument_that_is_no_option(self):
        assert "Argument 2 of the command line belongs to no setting" in load_refusal("--debug", "false")

    def test_a_file_that_is_not_there(self, tmp_path):
        message = load_refusal(STORMCELLAR_CONFIG=str(tmp_path / "none"))
        assert "none cannot be read: No such file" in message
        assert message.endswith("(config: environment variable STORMCELLAR_CONFIG)")

    def test_a_file_that_is_a_folder_or_no_text(self, tmp_path):
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        assert "cannot be read: Is a directory" in load_refusal(f"--config={tmp_path}")
        assert "cannot be read: it is not UTF-8 text" in load_refusal(f"--config={tmp_path / 'binary'}")

    def test_a_line_that_is_no_setting(self, config):
        assert "Line 1 of" in load_refusal(f"--config={config('[stormcellar]')}")

    def test_a_name_set_twice_in_the_file(self, config):
        path = config("site_name = a\nsite-name = b\n")
        assert f"Line 2 of {path} sets site_name again" in load_refusal(f"--config={path}")

    def test_a_comment_behind_a_value(self, config):
        assert "comments need a line of their own" in load_refusal(f"--config={config('site_name = a # b')}")

    def test_a_very_long_value_is_cut_in_the_message(self):
        assert len(load_refusal("--port=" + "x" * 100_000)) < 500


class TestTheSecretIsNeverShown:
    def test_in_any_form_of_the_settings(self):
        settings = Settings(secret=GOOD_SECRET)
        for text in (
            repr(settings),
            str(settings),
            f"{settings}",
            repr(vars(settings)),
            help_text(),
            markdown(),
        ):
            assert GOOD_SECRET not in text
        assert settings.secret == GOOD_SECRET

    def test_the_mail_servers_password_is_none_the_less(self):
        settings = Settings(smtp_url="smtps://kit:SHOWN@mail.example.com", mail_from="kit@example.com")
        assert "SHOWN" not in f"{settings} {settings!r} {vars(settings)}"
        assert "SHOWN" in settings.smtp_url

    def test_nor_is_the_databases_password(self):
        address = "postgresql://kit:SHOWN@db.example.com/kit?sslmode=verify-full"
        settings = Settings(database=address)
        assert "SHOWN" not in f"{settings} {settings!r} {vars(settings)}"
        assert settings.database == address

    @pytest.mark.parametrize(
        "argv",
        [
            ["--secret=SHOWN"],
            ["--secret= SHOWN\nSHOWN"],
            ["--secret", "SHOWN", "SHOWN"],
            ["--secret=", "SHOWN"],
            ["--secert=SHOWN"],
            ["--secret=SHOWN-change-me-SHOWN-0123456789", "--port=0"],
            ["--database=postgresql://kit:SHOWN@db"],
            ["--database=postgresql://kit:SHOWN/SHOWN@db/SHOWN"],
            ["--database=postgresql://db/kit?password=SHOWN"],
            ["--database=postgresql://kit:SHOWN"],
            ["--database=mysql://kit:SHOWN@db/kit"],
            ["--smtp-url=smtps://kit:SHOWN@mail.example.com/inbox"],
            ["--smtp-url=smtp://kit:SHOWN@mail.example.com"],
            ["--smtp-url=smtps://kit:SHOWN@mail.example.com"],
            ["--public-url=https://me:SHOWN@example.com"],
            ["--trusted-origins=https://me:SHOWN@example.com"],
        ],
    )
    def test_in_a_message_about_the_command_line(self, argv):
        assert "SHOWN" not in load_refusal(*argv)

    def test_in_a_message_about_the_environment(self):
        assert "SHOWN" not in load_refusal(STORMCELLAR_SECRET="SHOWN")
        assert "SHOWN" not in load_refusal(STORMCELLAR_SECRETS="SHOWN")

    @pytest.mark.parametrize(
        "line", ["secret = SHOWN", "secret SHOWN", "secret: SHOWN", "secrets = SHOWN", "secret = SHOWN # x"]
    )
    def test_in_a_message_about_the_file(self, line, config):
        assert "SHOWN" not in load_refusal(f"--config={config(line)}")


class TestTheSecretFile:
    def test_the_setting_comes_first_and_touches_no_file(self, tmp_path):
        settings = Settings(data_dir=tmp_path / "var", secret=GOOD_SECRET)
        assert load_or_create_secret(settings) == GOOD_SECRET.encode()
        assert not (tmp_path / "var").exists()

    def test_the_first_run_makes_one_that_later_runs_find(self, tmp_path):
        settings = Settings(data_dir=tmp_path)
        secret = load_or_create_secret(settings)
        assert len(secret) >= 32
        assert load_or_create_secret(settings) == secret
        assert [path.name for path in tmp_path.iterdir()] == ["secret"]

    def test_two_sites_get_two_secrets(self, tmp_path):
        first, second = (load_or_create_secret(Settings(data_dir=tmp_path / name)) for name in "ab")
        assert first != second

    def test_the_file_can_be_moved_into_the_setting(self, tmp_path):
        secret = load_or_create_secret(Settings(data_dir=tmp_path))
        text = (tmp_path / "secret").read_text().strip()
        assert load_or_create_secret(Settings(secret=text)) == secret

    def test_file_and_folder_are_for_their_owner_only_whatever_the_umask(self, tmp_path):
        folder = tmp_path / "new" / "var"
        before = os.umask(0)
        try:
            load_or_create_secret(Settings(data_dir=folder))
        finally:
            os.umask(before)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600

    def test_a_folder_that_is_there_keeps_its_mode(self, tmp_path):
        tmp_path.chmod(0o755)
        load_or_create_secret(Settings(data_dir=tmp_path))
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
    def test_a_file_that_others_have_access_to_is_refused(self, mode, tmp_path):
        load_or_create_secret(Settings(data_dir=tmp_path))
        (tmp_path / "secret").chmod(mode)
        with pytest.raises(SettingsError, match=f"has mode 0{mode:o}.*chmod 600"):
            load_or_create_secret(Settings(data_dir=tmp_path))

    @pytest.mark.parametrize(
        "content", ["", "\n", GOOD_SECRET[:31], " " * 40, "change-me" + GOOD_SECRET, "\0" * 64]
    )
    def test_a_short_or_sample_file_is_refused_and_left_alone(self, content, tmp_path):
        path = tmp_path / "secret"
        path.write_text(content)
        path.chmod(0o600)
        with pytest.raises(SettingsError, match="too short or a sample") as caught:
            load_or_create_secret(Settings(data_dir=tmp_path))
        assert path.read_text() == content
        assert GOOD_SECRET not in str(caught.value)

    def test_a_folder_that_cannot_be_made_is_refused_with_its_name(self, tmp_path):
        (tmp_path / "file").write_text("")
        for data_dir in (tmp_path / "file", tmp_path / "file" / "var"):
            with pytest.raises(SettingsError, match="cannot be made"):
                load_or_create_secret(Settings(data_dir=data_dir))

    def test_a_secret_that_cannot_be_read_or_written_is_refused_with_its_name(self, tmp_path):
        (tmp_path / "secret").mkdir()
        with pytest.raises(SettingsError, match=r"cannot be kept in .*secret: Is a directory"):
            load_or_create_secret(Settings(data_dir=tmp_path))

    def test_who_comes_second_takes_the_secret_of_the_first(self, tmp_path, monkeypatch):
        """The other process links its secret after this one saw none and before this one links its own."""
        link = os.link

        def late_link(draft: str, path: Path) -> None:
            path.write_text(GOOD_SECRET)
            path.chmod(0o600)
            link(draft, path)

        monkeypatch.setattr(settings_module.os, "link", late_link)
        assert load_or_create_secret(Settings(data_dir=tmp_path)) == GOOD_SECRET.encode()
        assert [path.name for path in tmp_path.iterdir()] == ["secret"]

    def test_a_draft_left_by_a_crash_is_no_secret(self, tmp_path):
        (tmp_path / ".secret-x1y2").write_text("half")
        assert len(load_or_create_secret(Settings(data_dir=tmp_path))) >= 32

    def test_processes_that_start_together_end_with_the_same_secret(self, tmp_path):
        program = (
            "import sys, pathlib\n"
            "from stormcellar import secret_files, settings\n"
            "for line in sys.stdin:\n"
            "    here = settings.Settings(data_dir=pathlib.Path(line.strip()))\n"
            "    print(secret_files.load_or_create_secret(here).decode(), flush=True)\n"
        )
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=ROOT,
                env=process_env(),
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        try:
            for number in range(100):
                folder = tmp_path / str(number)
                for racer in racers:
                    racer.stdin.write(f"{folder}\n")
                    racer.stdin.flush()
                answers = {racer.stdout.readline().strip() for racer in racers}
                assert answers == {(folder / "secret").read_text().strip()}
                assert [path.name for path in folder.iterdir()] == ["secret"]
        finally:
            for racer in racers:
                racer.communicate()


def test_a_folder_may_be_given_as_text(tmp_path: Path) -> None:
    assert Settings(data_dir=str(tmp_path)) == Settings(data_dir=tmp_path)
