# SPDX-License-Identifier: MIT
"""check: what is not fit for production is found, and each finding says what to do."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from stormcellar import sessions
from stormcellar.commands.changelog import entries_for_clones, recorded_version
from stormcellar.commands.check import check_version
from stormcellar.commands.check_database import (
    COMPONENTS,
    check_certificate,
    check_tls,
    compare_clocks,
    compare_versions,
)
from stormcellar.commands.check_settings import check_machine, check_requirement, check_settings
from stormcellar.commands.command import open_site
from stormcellar.commands.finding import Finding
from stormcellar.settings import Settings, load
from stormcellar.store.migrations import needs
from stormcellar.testing.clock import cheap_keys
from stormcellar.tests.commands.conftest import Manage
from stormcellar.tests.postgres import Cluster
from stormcellar.tests.serving import ROOT
from stormcellar.tests.site import SITE, main
from stormcellar.tests.smtp import PostOffice

SOUND: dict[str, object] = {
    "public_url": "https://www.example.com",
    "trusted_proxies": ("127.0.0.1", "::1"),
    "smtp_url": "smtps://mail.example.com",
    "mail_from": "no-reply@example.com",
    "cookie_prefix": True,
}


def found(findings: Iterable[Finding], level: str = "") -> list[str]:
    return [finding.what for finding in findings if not level or finding.level == level]


def of_settings(
    tmp_path: Path, words: list[str] | None = None, uid: int = 1000, **changes: object
) -> list[Finding]:
    options = Settings(**{"data_dir": tmp_path, **SOUND, **changes})  # type: ignore[arg-type]
    return list(check_settings(options, words or [], uid, SITE))


def test_sound_settings_have_neither_errors_nor_warnings(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert {finding.level for finding in of_settings(tmp_path)} == {"note"}


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"public_url": "", "cookie_prefix": False}, "error", "public_url is empty"),
        ({"public_url": "http://localhost:8888", "cookie_prefix": False}, "error", "without Secure"),
        (
            {"public_url": "http://localhost:8888", "cookie_prefix": False, "debug": True},
            "error",
            "debug is on",
        ),
        ({"trusted_proxies": ()}, "warning", "trusted_proxies is empty"),
        ({"trusted_proxies": ("64.0.0.0/2",)}, "error", "trusted_proxies holds 64.0.0.0/2"),
        ({"address": "0.0.0.0"}, "warning", "without the proxy"),
        ({"smtp_url": "", "mail_from": ""}, "warning", "nobody can get a new password"),
        (
            {"smtp_url": "", "mail_from": "", "email_verification": "required"},
            "error",
            "nobody new gets in",
        ),
        ({"smtp_url": "smtp://mail.example.com"}, "warning", "without encryption"),
        ({"rate_limits": False}, "warning", "rate_limits is off"),
        ({"processes": 256}, "warning", "processes is 256"),
        ({"cookie_prefix": False}, "note", "plain names"),
        ({"processes": 1}, "note", "One process serves"),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, changes: dict[str, object], level: str, words: str) -> None:
    assert any(words in what for what in found(of_settings(tmp_path, **changes), level))
    assert not any(words in what for what in found(of_settings(tmp_path, processes=2)))


def test_every_error_and_warning_says_what_to_do(tmp_path: Path) -> None:
    bad = of_settings(
        tmp_path, ["--secret=x"], 0, public_url="", cookie_prefix=False, trusted_proxies=(), smtp_url="",
        mail_from="", rate_limits=False, processes=256,
    )  # fmt: skip
    assert len(bad) >= 6
    assert all(finding.advice for finding in bad if finding.level != "note")


def test_files_that_others_may_read_are_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert any("mode 0755" in what for what in found(of_settings(tmp_path), "warning"))
    tmp_path.chmod(0o700)
    (tmp_path / "stormcellar.sqlite3").touch(0o644)
    assert any("mode 0644" in what for what in found(of_settings(tmp_path), "warning"))


def test_secrets_on_the_command_line_and_root_are_found(tmp_path: Path) -> None:
    assert any("secret stands" in what for what in found(of_settings(tmp_path, ["--secret=x"])))
    assert any("runs as root" in what for what in found(of_settings(tmp_path, uid=0)))


def test_a_full_disk_and_missing_packages_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Settings(data_dir=tmp_path / "not" / "yet")

    def with_free(count: int, level: str = "") -> list[str]:
        def usage(folder: Path) -> SimpleNamespace:
            assert folder == tmp_path.resolve()  # what is not there has no disk
            return SimpleNamespace(free=count)

        monkeypatch.setattr(shutil, "disk_usage", usage)
        return found(check_machine(options), level)

    assert with_free(10**12) == []
    assert "MB are free" in with_free(10**9, "warning")[0]
    assert "95 MB are free" in with_free(10**8, "error")[0]
    assert found(check_requirement("tornado>=6.5,<7")) == []
    assert found(check_requirement("psycopg[binary]>=3.0")) == []
    assert "but >=600 is required" in found(check_requirement("tornado>=600"), "error")[0]
    assert "but >=6,<6.1 is required" in found(check_requirement("tornado>=6,<6.1"), "error")[0]
    assert "is not installed" in found(check_requirement("no-such-package>=1"), "error")[0]


def test_every_requirement_of_the_kit_can_be_read() -> None:
    for file in ("requirements/run.txt", "requirements/postgres.txt", "requirements/metrics.txt"):
        for line in (ROOT / file).read_text().splitlines():
            if line and not line.startswith(("#", "-")):
                assert "cannot be read" not in "".join(found(check_requirement(line)))


# -- the database -----------------------------------------------------------------------------------


def test_clocks_that_differ_are_found() -> None:
    assert found(compare_clocks(0.5)) == []
    assert "3.0 s apart" in found(compare_clocks(-3), "warning")[0]
    assert "60.0 s apart" in found(compare_clocks(60), "error")[0]


def test_older_and_newer_tables_are_found() -> None:
    assert found(compare_versions(dict(COMPONENTS))) == []
    older, newer = ({**COMPONENTS, "accounts": COMPONENTS["accounts"] + step} for step in (-1, 1))
    assert "The next start brings the tables of accounts" in found(compare_versions(older), "note")[0]
    assert "newer" in found(compare_versions(newer), "note")[0]
    newer |= {needs("accounts"): newer["accounts"]}
    assert "of a newer version" in found(compare_versions(newer), "error")[0]


def test_every_component_that_the_server_keeps_is_compared(tmp_path: Path) -> None:
    """Those of extras, which a site may leave out, aside."""

    async def versions() -> dict[str, int]:
        async with open_site(SITE, Settings(data_dir=tmp_path)) as application:
            sql = "SELECT component, version FROM schema_version"
            return dict(await application.database.read(lambda c: c.execute(sql).fetchall()))

    extras = {"authenticator", "passkeys"}

    def is_needed(name: str) -> bool:
        return name.endswith(needs(""))

    there = asyncio.run(versions())
    assert {name: there[name] for name in there if name not in extras and not is_needed(name)} == COMPONENTS


def test_a_sound_site_ends_with_0_and_a_line_of_json_for_each_finding(
    manage: Manage, tmp_path: Path, site: list[str]
) -> None:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in SOUND.items() if isinstance(value, str)]
    assert manage("list-users").code == 0
    with PostOffice().open_in_thread() as host:
        words.append(f"--smtp-url=smtp://{host}")
        done = manage("check", "--json", "--trusted-proxies=127.0.0.1", *words)
    assert [record for record in done.records if record["level"] == "error"] == []
    assert done.code == 0
    assert all(set(record) == {"level", "what", "advice"} for record in done.records)
    assert any("fingerprint" in record["what"] for record in done.records)
    heard = any("heard by notifications" in record["what"] for record in done.records)
    assert heard == any("postgres" in word for word in site)


def test_an_unfit_site_ends_with_1_and_a_sum(manage: Manage) -> None:
    done = manage("check")
    assert done.code == 1
    assert re.search(r"^1 error, \d+ warnings?, \d+ notes?\.$", done.out, re.MULTILINE)


def test_checking_makes_neither_folder_nor_secret_nor_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    assert main(["check", f"--data-dir={empty}"]) == 1
    assert "the first start makes" in capsys.readouterr().out
    assert not empty.exists()


def test_a_database_without_its_secret_is_found(manage: Manage, data_dir: Path) -> None:
    assert manage("list-users").code == 0
    (data_dir / "secret").unlink()
    assert "its secret is not in" in manage("check").out
    assert not (data_dir / "secret").exists()


def test_another_secret_is_found(manage: Manage) -> None:
    assert manage("list-users").code == 0
    done = manage("check", "--secret=" + "Zk3vQ8xW1pL6tR9yB2nM5cH7dF4gJ0sA")
    assert "The secret does not belong to this database" in done.out


def test_a_wrong_setting_is_a_finding(manage: Manage) -> None:
    done = manage("check", "--port=70000")
    assert done.code == 1
    assert "error    port is 70000" in done.out


@pytest.mark.postgres
@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_a_database_out_of_reach_is_found(manage: Manage, postgres_url: str, cluster: Cluster) -> None:
    done = manage("check", f"--database={postgres_url.replace('/kit', '/nowhere')}")
    assert "error    The database cannot be reached: PostgreSQL: " in done.out
    assert postgres_url.rpartition("@")[0] not in done.out


# -- the public address -----------------------------------------------------------------------------


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """For localhost, signed by itself, good for ten days."""
    key = cheap_keys()()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=10))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


@pytest.fixture
def proxy(certificate: Path) -> Iterator[str]:
    """The public address of a server with that certificate."""
    server = HTTPServer(("127.0.0.1", 0), Healthy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_certificate_that_browsers_refuse_is_found(proxy: str) -> None:
    (what,) = found(check_tls(Settings(public_url=proxy)), "error")
    assert "Browsers refuse the certificate" in what


def test_a_good_certificate_that_ends_soon_is_found(
    proxy: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    findings = list(check_tls(Settings(public_url=proxy)))
    assert found(findings) == found(findings, "warning") == ["The certificate ends in 10 days."]
    assert found(check_certificate("Jan  1 00:00:00 2030 GMT", 1_800_000_000)) == []


def test_an_address_where_nobody_answers_is_found() -> None:
    (what,) = found(check_tls(Settings(public_url="https://localhost:1")), "error")
    assert "cannot be reached from here" in what


# -- versions ---------------------------------------------------------------------------------------

CHANGELOG = """\
# Changelog

