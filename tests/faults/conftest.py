# SPDX-License-Identifier: MIT
"""Figures that these tests measure are printed at the end of the run; nothing is asserted on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Keeps a line for the end of the run: `report("restart after kill -9", seconds)`.

    Numbers are durations in seconds, of which some percentiles are shown; a text is shown as it is.
    """
    lines = request.config.stash.setdefault(FIGURES, [])

    def keep(what: str, measured: str | Sequence[float]) -> None:
        lines.append(f"{what}: {measured if isinstance(measured, str) else _percentiles(measured)}")

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(FIGURES, [])
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.line(line)


def _percentiles(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p50, p99 = (ordered[int(share * (len(ordered) - 1))] * 1000 for share in (0.5, 0.99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {ordered[-1] * 1000:.0f} ms ({len(ordered)} times)"
