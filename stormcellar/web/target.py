# SPDX-License-Identifier: MIT
"""The name that a request asks for: its Host header, or its target in absolute form.

One host can be written in several ways: `Example.COM`, `example.com.`, `example.com:443`. All of them mean
the host of `public_url`.

Source: RFC 9110, sections 4.2.3 and 7.2; RFC 9112, section 3.2.2; RFC 3986, section 6.2.2.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest

DEFAULT_PORTS = {"http": "80", "https": "443"}


def to_origin_form(request: HTTPServerRequest) -> None:
    """Rewrite a target in absolute form into a path, and take the host from it.

    The host of the target counts, and the Host header does not. A target of another scheme stays as it is,
    so no route knows it.
    """
    if request.path.startswith("/") or not request.uri:
        return
    scheme, separator, rest = request.uri.partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        return
    end = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    authority, target = rest[:end], rest[end:]
    request.host = authority
    request.uri = target if target.startswith("/") else "/" + target
    request.path = request.uri.partition("?")[0]


def split_host(host: str) -> tuple[str, str]:
    """Split a Host header into the lower-case name and the port; an IPv6 address stays in its brackets.

    The dot that ends a complete DNS name is dropped. The port is empty where none is given.
    """
    name, colon, port = host.lower().rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        name, port = host.lower(), ""
    return name.removesuffix(".") if name != "." else name, port


def hostname(host: str) -> str:
    """The name in a Host header, lower-case, without its port; IPv6 in its brackets."""
    return split_host(host)[0]


def is_same_host(host: str, origin: str) -> bool:
    """Tell whether a Host header names the host and port of an origin such as `https://example.com`."""
    parts = urlsplit(origin)
    default = DEFAULT_PORTS[parts.scheme]
    name, port = split_host(host)
    own_name, own_port = split_host(parts.netloc)
    return (name, port or default) == (own_name, own_port or default)


def http_origin(host: str) -> str:
    """The origin that a browser shows for a Host header over plain HTTP."""
    return "http://" + host.lower().removesuffix(":80")
