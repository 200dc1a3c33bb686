# SPDX-License-Identifier: MIT
"""Ask a running server whether it is alive or ready, at the address and the port of the same settings.

`python -m stormcellar.commands.health` is the command without the rest of manage.py: service managers and
containers ask often, and this loads little more than the settings.

    0  the server answered 200
    1  it did not; one sentence on standard error says why
    2  a setting is wrong
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import os
import socket
import sys
import time
from collections.abc import Sequence

from stormcellar import settings as configuration
from stormcellar.settings import Settings, SettingsError

ANSWER_TIMEOUT_S = 4.0
PAUSE_S = 0.2


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connect_to(options: Settings) -> str:
    """Return where to connect: to the first address, or to loopback if the server listens everywhere."""
    first = options.address.split(", ")[0]
    try:
        address = ipaddress.ip_address(first)
    except ValueError:
        return first  # a host name, or unix: and a path
    if not address.is_unspecified:
        return str(address)
    return "127.0.0.1" if address.version == 4 else "::1"


def ask(options: Settings, path: str) -> str:
    """Ask once; return why the server does not serve, or "" if it does."""
    host = connect_to(options)
    connection: http.client.HTTPConnection
    if host.startswith("unix:"):
        connection, where = UnixConnection(host.removeprefix("unix:"), ANSWER_TIMEOUT_S), host
    else:
        connection = http.client.HTTPConnection(host, options.port, timeout=ANSWER_TIMEOUT_S)
        where = f"address {host}, port {options.port}"
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        answer = connection.getresponse()
        body = answer.read(10_000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"no server answers at {where}: {error or type(error).__name__}"
    finally:
        connection.close()
    return "" if answer.status == http.client.OK else f"the server at {where} answers {answer.status}: {body}"


def ask_until(options: Settings, path: str, wait_s: float) -> str:
    """Ask until the server serves or the time is over; return the last reason."""
    end = time.monotonic() + wait_s
    while (reason := ask(options, path)) and time.monotonic() < end:
        time.sleep(PAUSE_S)
    return reason


def report(options: Settings, *, ready: bool, wait_s: float) -> int:
    """Ask, print why the server does not serve, and return the exit code."""
    reason = ask_until(options, "/readyz" if ready else "/healthz", wait_s)
    if reason:
        print(f"health: {reason}.", file=sys.stderr)
    return 1 if reason else 0


READY = ("--ready", "Ask /readyz (may requests be sent there?) instead of /healthz (is it alive?).")
WAIT = ("--wait", "Ask again for so many seconds until the answer is yes.")


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m stormcellar.commands.health", description=__doc__, allow_abbrev=False
    )
    parser.add_argument(READY[0], action="store_true", help=READY[1])
    parser.add_argument(WAIT[0], type=float, default=0.0, metavar="SECONDS", help=WAIT[1])
    arguments, settings_words = parser.parse_known_args(words)
    try:
        options = configuration.load(settings_words, os.environ)
    except SettingsError as error:
        print(f"health: {error}", file=sys.stderr)
        return 2
    return report(options, ready=arguments.ready, wait_s=arguments.wait)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
