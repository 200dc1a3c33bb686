# SPDX-License-Identifier: MIT
"""The files in deploy/ and docs/deploy.md agree with each other and with what the server does."""

from __future__ import annotations

import re
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from stormcellar import server as processes
from stormcellar import settings
from stormcellar.commands.cli import all_commands
from stormcellar.tests.serving import ROOT
from stormcellar.tests.site import SITE
from stormcellar.web.access import pattern

pytestmark = pytest.mark.kit

DEPLOY = ROOT / "deploy"
GUIDE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
UNIT, NGINX, CADDY = "stormcellar@.service", "nginx.conf", "Caddyfile"
DURATIONS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
SECRET = "0" + "secret = " + "VSN7mTkGbZ1Q4xUe0pJdYwLh3CfRaOi9"


def text(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def unit(name: str) -> ConfigParser:
    """Of an option that is given more than once, the last."""
    parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text(name))
    return parser


def seconds(duration: str) -> float:
    number, unit_name = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()  # type: ignore[union-attr]
    return int(number) * DURATIONS_S[unit_name]


def configured(tmp_path: Path) -> settings.Settings:
    """The sample of the settings, with the line that the guide appends."""
    path = tmp_path / "stormcellar.conf"
    path.write_text(text("stormcellar.conf") + SECRET.removeprefix("0") + "\n")
    return settings.load([f"--config={path}", "--port=8001"], {})


def test_every_file_is_named_in_the_guide() -> None:
    names = {path.name.removesuffix(".dockerignore") for path in DEPLOY.iterdir() if path.name != ".env"}
    assert {name for name in names if f"deploy/{name}" not in GUIDE} == set()


def test_every_file_that_the_guide_names_is_there() -> None:
    for name in re.findall(r"deploy/([\w@.-]*\w)", GUIDE):
        assert (DEPLOY / name).exists() or name == ".env", name


