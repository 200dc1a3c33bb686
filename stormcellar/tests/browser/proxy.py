# SPDX-License-Identifier: MIT
"""A reverse proxy on loopback, such as stands before a site: browsers speak to it, and it to the server."""

from __future__ import annotations

import datetime
import http.client
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}  # RFC 9110, section 7.6.1
PATIENCE_S = 30


class Proxy:
    """Runs until `close`.

    Args:
        scheme: "http" or "https"; the certificate is self-made, so the browser has to be told to take it.
        host: the name that visitors type. Chromium finds every name that ends in .test on loopback.
        keeps_host: whether the server is told that name, or its own.
    """

    def __init__(self, folder: Path, scheme: str, host: str, *, keeps_host: bool = True) -> None:
        self.server_port = 0  # of the server behind; known once that has started
        self.keeps_host = keeps_host
        self.dropped: set[str] = set()  # names of response headers that it does not pass on, in lower case
        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(make_certificate(folder, host))
            # Shake hands in the connection's own thread: one that hangs must not keep others waiting.
            self._listener.socket = context.wrap_socket(
                self._listener.socket, server_side=True, do_handshake_on_connect=False
            )
        self.public_url = f"{scheme}://{host}:{self._listener.server_port}"
        self._thread = threading.Thread(target=self._listener.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = PATIENCE_S

            def pass_on(self) -> None:
                headers = {
                    name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP
                }
                if not proxy.keeps_host:
                    headers["Host"] = f"127.0.0.1:{proxy.server_port}"
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server = http.client.HTTPConnection("127.0.0.1", proxy.server_port, timeout=PATIENCE_S)
                try:
                    server.request(self.command, self.path, body, headers)
                    self.answer(server.getresponse())
                finally:
                    server.close()

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

            def answer(self, response: http.client.HTTPResponse) -> None:
                body = response.read()
                self.send_response_only(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in HOP_BY_HOP | proxy.dropped:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def make_certificate(folder: Path, host: str) -> Path:
    """A certificate for this name, signed by its own key, both in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{host}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
