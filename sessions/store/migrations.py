# SPDX-License-Identifier: MIT
"""Bringing a component's tables up to date: step n runs once per database, in order.

What is done is kept in the table `schema_version`, one row a component. Whoever calls this has begun a
transaction in which nobody else migrates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sessions.errors import StoreUnavailableError
from sessions.store import Connection


def statements(step: str, types: Mapping[str, str]) -> list[str]:
    """The statements of a step, with the database's own types in place of `{blob}` and the like."""
    return [part for part in step.format(**types).split(";") if part.strip()]


def apply_steps(
    connection: Connection, component: str, steps: Sequence[Sequence[str]], *, place: str
) -> None:
    """Run those steps, each a list of statements, that this database has not seen yet.

    Args:
        place: names the database in the error.

    Raises:
        StoreUnavailableError: the database has seen more steps than there are.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version (component TEXT PRIMARY KEY, version INTEGER)", {}
    )
    row = connection.execute(
        "SELECT version FROM schema_version WHERE component = :component", {"component": component}
    ).fetchone()
    done = row[0] if row else 0
    if done > len(steps):
        raise StoreUnavailableError(
            f"{place} was written by a newer version of this program "
            f"({component} {done}, this one knows {len(steps)}): update the program"
        )
    for step in steps[done:]:
        for statement in step:
            connection.execute(statement, {})
    connection.execute(
        "INSERT INTO schema_version VALUES (:component, :version)"
        " ON CONFLICT (component) DO UPDATE SET version = :version",
        {"component": component, "version": len(steps)},
    )