def test_the_guides_commands_are_well_formed() -> None:
    for block in re.findall(r"^```sh\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE):
        script = block.replace("<your repository>", "https://example.com/site.git")
        checked = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_the_guide_names_only_settings_that_exist() -> None:
    """In code words with an underscore, and whatever stands before " = "."""
    codes = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", GUIDE, flags=re.DOTALL | re.MULTILINE))
    named = {code for code in codes if re.fullmatch(r"[a-z]+(_[a-z]+)+", code)}
    named |= {match[1] for code in codes if (match := re.match(r"(\w+) = ", code))}
    assert {"public_url", "drain_s", "trusted_proxies", "processes", "log_format"} <= named
    assert named - {"max_connections"} <= set(settings.NAMES)


def test_the_guides_manage_commands_exist() -> None:
    named = set(re.findall(r"manage\.py ([a-z-]+)", GUIDE))
    assert named <= {command.name for command in all_commands()}


def test_the_sample_of_the_settings_is_accepted_and_can_be_reloaded(tmp_path: Path) -> None:
    options = configured(tmp_path)
    assert options.processes >= 2, "with one, SIGHUP would end the server"
    assert options.uses_postgres
    assert options.cookie_secure
    assert set(options.trusted_proxies) == {"127.0.0.1/32", "::1/128"}


def test_the_secret_of_the_guide_is_one_that_the_server_takes() -> None:
    command = re.search(r"^python3 -c '(import secrets; .*?)'", GUIDE, re.MULTILINE)
    assert command is not None
    assert "token_urlsafe(48)" in command[1], "the same strength as the server's own"


def test_the_unit_gives_a_server_the_time_that_it_takes_to_drain(tmp_path: Path) -> None:
    service = unit(UNIT)["Service"]
    longest = configured(tmp_path).drain_s + processes.LINGER_S
    assert int(service["TimeoutStopSec"]) > longest
    grace = re.search(r"stop_grace_period: (\w+)", text("compose.yaml"))
    assert grace is not None
    assert seconds(grace[1]) > longest


def test_the_unit_tells_only_the_supervisor_to_end() -> None:
    """A worker that hears SIGTERM twice ends at once."""
    assert unit(UNIT)["Service"]["KillMode"] == "mixed"


def test_the_unit_and_the_settings_name_the_same_places(tmp_path: Path) -> None:
    service = unit(UNIT)["Service"]
    options = configured(tmp_path)
    assert options.data_dir == Path("/var/lib") / service["StateDirectory"]
    assert "--config=/etc/stormcellar/stormcellar.conf" in service["ExecStart"]
    assert "host=/run/postgresql" in options.database
    assert f"createuser {service['User']}" in GUIDE
    assert f"/{service['User']}?" in options.database


@pytest.mark.parametrize("name", [NGINX, CADDY])
def test_the_proxies_ask_the_servers_that_the_guide_starts(name: str) -> None:
    started = set(re.findall(r"stormcellar@(\d+)", GUIDE))
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", text(name))) == started


def test_the_proxies_let_go_of_idle_connections_before_a_draining_server_does() -> None:
    nginx = re.search(r"upstream stormcellar \{.*?keepalive_timeout (\w+);", text(NGINX), re.DOTALL)
    caddy = re.search(r"^\s*keepalive (\w+)$", text(CADDY), re.MULTILINE)
    for found in (nginx, caddy):
        assert found is not None
        assert seconds(found[1]) < processes.LINGER_S


def test_the_proxies_take_bodies_as_large_as_the_server_does() -> None:
    assert settings.Settings().max_body_bytes == 10 * 1024 * 1024
    assert re.search(r"client_max_body_size +10m;", text(NGINX))
    assert "max_size 10MiB" in text(CADDY)


def test_the_proxies_hide_every_address_that_is_for_operators() -> None:
    hidden = {
        pattern(route)
        for route in SITE.route_table(settings.Settings())
        if "operations" in route.handler_class.__module__
    }
    assert hidden == {"/healthz", "/readyz", "/metrics"}
    assert "location ~ ^/(healthz|readyz|metrics)$" in text(NGINX)
    assert "path /healthz /readyz /metrics\n" in text(CADDY)


def test_the_proxies_write_no_query_down() -> None:
    """Mailed links carry their token there."""
    (line,) = re.findall(r"^log_format [^;]*;", text(NGINX), re.MULTILINE)
    assert "$uri " in line
    assert not re.search(r"\$(request|request_uri|args|query_string|http_\w+)\b", line)
    logs = re.findall(r"^    (access_log|error_log) +(.*);$", text(NGINX), re.MULTILINE)
    of_each_server = [
        ("access_log", "/var/log/nginx/stormcellar.log stormcellar"),
        ("error_log", "/var/log/nginx/error.log emerg"),  # messages about a request hold its whole line
    ]
    assert logs == of_each_server * len(re.findall(r"^server \{", text(NGINX), re.MULTILINE))
    assert text(CADDY).count(r'request>uri regexp \?.* ""') == text(CADDY).count("format filter") == 2


def test_the_image_has_every_package_that_the_server_is_made_of() -> None:
    admitted = {line[1:] for line in text("Dockerfile.dockerignore").splitlines() if line.startswith("!")}
    beside = {"tests", "benchmarks", "examples"}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - beside
    assert packages | {"templates", "static", "*.py", "requirements"} <= admitted


def test_the_image_runs_without_privileges_and_without_a_shell() -> None:
    lines = text("Dockerfile").splitlines()
    assert "USER 10001:10001" in lines
    assert 'CMD ["python", "server.py"]' in lines
    assert '    CMD ["python", "-m", "stormcellar.commands.health"]' in lines, "the health check"


def test_health_checks_name_no_address_and_no_port() -> None:
    """They ask where the settings say that the server listens."""
    after_start = unit(UNIT)["Service"]["ExecStartPost"]
    of_server = unit(UNIT)["Service"]["ExecStart"].partition("server.py ")[2]
    assert after_start.endswith(of_server), "the same settings"
    assert "127.0.0.1" not in after_start
    assert "127.0.0.1" not in text("Dockerfile")


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "compose.env"])
def test_variables_for_containers_are_settings(name: str) -> None:
    named = set(re.findall(r"STORMCELLAR_([A-Z_]+)", text(name)))
    assert {variable.lower() for variable in named} <= set(settings.NAMES)


def test_compose_asks_for_what_its_sample_offers() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", text("compose.yaml")))
    offered = set(re.findall(r"^([A-Z_]+)=", text("compose.env"), re.MULTILINE))
    assert asked == offered


def test_the_script_that_makes_releases_is_well_formed() -> None:
    assert subprocess.run(["sh", "-n", DEPLOY / "release"], check=False).returncode == 0
    assert (DEPLOY / "release").stat().st_mode & 0o111
