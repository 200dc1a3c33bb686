# SPDX-License-Identifier: MIT
"""A real nginx with a site file of the test's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from stormcellar.tests.faults.test_deploy import wait_until
from stormcellar.tests.parts import require

DEADLINE_S = 60.0
MAIN = """\
daemon off;
{user}
worker_processes 2;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    access_log {folder}/access.log;
    include {folder}/site.conf;
}}
"""


class Nginx:
    """One nginx; all its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, site_file: str) -> None:
        user = "user root;" if os.getuid() == 0 else ""  # other users cannot enter the tests' folder
        self.folder.mkdir(exist_ok=True)
        (self.folder / "site.conf").write_text(site_file)
        (self.folder / "nginx.conf").write_text(MAIN.format(folder=self.folder, user=user))
        command = [require("nginx"), "-e", "stderr", "-c", self.folder / "nginx.conf"]
        subprocess.run([*command, "-t"], check=True, capture_output=True, timeout=DEADLINE_S)
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pid = self.folder / "pid"  # -t made an empty file
        wait_until(lambda: pid.stat().st_size > 0, "nginx listens")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE_S)
            self._process = None
