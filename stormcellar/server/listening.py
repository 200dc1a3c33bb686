# SPDX-License-Identifier: MIT
"""Where the server listens: TCP addresses, Unix sockets, and sockets that another process opened for it."""

from __future__ import annotations

import errno
import os
import socket
import stat

from tornado.netutil import bind_sockets, bind_unix_socket

from stormcellar.settings import UNIX_PREFIX, Settings, SettingsError

SOCKETS_VARIABLE = "KIT_LISTEN_FDS"  # the listening sockets that a worker inherits from its supervisor
BACKLOG = 128


def listen(options: Settings) -> list[socket.socket]:
    """Open all sockets that the setting `address` names.

    Raises:
        SettingsError: one of them cannot be opened; the message says which and why.
    """
    sockets: list[socket.socket] = []
    for address in options.addresses:
        try:
            sockets += _bind(address, options)
        except (OSError, ValueError) as error:
            for opened in sockets:
                opened.close()
            where = address if address.startswith(UNIX_PREFIX) else f"{address} port {options.port}"
            reason = error.strerror if isinstance(error, OSError) else "that is a file, not a socket"
            raise SettingsError(
                f"it cannot listen on {where} ({reason}); stop what listens there, or choose another with "
                "--port or --address",
                "address",
            ) from None
    return sockets


def _bind(address: str, options: Settings) -> list[socket.socket]:
    if address.startswith(UNIX_PREFIX):
        path = address.removeprefix(UNIX_PREFIX)
        _refuse_living_socket(path)
        return [bind_unix_socket(path, int(options.unix_socket_mode, 8), BACKLOG)]
    # Tornado opens each IPv6 socket for IPv6 only. Without an address it opens one socket for each family.
    return bind_sockets(options.port, None if address == "::" else address, backlog=BACKLOG)


def _refuse_living_socket(path: str) -> None:
    """Raise EADDRINUSE if a server listens on this Unix socket. The file of a dead server is replaced."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def inherited_sockets() -> list[socket.socket]:
    """Listening sockets from the supervisor, or from systemd (sd_listen_fds(3))."""
    numbers = [int(number) for number in os.environ.get(SOCKETS_VARIABLE, "").split()]
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        numbers = list(range(3, 3 + int(os.environ.get("LISTEN_FDS", "0"))))
    sockets = [socket.socket(fileno=number) for number in numbers]
    for inherited in sockets:
        inherited.setblocking(False)
    return sockets


def addresses_of(sockets: list[socket.socket]) -> list[str]:
    """Where these sockets listen, as `http://host:port` or `unix:path`."""
    return [_address_of(listening) for listening in sockets]


def _address_of(listening: socket.socket) -> str:
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return f"{UNIX_PREFIX}{os.fsdecode(name)}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"
