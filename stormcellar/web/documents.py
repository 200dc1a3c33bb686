# SPDX-License-Identifier: MIT
"""Fetching a small document of another server, such as its public keys, within a time that is sure to end."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from tornado.httpclient import HTTPClientError, HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient

TIME_LIMIT_S = 5.0
MAX_BYTES = 256 * 1024
MOST_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})


async def fetch(url: str, *, time_limit_s: float = TIME_LIMIT_S) -> bytes:
    """Get a document. Redirects are followed within the same origin.

    Args:
        time_limit_s: for each request as a whole: name, connection, headers and body.

    Raises:
        OSError: it cannot be reached in this time, is too large, or the answer is an error.
    """
    client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=MAX_BYTES)
    try:
        for _ in range(1 + MOST_REDIRECTS):
            response = await client.fetch(
                url,
                connect_timeout=time_limit_s,
                request_timeout=time_limit_s,
                follow_redirects=False,
                headers={"Accept": "application/json"},
                raise_error=False,
            )
            if response.code not in REDIRECTS:
                return _body(response)
            target = urljoin(url, response.headers.get("Location", ""))
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                raise OSError(f"it redirects to another host, {target}")
            url = target
        raise OSError("it redirects too often")
    except HTTPClientError as error:
        raise OSError(str(error)) from error
    finally:
        client.close()


def _body(response: HTTPResponse) -> bytes:
    if response.code != 200:
        raise OSError(f"the answer is {response.code} {response.reason}: {response.error}")
    return response.body
