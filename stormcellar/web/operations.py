# SPDX-License-Identifier: MIT
"""For whoever runs the server: is it alive, is it ready, and what does it do?

Load balancers ask by address, so these routes answer whatever the Host header says. None of them tells
anything about a person. `/metrics` exists where Prometheus' official client is installed
(requirements/metrics.txt), and answers direct callers from the networks of the setting `metrics_from` only: a
proxy that passes requests on says so in X-Forwarded-For.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from stormcellar.web.handler import BaseHandler
from stormcellar.web.proxies import parsed


class OperationsHandler(BaseHandler):
    """Asks for no session and no particular host."""

    speaks_json = True
    logs_success = False  # a probe every second would hide the rest of the log

    def check_host(self) -> None:
        """Whoever asks by address may."""

    async def get_session(self) -> None:
        return None


class HealthHandler(OperationsHandler):
    """GET /healthz: 200 as long as the process answers at all."""

    public = "load balancers and service managers ask"

    async def get(self) -> None:
        self.finish({"status": "alive"})


class ReadyHandler(OperationsHandler):
    """GET /readyz: 200 if requests may be sent here, else 503 with what is missing.

    `feed_mode` says how revocations made elsewhere are heard: PostgreSQL notifies ("listen"), or this server
    asks ("poll"), as it always does on SQLite, and on PostgreSQL while the notifications are cut off.
    """

    public = "load balancers ask"

    async def get(self) -> None:
        checks = await self.app.checks()
        ready = all(checks.values())
        self.set_status(200 if ready else 503)
        said: dict[str, Any] = {"status": "ready" if ready else "not ready", "checks": checks}
        if not self.app.options.verify_only:
            said["feed_mode"] = self.app.database.feed_mode
        self.finish(said)


class MetricsHandler(OperationsHandler):
    """GET /metrics: counters in Prometheus' text format."""

    public = "monitoring asks, from the networks of metrics_from; others get 404"

    async def get(self) -> None:
        if self.app.metrics is None or not self._may_read():
            self.write_failure(404)
            return
        content_type, text = self.app.metrics.as_text()
        self.set_header("Content-Type", content_type)
        self.finish(text)

    def _may_read(self) -> bool:
        if "X-Forwarded-For" in self.request.headers or "Forwarded" in self.request.headers:
            return False
        context: Any = self.request.connection.context  # type: ignore[union-attr]
        if context.address_family == socket.AF_UNIX:
            return True  # the file mode of the socket decides who may connect
        caller = parsed(context.address[0])
        networks = map(ipaddress.ip_network, self.app.options.metrics_from)
        return caller is not None and any(caller in network for network in networks)