## [Unreleased]

- Not yet out. **For clones:** prepare
  yourself.
- Nothing for clones.

## [0.10.0] - 2027-03-01

### Added

- Ten. **For clones:** change ten.

## [0.9.0] - 2027-02-01

- Nine. **For clones:** change nine.

[Keep]: https://example.com
"""


def test_what_clones_must_do_is_shown_since_their_version() -> None:
    assert list(entries_for_clones(CHANGELOG, "0.9.0")) == [
        ("Unreleased", "Not yet out. For clones: prepare yourself."),
        ("0.10.0", "Ten. For clones: change ten."),
    ]
    assert [version for version, _ in entries_for_clones(CHANGELOG, "0.8.7")][-1] == "0.9.0"


def test_check_shows_them_since_the_recorded_version_or_the_one_asked_for(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    assert "It is not known" in found(check_version(tmp_path, None))[1]
    (tmp_path / ".kit-version").write_text("0.10.0\n")
    assert len(found(check_version(tmp_path, None), "warning")) == 1
    assert len(found(check_version(tmp_path, "0.1.0"), "warning")) == 3


def test_the_version_is_the_same_everywhere() -> None:
    project = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project
    assert sessions.__version__ == project[1] == recorded_version(ROOT)


def test_a_version_must_look_like_one(manage: Manage) -> None:
    assert "--since is yesterday" in manage("check", "--since=yesterday").err


def test_findings_print_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    Finding("note", "So it is.").print(as_json=True)
    assert json.loads(capsys.readouterr().out) == {"level": "note", "what": "So it is.", "advice": ""}


def test_settings_of_manage_are_those_of_the_server() -> None:
    assert load(["--port=9000"], {}).port == 9000
