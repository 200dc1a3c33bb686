# SPDX-License-Identifier: MIT
"""The checker of histories: what it must let pass, and that it catches each way of breaking the promise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from stormcellar.tests.faults.history import Answer, History, Kind, Operation


class Story(History):
    """A history written by hand: each call is asked, and answered, one second after the one before."""

    def __init__(self) -> None:
        seconds: Iterator[int] = itertools.count()
        super().__init__(now=lambda: float(next(seconds)))

    def tell(self, kind: Kind, answer: Answer | None, generation: int | None = 0, **more: Any) -> Operation:
        operation = self.ask(kind, "s", generation)
        if answer:
            self.answer(operation, answer, **more)
        return operation

    def caught(self, heard_within_s: float = 0) -> list[str]:
        """The violations without the operations that they name."""
        return [sentence.split(":")[0] for sentence in self.violations(heard_within_s=heard_within_s)]


@pytest.fixture
def story() -> Story:
    story = Story()
    story.tell("sign_in", "ok")
    return story


def test_a_life_without_trouble_passes(story: Story) -> None:
    story.tell("read", "ok")
    story.tell("refresh", "ok", 0, successor="b")
    story.tell("read", "ok", 1)
    story.tell("inspect", None, 1)
    story.tell("sign_out", "ok", 1)
    story.tell("read", "refused", 1)
    story.tell("refresh", "refused", 1)
    story.tell("inspect", None, None)
    assert story.caught() == []


def test_an_unanswered_refresh_may_have_happened_or_not(story: Story) -> None:
    story.tell("refresh", None, 0)
    story.tell("inspect", None, 0)
    story.tell("inspect", None, 1)
    story.tell("refresh", "ok", 0, successor="b")
    assert story.caught() == []


def test_an_unanswered_sign_out_may_have_happened_or_not(story: Story) -> None:
    story.tell("sign_out", None)
    story.tell("read", "ok")
    story.tell("inspect", None, 0)
    story.tell("inspect", None, None)
    story.tell("sign_out", "refused")
    assert story.caught() == []


def test_a_read_that_began_before_the_sign_out_was_acknowledged_may_be_served(story: Story) -> None:
    read = story.ask("read", "s", 0)
    story.tell("sign_out", "ok")
    story.answer(read, "ok")
    assert story.caught() == []


def test_a_refresh_that_raced_with_a_sign_out_may_have_come_first(story: Story) -> None:
    refresh = story.ask("refresh", "s", 0)
    story.tell("sign_out", "ok")
    story.answer(refresh, "ok", successor="b")
    assert story.caught() == []


def test_tabs_that_refresh_at_once_get_one_successor(story: Story) -> None:
    tabs = [story.ask("refresh", "s", 0) for _ in range(3)]
    for tab in tabs:
        story.answer(tab, "ok", successor="b")
    assert story.caught() == []


def test_other_processes_may_hear_of_a_sign_out_a_little_later(story: Story) -> None:
    story.tell("sign_out", "ok")
    story.tell("read", "ok")  # asked for one second later
    assert story.caught(heard_within_s=2) == []


def test_what_nobody_listened_to_is_no_excuse(story: Story) -> None:
    """A sign-out that was not even sent explains no refusal."""
    story.strike(story.tell("sign_out", None))
    story.tell("refresh", "refused")
    assert story.caught() == ["a rightful client was refused"]


@pytest.mark.parametrize("kind", ["read", "refresh"])
def test_a_lost_sign_out_is_caught_when_the_session_is_served(story: Story, kind: Kind) -> None:
    story.tell("sign_out", "ok")
    story.tell(kind, "ok")
    assert story.caught() == ["a session that had ended was served"]


def test_a_lost_sign_out_is_caught_in_the_database(story: Story) -> None:
    story.tell("sign_out", "ok")
    story.tell("inspect", None, 0)
    assert story.caught() == ["a session that had ended is in the database"]


def test_a_sign_out_that_is_heard_too_late_is_caught(story: Story) -> None:
    story.tell("sign_out", "ok")
    story.tell("read", "refused")
    story.tell("read", "ok")  # asked for three seconds later
    assert story.caught(heard_within_s=2) == ["a session that had ended was served"]


def test_a_session_that_comes_back_is_caught(story: Story) -> None:
    """The sign-out was not answered, but a refusal showed that it had happened."""
    story.tell("sign_out", None)
    story.tell("refresh", "refused")
    story.tell("refresh", "ok", successor="b")
    assert story.caught() == ["a session that had ended was served"]


@pytest.mark.parametrize("kind", ["read", "refresh", "sign_out"])
def test_a_lost_session_is_caught_when_its_client_is_refused(story: Story, kind: Kind) -> None:
    story.tell(kind, "refused")
    assert story.caught() == ["a rightful client was refused"]


def test_a_lost_session_is_caught_in_the_database(story: Story) -> None:
    story.tell("inspect", None, None)
    assert story.caught() == ["a session is not in the database"]


def test_a_false_refusal_is_caught_although_the_session_ends_later(story: Story) -> None:
    story.tell("refresh", "refused")
    story.tell("sign_out", "ok")
    assert story.caught() == ["a rightful client was refused"]


def test_a_false_accusation_is_caught_even_after_an_unanswered_sign_out(story: Story) -> None:
    story.tell("sign_out", None)
    story.tell("refresh", "accused")
    assert story.caught() == ["a rightful client was taken for a thief"]


def test_a_lost_refresh_is_caught_in_the_database(story: Story) -> None:
    story.tell("refresh", "ok", 0, successor="b")
    story.tell("inspect", None, 0)
    assert story.caught() == ["an acknowledged refresh, to generation 1, is not in the database"]


def test_a_refresh_that_nobody_asked_for_is_caught_in_the_database(story: Story) -> None:
    story.tell("inspect", None, 1)
    assert story.caught() == ["the database is ahead of what was ever asked for, generation 0"]


def test_two_successors_of_one_token_are_caught(story: Story) -> None:
    story.tell("refresh", "ok", 0, successor="b")
    story.tell("refresh", "ok", 0, successor="c")
    assert story.caught() == ["one refresh token got two successors"]


def test_a_lost_account_is_caught() -> None:
    story = Story()
    story.answer(story.ask("sign_in"), "refused")
    assert story.caught() == ["a rightful client was refused"]
