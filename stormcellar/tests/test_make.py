# SPDX-License-Identifier: MIT
"""`make` and tools/setup, in a copy of their own (in a folder with a space), mostly with a feigned Python."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from stormcellar.tests.serving import ROOT, SITE_DIR, process_env

# Stands for python3 and for .venv/bin/python: notes what it was asked, "makes" a .venv with itself in it, and
# has, like Debian's, no ensurepip until a package brought it.
FEIGNED_PYTHON = """#!/bin/sh
echo "$*" >>"{log}"
case "$*" in
    *'%d.%d'*) echo {version} ;;
    *ensurepip*) test -e "{ensurepip}" ;;
    *'import pip'*) exit 0 ;;
    *sys.base_prefix*) echo {version} ;;
    '-m venv'*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
"""
FEIGNED_APT_GET = """#!/bin/sh
echo "apt-get $*" >>"{log}"
case "$*" in *' update'*) touch "{lists}" ;; esac
case "$*" in *' install '*) test -e "{lists}" && touch "{ensurepip}" ;; esac
"""
TOOLS = (
    "awk", "basename", "cat", "cksum", "cmp", "cp", "dirname", "env", "grep", "make", "mkdir", "mv", "sed",
    "sh", "test", "touch", "tr",
)  # fmt: skip


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@dataclass
class Machine:
    """A copy of the repository's outer files on a machine whose programs are those of one folder."""

    folder: Path
    programs: Path

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to the end, without input; standard error joins the output."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**process_env(), "PATH": str(self.programs), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    @property
    def asked(self) -> list[str]:
        """What the feigned programs were asked to do."""
        log = self.folder.parent / "log"
        return log.read_text().splitlines() if log.exists() else []

    def give_python(self, version: str, *, ensurepip: bool = True, name: str = "python3") -> None:
        marker = self.folder.parent / "ensurepip"
        if ensurepip:
            marker.touch()
        log = self.folder.parent / "log"
        text = FEIGNED_PYTHON.format(log=log, version=version, ensurepip=marker)
        write_program(self.programs / name, text)

    def give_apt_get(self, user_id: int) -> None:
        paths = {name: self.folder.parent / name for name in ("log", "lists", "ensurepip")}
        write_program(self.programs / "apt-get", FEIGNED_APT_GET.format(**paths))
        write_program(self.programs / "id", f"#!/bin/sh\necho {user_id}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    folder = tmp_path / "my kit"
    programs = tmp_path / "bin"
    programs.mkdir()
    tools = folder / "stormcellar" / "tools"
    tools.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "stormcellar" / "tools" / "setup", tools)
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "server.py").write_text("import sys\nprint('served', *sys.argv[1:])\n")
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (programs / name).symlink_to(found)
    return Machine(folder, programs)


