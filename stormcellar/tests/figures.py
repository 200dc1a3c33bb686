# SPDX-License-Identifier: MIT
"""What the project promises, with the target and what this run measured: a table at the end of a run.

A test that keeps a promise asks for the fixture `figures`:

    figures.none("kill -9 loses nothing", "SQLite", violations, "202 kills")
    figures.times("a sign-out is heard", "SQLite", delays_s, p50_s=0.05, p99_s=0.25)

A count that should be none is a matter of right and wrong, so the test fails if it is not. Times depend on
the machine and on what else runs there: the table shows the real figure beside the target, marked "slow"
where it is above; only above SLACK times the target the test fails.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass, replace

import pytest

SLACK = 4.0
PROPERTY = "promise"  # the name in a report's user properties, which also cross from worker to worker
VERDICTS = ("met", "slow", "MISSED")
SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "most": 1.0}


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    promise: str
    where: str
    target: str
    measured: str
    verdict: str


class Figures:
    """What one test has measured.

    `where` names the store, or whatever else a promise holds on.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def keep(self, promise: str, where: str, target: str, measured: str, *, met: bool) -> None:
        """A line of any kind; the test fails unless the target is `met`."""
        self._note(Figure(promise, where, target, measured, "met" if met else "MISSED"))
        assert met, f"{promise}: {measured}, and not {target}"

    def none(self, promise: str, where: str, bad: Collection[object], tried: str) -> None:
        """There must be nothing in `bad`; `tried` says how often there could have been."""
        self._note(
            Figure(promise, where, "none", f"{len(bad) or 'none'} ({tried})", "MISSED" if bad else "met")
        )
        assert not bad, f"{promise}: {len(bad)}, the first of them {list(bad)[:5]}"

    def times(
        self,
        promise: str,
        where: str,
        seconds: Sequence[float],
        *,
        p50_s: float | None = None,
        p95_s: float | None = None,
        p99_s: float | None = None,
        most_s: float | None = None,
        asserted: bool = True,
    ) -> None:
        """Durations in seconds, and the most that some percentiles of them should be.

        Args:
            asserted: whether the test fails when one is above SLACK times its target.
        """
        assert seconds, f"{promise}: nothing was measured"
        targets = {"p50": p50_s, "p95": p95_s, "p99": p99_s, "most": most_s}
        limits = {name: limit for name, limit in targets.items() if limit is not None}
        found = {name: percentile(seconds, share) for name, share in SHARES.items()}
        shown = {*limits, "p50", "most"}
        measured = ", ".join(f"{name} {_ms(found[name])}" for name in SHARES if name in shown)
        target = ", ".join(f"{name} <= {_ms(limit)}" for name, limit in limits.items())
        factor = max((found[name] / limit for name, limit in limits.items()), default=0.0)
        missed = asserted and factor > SLACK
        verdict = "MISSED" if missed else "slow" if factor > 1 else "met"
        self._note(Figure(promise, where, target or "-", f"{measured} ({len(seconds)} times)", verdict))
        assert not missed, f"{promise}: {measured}, which is more than {SLACK:.0f} times {target}"

    def _note(self, figure: Figure) -> None:
        self._item.user_properties.append((PROPERTY, astuple(figure)))


def percentile(numbers: Sequence[float], share: float) -> float:
    ordered = sorted(numbers)
    return ordered[round(share * (len(ordered) - 1))]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    return Figures(request.node)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found = [
        Figure(*values)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, values in report.user_properties
        if name == PROPERTY
    ]
    if not found:
        return
    terminalreporter.section("promises")
    lines = [Figure("promise", "on", "target", "measured", ""), *_merged(found)]
    widths = [max(len(line) for line in column) for column in zip(*map(astuple, lines), strict=True)]
    for line in lines:
        texts = (line.verdict, line.promise, line.where, line.target, line.measured)
        padded = (text.ljust(width) for text, width in zip(texts, (widths[4], *widths[:4]), strict=True))
        terminalreporter.line("  ".join(padded).rstrip(), red=line.verdict == "MISSED")
    terminalreporter.line("")
    terminalreporter.line(f"Times are not asserted as such: a test fails above {SLACK:.0f} times its target.")


def _merged(figures: list[Figure]) -> list[Figure]:
    """One line for each promise, place and target: the worst, and how many others there are."""
    groups: dict[tuple[str, str, str], list[Figure]] = {}
    for figure in sorted(figures, key=astuple):
        groups.setdefault((figure.promise, figure.where, figure.target), []).append(figure)
    lines = []
    for group in groups.values():
        worst = max(group, key=lambda figure: VERDICTS.index(figure.verdict))
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        lines.append(replace(worst, measured=worst.measured + more))
    return lines
