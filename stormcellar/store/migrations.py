# SPDX-License-Identifier: MIT
"""Bringing a component's tables up to date: step n runs once per database, in order.

What is done is kept in the table `schema_version`, one row a component. Whoever calls this has begun a
transaction in which nobody else migrates.

While servers are replaced one after the other, those of the version before run on the new tables, and start
on them too. So a step only adds, and gives each new column a default. A step that older programs cannot live
with begins with NOT_FOR_OLDER; a second row of the component then keeps how many steps a program must know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stormcellar.errors import UnusableDatabaseError
from stormcellar.store import Connection

NOT_FOR_OLDER = "-- not for older programs"


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
        UnusableDatabaseError: the database has seen a step that this program does not know and cannot live
            with.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version (component TEXT PRIMARY KEY, version INTEGER)", {}
    )
    done, needed = _version(connection, component), _version(connection, needs(component))
    if done > len(steps) >= needed:
        return
    if done > len(steps):
        raise UnusableDatabaseError(
            f"{place} was written by a newer version of this program "
            f"({component} {done}, which needs {needed}, and this one knows {len(steps)}): update the program"
        )
    for step in steps[done:]:
        for statement in step:
            connection.execute(statement, {})
    _set_version(connection, component, len(steps))
    breaking = [number for number, step in enumerate(steps, 1) if step and NOT_FOR_OLDER in step[0]]
    _set_version(connection, needs(component), max(breaking, default=min(1, len(steps))))


def needs(component: str) -> str:
    """The row that keeps how many of a component's steps a program must know."""
    return f"{component}, needed"


def _version(connection: Connection, component: str) -> int:
    row = connection.execute(
        "SELECT version FROM schema_version WHERE component = :component", {"component": component}
    ).fetchone()
    return row[0] if row else 0


def _set_version(connection: Connection, component: str, version: int) -> None:
    connection.execute(
        "INSERT INTO schema_version VALUES (:component, :version)"
        " ON CONFLICT (component) DO UPDATE SET version = :version",
        {"component": component, "version": version},
    )
