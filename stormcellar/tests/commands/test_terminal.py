# SPDX-License-Identifier: MIT
"""What commands do where a person sits: passwords are asked for unseen, questions wait for an answer."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from stormcellar.testing.client import PASSWORD
from stormcellar.tests.serving import SITE_DIR, process_env

pytestmark = pytest.mark.slow


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, data_dir: Path, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", *words, f"--data_dir={data_dir}"],
            cwd=SITE_DIR, env=process_env(), stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(theirs), os.O_RDWR)),  # becomes its terminal
        )  # fmt: skip
        os.close(theirs)
        self.screen = ""

    def wait_for(self, words: str) -> None:
        while words not in self.screen and self._read():
            pass
        assert words in self.screen, self.screen

    def answer(self, question: str, text: str) -> None:
        self.wait_for(question)
        self.screen = self.screen.partition(question)[2]
        os.write(self._ours, f"{text}\n".encode())

    def _read(self) -> bool:
        try:
            text = os.read(self._ours, 4096).decode()
        except OSError:  # the other end is closed
            return False
        self.screen += text
        return bool(text)

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._ours)
        return self._process.wait()


def test_a_password_is_asked_for_twice_and_never_shown(data_dir: Path) -> None:
    terminal = Terminal(data_dir, "create-user", "ann@example.com")
    terminal.answer("Password: ", PASSWORD)
    terminal.answer("Once more: ", PASSWORD)
    assert terminal.end() == 0
    assert "Created ann@example.com" in terminal.screen
    assert PASSWORD not in terminal.screen


def test_two_passwords_that_differ_make_no_user(data_dir: Path) -> None:
    terminal = Terminal(data_dir, "create-user", "ann@example.com")
    terminal.answer("Password: ", PASSWORD)
    terminal.answer("Once more: ", PASSWORD + "x")
    assert terminal.end() == 1
    assert "create-user: The two passwords differ.\r\n" in terminal.screen


@pytest.fixture
def site(data_dir: Path) -> list[str]:
    return [f"--data_dir={data_dir}"]


@pytest.mark.parametrize(("answer", "code"), [("", 1), ("y", 0)])
def test_deleting_waits_for_a_yes(data_dir: Path, ann: str, answer: str, code: int) -> None:
    terminal = Terminal(data_dir, "delete-user", "ann@example.com")
    terminal.answer("for good? [y/N] ", answer)
    assert terminal.end() == code
    assert ("is deleted" in terminal.screen) == (code == 0)


def test_ctrl_c_ends_a_command_with_one_line(data_dir: Path) -> None:
    terminal = Terminal(data_dir, "create-user", "ann@example.com")
    terminal.wait_for("Password: ")
    os.write(terminal._ours, b"\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.screen
    assert terminal.screen.endswith("create-user: stopped.\r\n")
