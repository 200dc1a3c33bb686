# SPDX-License-Identifier: MIT
"""A stop that ends in time, also while a mail server or a database does not answer."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

from stormcellar.events import logs

log = logging.getLogger("stormcellar.processes")

STEP_S = 0.3  # what each later step of a stop keeps of the time
LAST_LINES_S = 0.5

Step = tuple[str, Callable[[], Awaitable[None]]]


def exit_after(seconds: float) -> None:
    """End this process then if it has not ended by itself.

    A thread does this, because the event loop or the end of the interpreter may be what waits: for a thread
    that sends a mail, for example.
    """

    def end() -> None:
        log.error("the process did not stop within %g s and is ended; see drain_s", seconds)
        logs.finish(LAST_LINES_S)
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


async def run_steps(steps: Sequence[Step], end_s: float) -> None:
    """Run the steps of a stop one after another, and give up a step that takes too long.

    Args:
        steps: each with a name for the log. An exception ends its step and is logged.
        end_s: by when all must be done, on time.monotonic(). Each step keeps STEP_S for each later step.
    """
    for number, (name, step) in enumerate(steps, 1):
        task = asyncio.ensure_future(step())
        left_s = end_s - time.monotonic() - STEP_S * (len(steps) - number)
        await asyncio.wait({task}, timeout=max(STEP_S, left_s))
        if not task.done():
            task.cancel()
            log.error("the stop does not wait longer for %s", name)
        elif not task.cancelled() and (error := task.exception()):
            log.error("stopping %s failed", name, exc_info=error)
