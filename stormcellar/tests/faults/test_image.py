# SPDX-License-Identifier: MIT
"""The shipped image as clusters run it: any user, a read-only root, secrets in files, as process 1."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stormcellar.server.orphans import zombies
from stormcellar.tests.faults.image import Image, run_image
from stormcellar.tests.faults.namespaces import Machine
from stormcellar.tests.faults.test_deploy import wait_until
from stormcellar.tests.serving import free_port
from stormcellar.tests.test_environment import OTHER_SERVICE, SERVICE_LINKS

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ADDRESS = "127.0.0.4"  # moved away from the image's, like the port
ANY_USER = "1000650000:0"  # has no entry in /etc/passwd
SECRET = "VSN7mTkGbZ1Q4xUe0pJdYwLh3CfRaOi9"


class Container:
    """The image, running."""

    def __init__(self, folder: Path, user: str) -> None:
        self.port = free_port()
        environment = {
            **OTHER_SERVICE,
            **SERVICE_LINKS,
            "STORMCELLAR_ADDRESS": ADDRESS,
            "STORMCELLAR_PORT": str(self.port),
            "STORMCELLAR_PUBLIC_URL": "https://www.example.com",
            "STORMCELLAR_SECRET_FILE": "/run/secrets/site",
        }
        self.machine: Machine = run_image(folder, user, environment, {"/run/secrets/site": SECRET})

    def is_healthy(self) -> bool:
        """What the engine learns from HEALTHCHECK."""
        image = Image()
        variables = [*image.environment.items(), ("STORMCELLAR_ADDRESS", ADDRESS)]
        variables += [("STORMCELLAR_PORT", str(self.port)), ("LD_LIBRARY_PATH", "/opt/python/lib")]
        words = ["env", "-i", *(f"{name}={value}" for name, value in variables), *image.health_command]
        return self.machine.run(*words, check=False).returncode == 0

    def ask(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=30)
        headers = {"Host": "www.example.com", "Content-Type": "application/json", "rid": "x"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer


@pytest.fixture(scope="module", params=[Image().one("USER"), ANY_USER], ids=["its user", "any user"])
def container(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    container = Container(tmp_path_factory.mktemp("image"), request.param)
    try:
        wait_until(container.is_healthy, f"it is healthy: {container.machine.output.read_text()}")
        yield container
    finally:
        container.machine.stop()


def test_the_image_serves_and_writes_to_its_volume_only(container: Container) -> None:
    fields = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": "tall ships sail"}]
    log = container.machine.output.read_text()
    assert container.ask("POST", "/auth/signup", {"formFields": fields}).status == 200, log
    assert container.ask("POST", "/auth/signin", {"formFields": fields}).status == 200, log
    assert container.machine.run("ls", "/data/stormcellar.sqlite3").returncode == 0
    assert container.machine.run("ls", "/data/secret", check=False).returncode != 0, (
        "it is in a file elsewhere"
    )
    assert container.machine.run("touch", "/app/x", check=False).returncode != 0
    assert "Traceback" not in container.machine.output.read_text()


def test_an_orphan_leaves_no_zombie(container: Container) -> None:
    container.machine.run("sh", "-c", "sleep 0.2 & true")
    wait_until(lambda: zombies(container.machine.pid), "the orphan has ended")
    wait_until(lambda: not zombies(container.machine.pid), "its exit status has been collected")


def test_sigterm_ends_process_1(container: Container) -> None:
    """Last: the container is stopped."""
    container.machine.run("kill", "-TERM", "1")
    assert container.machine.wait() == 0
