# SPDX-License-Identifier: MIT
"""Variables of the environment: settings, files that hold settings, and links of other programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stormcellar.settings import Settings, SettingsError, load

SECRET = "Jq3vX8ZpL0tWm5RkYc7HsNb2Gd9FfAe4"

SERVICE_LINKS = {
    "STORMCELLAR_SERVICE_HOST": "10.0.0.1",
    "STORMCELLAR_SERVICE_PORT": "80",
    "STORMCELLAR_SERVICE_PORT_HTTP": "80",
    "STORMCELLAR_PORT": "tcp://10.0.0.1:80",
    "STORMCELLAR_PORT_80_TCP": "tcp://10.0.0.1:80",
    "STORMCELLAR_PORT_80_TCP_PROTO": "tcp",
    "STORMCELLAR_PORT_80_TCP_PORT": "80",
    "STORMCELLAR_PORT_80_TCP_ADDR": "10.0.0.1",
    "STORMCELLAR_PORT_53_UDP_ADDR": "10.0.0.1",
}
"""What Kubernetes sets for a service called stormcellar."""
OTHER_SERVICE = {name.replace("STORMCELLAR", "STORMCELLAR_DATABASE"): v for name, v in SERVICE_LINKS.items()}
DOCKER_LINK = {
    "STORMCELLAR_NAME": "/web/stormcellar",
    "STORMCELLAR_PORT": "tcp://172.17.0.5:8888",
    "STORMCELLAR_ENV_PYTHONUNBUFFERED": "1",
}


@pytest.mark.parametrize("links", [SERVICE_LINKS, OTHER_SERVICE, DOCKER_LINK])
def test_links_of_kubernetes_and_docker_are_ignored(links: dict[str, str]) -> None:
    assert load([], links) == Settings()


def test_settings_beside_links_count() -> None:
    assert load([], {**OTHER_SERVICE, "STORMCELLAR_PORT": "9000"}).port == 9000


@pytest.mark.parametrize(
    "variable",
    ["STORMCELLAR_PROT", "STORMCELLAR_PORTS_FILE", "STORMCELLAR_CONFIG_FILE"],
)
def test_an_unknown_name_still_stops_the_start(variable: str) -> None:
    with pytest.raises(SettingsError, match="there is no such setting"):
        load([], {variable: "8888"})


def test_a_wrong_port_is_still_refused() -> None:
    with pytest.raises(SettingsError, match="port"):
        load([], {"STORMCELLAR_PORT": "10.0.0.1:80"})


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_file_can_hold_a_setting(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes((SECRET + ending).encode())
    assert load([], {"STORMCELLAR_SECRET_FILE": str(file)}).secret == SECRET


def test_the_command_line_wins_over_the_file_of_a_variable(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("9000")
    environ = {"STORMCELLAR_PORT_FILE": str(tmp_path / "port")}
    assert (load([], environ).port, load(["--port=9001"], environ).port) == (9000, 9001)


def test_a_setting_and_its_file_are_one_too_many(tmp_path: Path) -> None:
    environ = {"STORMCELLAR_SECRET_FILE": str(tmp_path / "secret"), "STORMCELLAR_SECRET": SECRET}
    with pytest.raises(SettingsError, match="Remove one of them") as refused:
        load([], environ)
    assert SECRET not in str(refused.value)


def test_an_error_names_the_file_and_the_variable(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("eighty")
    with pytest.raises(SettingsError, match=r"port.*STORMCELLAR_PORT_FILE"):
        load([], {"STORMCELLAR_PORT_FILE": str(tmp_path / "port")})


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"x" * 70_000])
def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"cannot be read.*STORMCELLAR_SECRET_FILE"):
        load([], {"STORMCELLAR_SECRET_FILE": str(file)})
