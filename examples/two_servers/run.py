# SPDX-License-Identifier: MIT
"""An API server and a web server on two sub-domains: `make example NAME=two_servers`.

    api.kit.localhost   users, sessions and keys: the kit as it is
    www.kit.localhost   pages only: no database and no key; it verifies tokens by the API server's JWKS

Browsers lead every name below .localhost to this machine. Further arguments go to both servers.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOMAIN = "kit.localhost"
ANNOUNCED = "Ctrl+C"


def free_port() -> int:
    """One from below those that the system gives to outgoing connections."""
    while True:
        port = secrets.randbelow(20_000) + 12_000
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def start(*settings: str) -> subprocess.Popen[str]:
    """Start a server and wait until it is ready."""
    process = subprocess.Popen(
        [sys.executable, "server.py", *settings], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if ANNOUNCED in line:
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return process
    raise SystemExit("a server does not start; what it said stands above")


def main(arguments: list[str]) -> None:
    # The API server may have any port; the web server's is the one to choose.
    chosen = [argument for argument in arguments if argument.startswith("--port=")]
    rest = [argument for argument in arguments if argument not in chosen]
    web_port = int(chosen[0].removeprefix("--port=")) if chosen else 8888
    api_port, web_port = free_port(), web_port or free_port()
    api, web = f"http://api.{DOMAIN}:{api_port}", f"http://www.{DOMAIN}:{web_port}"
    shared = [f"--cookie_domain={DOMAIN}", *rest]
    api_server = start(f"--port={api_port}", f"--public_url={api}", f"--website_domain={web}", *shared)
    web_server = start(
        f"--port={web_port}",
        f"--public_url={web}",
        f"--api_domain={api}",
        f"--jwks_url=http://127.0.0.1:{api_port}/auth/jwt/jwks.json",
        *shared,
    )
    urllib.request.urlopen(f"http://127.0.0.1:{web_port}/").close()
    print(f"The pages are at {web}, the API server is at {api}", flush=True)
    print(f"This machine knows the pages as http://127.0.0.1:{web_port}", flush=True)
    print("Ctrl+C stops both.", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        web_server.wait()
    for process in (web_server, api_server):
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
