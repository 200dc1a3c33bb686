# SPDX-License-Identifier: MIT
"""server.py on a machine whose clock is wrong: a program for test_two_machines.py.

    python -m stormcellar.tests.faults.skewed_server SECONDS [SETTINGS]

All that asks the machine for the time of day is told one that is so much later. What measures durations goes
by another clock, which nobody sets, and so does this.
"""

from __future__ import annotations

import sys
import time


def run() -> None:
    skew_s = float(sys.argv.pop(1))
    right = time.time
    time.time = lambda: right() + skew_s

    from stormcellar.server.run import main
    from stormcellar.tests.site import SITE  # only now: nothing may have kept the right clock

    main(SITE)


if __name__ == "__main__":
    run()
