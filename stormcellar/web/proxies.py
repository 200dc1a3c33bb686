# SPDX-License-Identifier: MIT
"""Whose address a request comes from, when proxies of our own stand in between.

Every proxy appends the address it was called from to `X-Forwarded-For`, so only the right end of the list is
from proxies that we know; what stands to the left of them was written by whoever called. It is read from the
right, past trusted proxies, up to the first address that is none of them. Empty elements are ignored (RFC
9110, section 5.6.1.2). `Forwarded` (RFC 7239) and `X-Real-IP` are not read, since many proxies pass them on
as they came; a proxy that sends only these is reported once. No other header that a proxy may send is looked
at: scheme and host of this site are what the setting `public_url` says.

Tornado's own `xheaders` is not used: it believes every peer, prefers X-Real-Ip, which many proxies pass on as
it came, lets X-Forwarded-Proto change the scheme, and knows addresses only, not networks.

Source: OWASP ASVS 5.0, 4.1.3 and 15.3.4; RFC 7239, section 8.1.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Mapping, Sequence

log = logging.getLogger("stormcellar.web")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
UNIX_SOCKET = ipaddress.IPv4Address(0)
"""Tornado's address for the peer of a Unix socket; no TCP peer has it. The mode of the socket's file decides
who may connect, so such a peer is trusted as a proxy."""
WITH_PORT = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?", re.ASCII)


class Proxies:
    """The proxies of one site.

    Args:
        networks: where they are, as the setting `trusted_proxies` has them.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._warned = False
        self._warned_of_scheme = False

    def caller(self, peer: str, forwarded_for: str | None) -> str:
        """The address of whoever a request is from.

        Args:
            peer: who holds the other end of the connection, as the operating system says.
            forwarded_for: the header X-Forwarded-For, all its lines joined by commas; None: there is none.

        Returns:
            An IP address; an IPv4 address is never in its IPv6 form. What is wrong in the header ends the
            reading, and the last address before it counts.
        """
        if forwarded_for is None and not peer.startswith("::ffff:"):
            return peer
        caller = parsed(peer)
        if caller is None:
            return peer
        if forwarded_for is not None and not self.trusts(caller):
            self._warn_of_stranger(caller)
        elements = (written.strip(" \t") for written in (forwarded_for or "").split(","))
        for written in reversed([element for element in elements if element]):
            address = parsed(written) if self.trusts(caller) else None
            if address is None:
                break
            caller = address
        return str(caller)

    def trusts(self, address: IPAddress) -> bool:
        return address == UNIX_SOCKET or any(address in network for network in self._networks)

    def warn_of_other_headers(self, peer: str, headers: Mapping[str, str]) -> None:
        """Report once a trusted proxy that sends `Forwarded` or `X-Real-IP` without `X-Forwarded-For`."""
        if not self._networks or self._warned:
            return
        sent = next((name for name in ("Forwarded", "X-Real-Ip") if name in headers), None)
        address = parsed(peer) if sent else None
        if address is not None and self.trusts(address):
            self._warned = True
            log.warning(
                "the proxy at %s sends %s and no X-Forwarded-For, so all visitors behind it count as one: "
                "have it send X-Forwarded-For, or remove it from trusted_proxies",
                peer,
                sent,
            )

    def warn_of_scheme(self, peer: str, headers: Mapping[str, str]) -> None:
        """Report once a trusted proxy that serves by https what public_url does not say to be https."""
        if self._warned_of_scheme or headers.get("X-Forwarded-Proto", "").strip().lower() != "https":
            return
        address = parsed(peer)
        if address is not None and self.trusts(address):
            self._warned_of_scheme = True
            log.warning(
                "the proxy at %s serves this site by https, but public_url does not begin with https://, so "
                "forms are refused and cookies are not Secure: set public_url to the address that visitors "
                "type",
                peer,
            )

    def _warn_of_stranger(self, peer: IPAddress) -> None:
        """Say once that a proxy may be missing in the settings; from the Internet anyone sends the header."""
        if peer.is_private and not self._warned:
            self._warned = True
            log.warning(
                "X-Forwarded-For from %s is not believed; if that is a proxy of yours, add it to "
                "trusted_proxies",
                peer,
            )


def parsed(text: str) -> IPAddress | None:
    """An IP address, with or without a port; None if it is none."""
    match = WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address((match[1] or match[2]) if match else text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    return address.ipv4_mapped or (None if address.scope_id else address)


def client_network(address: str) -> str:
    """Who counts as one client: an IPv4 address, or an IPv6 /64, which is what one household or host gets."""
    found = parsed(address)
    if found is None or found.version == 4:
        return str(found or address)
    return str(ipaddress.ip_network((found, 64), strict=False))