@pytest.mark.parametrize("program", ["server.py", "manage.py"])
def test_a_python_without_the_packages_gets_a_sentence_and_no_traceback(program: str) -> None:
    bare = [sys.executable, "-S", SITE_DIR / program]  # -S: without site-packages
    done = subprocess.run(bare, capture_output=True, text=True, env=process_env(), check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert " is not installed for this Python" in done.stderr
    assert "make run" in done.stderr
    assert done.stderr.count("\n") == 1


def test_make_alone_lists_every_target(machine: Machine) -> None:
    result = machine.run("make")
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    listed = [line.split()[1] for line in result.stdout.splitlines()]
    assert listed == phony[1].split()


@pytest.mark.slow
def test_make_run_sets_up_and_hands_the_settings_on(machine: Machine) -> None:
    """With a real Python: .venv, the requirements, then the server in the foreground."""
    result = machine.run("make", "run", "ARGS=--port=9000", PYTHON=sys.executable)
    assert result.returncode == 0, result.stdout
    assert result.stdout.splitlines()[-1] == "served --debug --port=9000"
    assert (machine.folder / ".venv" / "bin" / "python").exists()


def test_the_second_run_installs_nothing(machine: Machine) -> None:
    machine.give_python("3.12")
    machine.run("make", "run")
    machine.run("make", "run")
    assert len([line for line in machine.asked if line.startswith("-m pip install")]) == 1
    assert len([line for line in machine.asked if line.startswith("-m venv")]) == 1


def test_changed_requirements_are_installed_at_the_next_run(machine: Machine) -> None:
    machine.give_python("3.12")
    machine.run("make", "run")
    (machine.folder / "requirements.txt").write_text("# something\n")
    machine.run("make", "run")
    assert len([line for line in machine.asked if line.startswith("-m pip install")]) == 2


def write_lock(machine: Machine) -> None:
    checksum = machine.run("stormcellar/tools/setup", "checksum", "requirements.txt").stdout.strip()
    (machine.folder / "requirements.lock").write_text(f"# Of requirements.txt: {checksum}\n")


def installations(machine: Machine) -> list[str]:
    return [line for line in machine.asked if line.startswith("-m pip install")]


def test_with_a_lock_nothing_is_installed_without_its_hash(machine: Machine) -> None:
    machine.give_python("3.12")
    write_lock(machine)
    for _ in range(2):
        assert machine.run("make", "run").returncode == 0
    (asked,) = installations(machine)
    assert asked.endswith("--require-hashes -r requirements.lock")


def test_a_new_lock_is_installed_at_the_next_run(machine: Machine) -> None:
    machine.give_python("3.12")
    write_lock(machine)
    machine.run("make", "run")
    with (machine.folder / "requirements.lock").open("a") as lock:
        lock.write("# another version\n")
    machine.run("make", "run")
    assert len(installations(machine)) == 2


def test_a_lock_that_is_older_than_its_list_is_left_out_with_a_word_and_never_in_ci(machine: Machine) -> None:
    machine.give_python("3.12")
    write_lock(machine)
    (machine.folder / "requirements.txt").write_text("# something\n")
    refused = machine.run("make", "run", CI="true")
    assert refused.returncode == 2
    assert (
        "requirements.txt has changed since requirements.lock was made of it. Type: make lock"
        in refused.stdout
    )
    assert installations(machine) == []
    done = machine.run("make", "run")
    assert done.returncode == 0
    assert "without looking at hashes" in done.stdout
    (asked,) = installations(machine)
    assert asked.endswith("-r requirements.txt")
    assert "--require-hashes" not in asked


def test_a_failed_installation_is_told_and_tried_again(machine: Machine) -> None:
    machine.give_python("3.12")
    python = machine.programs / "python3"
    works = python.read_text()
    write_program(python, works.replace("esac", "    '-m pip'*) echo 'no such package'; exit 1 ;;\nesac"))
    result = machine.run("make", "run")
    assert result.returncode == 2
    assert "no such package\npip could not install what requirements.txt lists" in result.stdout
    shutil.rmtree(machine.folder / ".venv")
    write_program(python, works)
    assert machine.run("make", "run").returncode == 0
    assert machine.asked[-1] == "server.py --debug"


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.9"])
def test_a_python_that_is_too_old_gives_a_sentence(machine: Machine, version: str) -> None:
    machine.give_python(version)
    result = machine.run("make", "run")
    assert result.returncode == 2
    sentence = f'Python 3.10 or newer is needed, and "python3" is {version}.'
    assert result.stdout.startswith(sentence)
    assert not (machine.folder / ".venv").exists()


def test_a_machine_without_python_gives_a_sentence(machine: Machine) -> None:
    result = machine.run("make", "run")
    assert result.returncode == 2
    assert result.stdout.startswith('Python 3.10 or newer is needed, and "python3" does not start.')


def test_another_interpreter_makes_venv_anew(machine: Machine) -> None:
    machine.give_python("3.12")
    machine.run("make", "run")
    machine.give_python("3.13", name="python3.13")
    for _ in range(2):
        assert machine.run("make", "run", "PYTHON=python3.13").returncode == 0
    assert len([line for line in machine.asked if line.startswith("-m venv")]) == 2


def test_without_the_venv_module_and_without_apt_it_says_what_to_type(machine: Machine) -> None:
    machine.give_python("3.12", ensurepip=False)
    result = machine.run("make", "run")
    assert result.returncode == 2
    assert "Type: sudo apt-get install python3.12-venv" in result.stdout


def test_a_user_who_would_be_asked_for_a_password_is_not_asked(machine: Machine) -> None:
    machine.give_python("3.12", ensurepip=False)
    machine.give_apt_get(user_id=1000)
    write_program(machine.programs / "sudo", '#!/bin/sh\ntest "$1" != -n\n')
    result = machine.run("make", "run")
    assert result.returncode == 2
    assert "Type: sudo apt-get install python3.12-venv" in result.stdout
    assert not [line for line in machine.asked if line.startswith("apt-get")]


@pytest.mark.parametrize("user_id", [0, 1000])
def test_the_venv_module_is_installed_where_that_is_allowed(machine: Machine, user_id: int) -> None:
    """As root or by sudo without a password; the package lists are fetched only because they lack it."""
    machine.give_python("3.12", ensurepip=False)
    machine.give_apt_get(user_id)
    write_program(machine.programs / "sudo", '#!/bin/sh\nshift\nexec "$@"\n')
    write_program(machine.programs / "true", "#!/bin/sh\n")
    result = machine.run("make", "run")
    assert result.returncode == 0, result.stdout
    steps = [line.rsplit(" ", 1)[1] for line in machine.asked if line.startswith("apt-get")]
    assert steps == ["python3.12-venv", "update", "python3.12-venv"]
    assert machine.asked[-1] == "server.py --debug"
