# SPDX-License-Identifier: MIT
"""The package: what the wheel contains, and that it works where nothing else of this repository is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from packaging.requirements import Requirement

from stormcellar import packages
from stormcellar.commands.new_site import main
from stormcellar.testing.serving import ServerProcess, process_env
from stormcellar.tests import serving as kit_serving
from stormcellar.tests.copies import copy_of_the_project
from stormcellar.tests.serving import ROOT, SITE_DIR
from stormcellar.tests.test_locks import requirements

pytestmark = pytest.mark.kit

PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
EXTRAS = ("postgres", "passkeys", "authenticator", "metrics", "tracing", "uvloop")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program in an environment without this repository; return what it printed."""
    done = subprocess.run(command, cwd=cwd, env=process_env(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this repository, built without network."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = copy_of_the_project(folder / "clone")
    words = (
        "pip",
        "wheel",
        "-q",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        "dist",
        ".",
    )
    run(sys.executable, "-m", *words, cwd=clone)
    [built] = (clone / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel, and with the libraries of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    [packages] = folder.glob("lib/python3*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    interpreter = folder / "bin" / "python"
    run(interpreter, "-m", "pip", "install", "-q", "--no-index", "--no-deps", wheel, cwd=folder)
    return interpreter


@pytest.fixture(scope="module")
def site(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new site, written by the installed package."""
    folder = tmp_path_factory.mktemp("new") / "my-site"
    assert "make run" in run(python, "-m", "stormcellar", "new", folder, cwd=folder.parent)
    return folder


@pytest.mark.slow
def test_the_wheel_has_all_that_runs_and_nothing_that_tests(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    aside = re.compile(r"stormcellar/((extras/\w+/)?tests|benchmarks|tools)/|.*\.pyc$")
    tracked = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "stormcellar").rglob("*")
        if path.is_file() and not {"__pycache__", "node_modules"} & {*path.parts}
    ]
    assert inside == {name for name in tracked if not aside.match(name)}


@pytest.mark.slow
def test_a_new_site_starts_and_its_tests_pass_with_the_installed_package(python: Path, site: Path) -> None:
    where = run(python, "-c", "import stormcellar; print(stormcellar.__file__)", cwd=site)
    assert Path(where.strip()).is_relative_to(python.parents[1])
    assert "3 passed" in run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=site)
    server = ServerProcess(site / "var", program=(str(python), str(site / "server.py")))
    with server:
        run(python, "manage.py", "health", f"--port={server.url.rpartition(':')[2]}", cwd=site)


@pytest.mark.slow
def test_a_new_site_takes_a_new_page(python: Path, site: Path) -> None:
    run(python, "manage.py", "new-page", "sales-report", cwd=site)
    tests = run(
        python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_sales_report.py", cwd=site
    )
    assert "2 passed" in tests


@pytest.mark.slow
def test_the_requirement_of_a_new_site_is_the_package_that_wrote_it(wheel: Path, site: Path) -> None:
    requirement = Requirement((site / "requirements.txt").read_text().strip())
    assert (requirement.name, requirement.extras, requirement.url) == (
        "stormcellar",
        {"testing"},
        wheel.as_uri(),
    )


def test_the_packaged_requirement_allows_the_version_of_the_package() -> None:
    version = re.search(r'^version = "(.*)"$', PYPROJECT, re.MULTILINE)
    assert version
    requirement = Requirement((SITE_DIR / "requirements.txt").read_text().strip())
    assert requirement.specifier.contains(version[1])


@pytest.mark.slow
def test_the_plugin_disturbs_no_project_without_pytest_tornado(python: Path, tmp_path: Path) -> None:
    """pytest loads the plugin in each project of the environment, by its entry point."""
    test = "def test_one(pytestconfig):\n    assert pytestconfig.pluginmanager.has_plugin(PLUGIN)\n"
    (tmp_path / "test_one.py").write_text("PLUGIN = 'stormcellar.testing.plugin'\n" + test)
    shown = run(python, "-m", "pytest", "-q", "-p", "no:tornado", "-p", "no:cacheprovider", cwd=tmp_path)
    assert "1 passed" in shown


@pytest.mark.slow
def test_an_installed_site_is_told_of_extras_not_of_lists(python: Path, site: Path) -> None:
    program = "from stormcellar import packages; print(packages.install_command('postgres'))"
    shown = run(python, "-c", program, cwd=site)
    assert shown == "`.venv/bin/python -m pip install 'stormcellar[postgres]'`\n"
    program = "from stormcellar import packages; print(*packages.requirements('postgres'), sep='\\n')"
    found = {str(Requirement(line)) for line in run(python, "-c", program, cwd=site).splitlines()}
    assert found == list_of("dependencies") | list_of("postgres")


def test_a_clone_is_told_of_its_lists() -> None:
    assert packages.install_command("postgres").endswith("pip install -r requirements/postgres.txt`")
    assert {str(Requirement(line)) for line in packages.requirements("postgres")} == list_of(
        "dependencies"
    ) | list_of("postgres")


# -- the commands -------------------------------------------------------------------------------------


def test_a_new_site_goes_into_no_folder_that_has_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("mine")
    assert main(["new", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_site_that_a_clone_writes_names_the_version_and_says_how_to_build_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", str(tmp_path / "site")]) == 0
    written = (tmp_path / "site" / "requirements.txt").read_text()
    assert written == (SITE_DIR / "requirements.txt").read_text()
    assert "make wheel" in capsys.readouterr().out


def test_the_account_pages_are_copied_with_the_bases_of_their_handlers(tmp_path: Path) -> None:
    assert main(["pages", str(tmp_path)]) == 0
    for name in (
        "handlers/base.py",
        "handlers/accounts.py",
        "handlers/account.py",
        "templates/account/login.html",
    ):
        assert (tmp_path / name).read_bytes() == (SITE_DIR / name).read_bytes()
    assert not (tmp_path / "handlers" / "pages.py").exists()
    program = "from handlers import accounts; print(len(accounts.routes()))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=process_env(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) > 10


APPLICATION = """
from pathlib import Path

from stormcellar.start import begin

begin()

from handlers import accounts
from stormcellar import Site
from stormcellar.server.run import main

main(Site(Path(__file__).resolve().parent, lambda settings: accounts.routes()))
"""


@pytest.mark.slow
def test_an_application_without_templates_of_its_own_shows_the_copied_pages(tmp_path: Path) -> None:
    """They extend the kit's base.html, and have the kit's style."""
    assert main(["pages", str(tmp_path)]) == 0
    (tmp_path / "server.py").write_text(APPLICATION)
    program = (sys.executable, str(tmp_path / "server.py"))
    with kit_serving.ServerProcess(tmp_path / "var", program=program) as server:
        page = urlopen(f"{server.url}/login").read().decode()
        style = re.search(r'href="(/static/style\.css\?v=\w+)"', page)
        assert style
        assert b"@layer" in urlopen(server.url + style[1]).read()
        with pytest.raises(HTTPError, match="404") as missing:
            urlopen(f"{server.url}/none")
        assert "There is no page at this address." in missing.value.read().decode()


def test_the_account_pages_replace_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "base.py").write_text("own = True\n")
    assert main(["pages", str(tmp_path)]) == 0
    assert (tmp_path / "handlers" / "base.py").read_text() == "own = True\n"
    assert "handlers/base.py is yours" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "templates")
    (tmp_path / "handlers" / "admin.py").write_text("own = True\n")
    assert main(["pages", str(tmp_path)]) == 1
    assert "handlers/admin.py" in capsys.readouterr().err
    assert not (tmp_path / "templates").exists()


def test_the_account_pages_need_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pages", str(tmp_path / "none")]) == 1
    assert "is no folder" in capsys.readouterr().err


# -- the lists ----------------------------------------------------------------------------------------


def list_of(name: str) -> set[str]:
    found = re.search(rf"^{name} = \[(.*)\]$", PYPROJECT, re.MULTILINE)
    assert found, name
    return {str(Requirement(text)) for text in re.findall(r'"([^"]+)"', found[1])}


def test_the_package_asks_for_what_the_lists_of_packages_have() -> None:
    run_list = {str(requirement) for requirement in requirements(ROOT / "requirements/run.txt")}
    assert list_of("dependencies") == run_list
    for extra in EXTRAS:
        wanted = {str(requirement) for requirement in requirements(ROOT / f"requirements/{extra}.txt")}
        assert list_of(extra) == wanted - run_list, extra
    everything = {str(requirement) for requirement in requirements(ROOT / "requirements/dev.txt")}
    assert list_of("testing") < everything
