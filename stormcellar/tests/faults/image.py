# SPDX-License-Identifier: MIT
"""The shipped Dockerfile without Docker: the last stage's steps in a separate file system, then its command.

What the first stage installs comes from the tests' environment. The rest is as a container engine does it: a
read-only root, a volume, a small /dev/shm, no capability, and the command as process 1.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stormcellar.tests.faults.namespaces import Machine, sh
from stormcellar.tests.serving import ROOT

DOCKERFILE = ROOT / "deploy/Dockerfile"
CONTINUED = re.compile(r"\\\n\s*")
LEFT_OUT = shutil.ignore_patterns("__pycache__")
OVER_ROOT = "lowerdir=/,upperdir=/run/image/upper,workdir=/run/image/work"
WITHOUT_RIGHTS = "--clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs"
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Image:
    """What the Dockerfile says of its last stage."""

    def __init__(self) -> None:
        text = "".join(line for line in DOCKERFILE.read_text().splitlines(keepends=True) if line[0] != "#")
        last_stage = CONTINUED.sub(" ", text).rpartition("\nFROM ")[2]
        self.steps = [tuple(line.split(" ", 1)) for line in last_stage.splitlines()[1:] if line.strip()]

    def one(self, name: str) -> str:
        (value,) = (rest for step, rest in self.steps if step == name)
        return value

    @property
    def environment(self) -> dict[str, str]:
        words = dict(word.split("=", 1) for word in shlex.split(self.one("ENV")))
        return {name: value.replace("$PATH", BASE_PATH) for name, value in words.items()}

    @property
    def command(self) -> list[str]:
        return list(json.loads(self.one("CMD")))

    @property
    def health_command(self) -> list[str]:
        return list(json.loads(self.one("HEALTHCHECK").rpartition("CMD ")[2]))

    def build_context(self, folder: Path) -> Path:
        """What Dockerfile.dockerignore lets in, as `COPY . /app` takes it."""
        lines = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
        admitted = [line[1:] for line in lines if line.startswith("!")]
        folder.mkdir()
        for path in ROOT.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in admitted):
                if path.is_dir():
                    shutil.copytree(path, folder / path.name, ignore=LEFT_OUT)
                else:
                    shutil.copy(path, folder / path.name)
        return folder


def run_image(folder: Path, user: str, environment: Mapping[str, str], files: Mapping[str, str]) -> Machine:
    """Build the image and start its command as process 1.

    Args:
        user: "UID:GID", as `docker run --user` takes it.
        environment: variables beside those of the image.
        files: secrets that are mounted into the container: path and text.
    """
    image, root = Image(), Path("/run/image/root")
    context = image.build_context(folder / "context")
    inside = ["chroot", root]
    steps: list[Sequence[str | Path]] = []
    for step, rest in image.steps:
        if step == "RUN":
            steps.append([*inside, "sh", "-c", rest])
        elif step == "COPY" and rest.endswith("/app"):
            steps += [["cp", "-r", f"{context}/.", root / "app"]]
    script = sh(
        ("mount", "-t", "tmpfs", "tmpfs", "/run"),
        ("mkdir", "-p", root, "/run/image/upper", "/run/image/work"),
        ("mount", "-t", "overlay", "overlay", "-o", OVER_ROOT, root),
        ("mkdir", "-p", root / "app", root / "opt/venv/lib", root / "opt/venv/bin", root / "opt/python"),
        ("mount", "--bind", sys.base_prefix, root / "opt/python"),
        ("mount", "--bind", Path(sys.prefix) / "lib", root / "opt/venv/lib"),
        ("ln", "-sf", f"/opt/python/bin/{Path(sys.executable).resolve().name}", root / "opt/venv/bin/python"),
        ("sh", "-c", f"echo home = /opt/python/bin > {root}/opt/venv/pyvenv.cfg"),
        ("mkdir", "-p", root / "run/secrets"),
        *(("sh", "-c", f"printf %s {shlex.quote(text)} > {root}{path}") for path, text in files.items()),
        *steps,
        # The engine's part: a read-only root, small file systems in memory, and the volume.
        ("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", root / "var/lib"),
        ("mkdir", root / "var/lib/volume"),
        ("cp", "-a", root / "data/.", root / "var/lib/volume"),
        ("chown", "--reference", root / "data", root / "var/lib/volume"),
        ("chmod", "--reference", root / "data", root / "var/lib/volume"),
        ("mount", "-o", "remount,ro", root),
        ("mount", "--bind", root / "var/lib/volume", root / "data"),
        ("mount", "-t", "proc", "proc", root / "proc"),
        ("mount", "--rbind", "/dev", root / "dev"),
        ("mount", "-t", "tmpfs", "-o", "size=64m,mode=1777", "shm", root / "dev/shm"),
        ("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "tmp"),
    )
    uid, _, gid = user.partition(":")
    identity = f"--reuid {uid} --regid {gid} {WITHOUT_RIGHTS}"
    variables = {**image.environment, "LD_LIBRARY_PATH": "/opt/python/lib", **environment}
    settings = [f"{name}={value}" for name, value in variables.items()]
    words = shlex.join(["env", "-i", *settings, *image.command])
    command = shlex.quote(f"cd {image.one('WORKDIR')} && exec {words}")
    start = f"exec chroot {root} setpriv {identity} sh -c {command}"
    machine = Machine(folder, f"export LD_LIBRARY_PATH=/opt/python/lib\n{script}{start}\n")
    machine.wait_until_it_runs(image.command[0])
    return machine
