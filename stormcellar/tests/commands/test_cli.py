# SPDX-License-Identifier: MIT
"""From typed words to commands: settings anywhere on the line, clear refusals, exit codes."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from stormcellar.commands.cli import all_commands, make_parser, split
from stormcellar.commands.output import Progress
from stormcellar.settings import NAMES_AND_CONFIG, Settings
from stormcellar.tests.serving import SITE_DIR, process_env
from stormcellar.tests.site import main


def test_settings_may_stand_anywhere_in_either_form() -> None:
    words = ["--data-dir", "x y", "lock-user", "--debug", "ann", "--no_debug", "--json", "--port=1"]
    assert split(words) == (
        ["--data-dir", "x y", "--debug", "--no_debug", "--port=1"],
        ["lock-user", "ann", "--json"],
    )


def test_no_option_of_a_command_hides_a_setting() -> None:
    options = {
        argument.name.lstrip("-").replace("-", "_") for c in all_commands() for argument in c.arguments
    }
    assert not options & {*NAMES_AND_CONFIG, *(f"no_{entry.name}" for entry in fields(Settings))}


@pytest.mark.parametrize("command", all_commands(), ids=lambda command: command.name)
def test_every_example_can_be_typed(command: object) -> None:
    example = getattr(command, "example").split()  # noqa: B009
    arguments = make_parser().parse_args(split(example)[1])
    assert arguments.command is command


@pytest.mark.parametrize("command", all_commands(), ids=lambda command: command.name)
def test_every_command_has_help_with_an_example(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command.name, "--help"])  # type: ignore[attr-defined]
    assert end.value.code == 0
    assert "Example: `python manage.py" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("words", [[], ["no-such-command"], ["lock-user"], ["lock-user", "a", "--nonsense"]])
def test_a_wrong_command_line_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert capsys.readouterr().out == ""


def test_a_wrong_setting_ends_with_2_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list-users", "--port=x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_database_out_of_reach_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "no-such-folder" / "file.sqlite3"
    assert main(["list-users", f"--data-dir={tmp_path}", f"--database=sqlite:///{place}"]) == 1
    assert "of the database does not exist. Create it" in capsys.readouterr().err


def test_a_server_without_users_says_where_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [
        "--public-url=https://www.example.com",
        "--api-domain=https://api.example.com",
        "--jwks-url=https://api.example.com/auth/jwt/jwks.json",
        "--sign-in-url=https://www.example.com/login",
        "--cookie-domain=example.com",
    ]
    assert main(["list-users", f"--data-dir={tmp_path}", *settings]) == 1
    assert "https://api.example.com" in capsys.readouterr().err


def test_a_reader_who_has_seen_enough_gets_no_traceback() -> None:
    """As with `python manage.py routes | head -1`."""
    line = f"{sys.executable} manage.py routes --json | head -c 1"
    done = subprocess.run(
        ["sh", "-c", line], cwd=SITE_DIR, env=process_env(), capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("{", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_moving_line_on_a_terminal_and_ten_elsewhere() -> None:
    screen, log = Terminal(), io.StringIO()
    for stream in (screen, log):
        progress = Progress(1000, "rows", stream)
        for _ in range(1000):
            progress.advance(1)
        progress.finish()
    assert screen.getvalue().count("\n") == 1
    assert "100 %  1,000 of 1,000 rows" in screen.getvalue().rpartition("\r")[2]
    assert [line[:5] for line in log.getvalue().splitlines()] == [f"{n:3} %" for n in range(10, 101, 10)]


def test_progress_of_nothing_is_complete() -> None:
    log = Terminal()
    Progress(0, "rows", log).finish()
    assert "100 %  0 of 0 rows" in log.getvalue()


def test_a_python_without_the_packages_is_told_which_one_has_them() -> None:
    done = subprocess.run(  # -S: nothing is installed
        [sys.executable, "-S", "manage.py", "routes"],
        cwd=SITE_DIR,
        env=process_env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert ".venv/bin/python manage.py" in done.stderr
    assert "Traceback" not in done.stderr
