# SPDX-License-Identifier: MIT
"""Events reach their subscribers, and no part assigns a callback to another."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from stormcellar.events.publisher import Publisher
from stormcellar.tests.serving import ROOT


@dataclass(frozen=True)
class Rain:
    millimetres: int


@dataclass(frozen=True)
class Hail(Rain):
    pass


def test_an_event_reaches_the_subscribers_of_its_type_in_their_order() -> None:
    events, heard = Publisher(), []
    events.subscribe(Rain, lambda event: heard.append(("first", event)))
    events.subscribe(Rain, lambda event: heard.append(("second", event)))
    events.subscribe(Hail, lambda event: heard.append(("hail", event)))
    events.publish(Rain(3))
    assert heard == [("first", Rain(3)), ("second", Rain(3))]
    events.publish(Hail(4))
    assert heard[2:] == [("hail", Hail(4))]
    events.publish("what no one has subscribed to")
    assert len(heard) == 3


def test_no_part_assigns_a_callback_to_another() -> None:
    """`x.on_event = ...` is for the object itself only; others subscribe, or are given to its constructor."""
    found = []
    for path in sorted((ROOT / "stormcellar").rglob("*.py")):
        if {"tests", "benchmarks", "tools"} & set(path.relative_to(ROOT).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                if isinstance(target, ast.Attribute) and target.attr.startswith("on_"):
                    is_own = isinstance(target.value, ast.Name) and target.value.id == "self"
                    if not is_own:
                        found.append(f"{path.relative_to(ROOT)}:{target.lineno}")
    assert found == []
