# SPDX-License-Identifier: MIT
"""The life of a server's processes: listen, serve, drain, and be replaced without a failed request.

One process serves by itself. With `processes` of two or more a small supervisor owns the listening sockets
and starts workers that inherit them; connections wait in the sockets' queue while workers come and go.

    SIGTERM           serve on for lame_duck_s while /readyz says 503, then drain and end
    SIGINT            drain and end; a second signal ends at once
    SIGHUP            the supervisor starts new workers, then drains the old ones: new code, no failed request
    a worker dies     the supervisor starts another, after a pause that grows if it keeps happening
    a worker hangs    it gives no sign of life for watchdog_s: the supervisor kills it and starts another
    supervisor dies   its workers drain and end, so that the next one finds the port free

A worker that drains is not ready any more (`/readyz`), takes no new connection, tells its clients not to
reuse theirs, closes WebSockets with 1001, and finishes what it has begun. It exits within `drain_s`, or is
killed. systemd hears of all this by sd_notify(3).

    listening          addresses, Unix sockets, inherited sockets
    serving            one process
    deadlines          a stop that ends in time
    supervisor         several processes
    worker             a worker as its supervisor sees it
    metric_files       counters of all workers
    service_manager    what systemd is told
"""

from stormcellar.server.listening import SOCKETS_VARIABLE, addresses_of, inherited_sockets, listen
from stormcellar.server.serving import (
    LIFELINE_VARIABLE,
    LINGER_S,
    Announce,
    event_loop,
    is_worker,
    serve,
    settle,
)
from stormcellar.server.supervisor import Supervisor

__all__ = [
    "LIFELINE_VARIABLE",
    "LINGER_S",
    "SOCKETS_VARIABLE",
    "Announce",
    "Supervisor",
    "addresses_of",
    "event_loop",
    "inherited_sockets",
    "is_worker",
    "listen",
    "serve",
    "settle",
]
