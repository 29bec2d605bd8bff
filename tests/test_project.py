"""What holds for the project as a whole: imports, the environment, examples, the README, the package."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "melagent").rglob("*.py"))
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCES
    if path.name != "__main__.py"
)
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
IMPORT_EACH_ALONE = """
import contextlib, gc, importlib, json, os, pathlib, sys


def in_a_fork(work):
    if (pid := os.fork()) == 0:
        try:
            work()
        except BaseException as error:
            print(f"{name}: {error!r}", flush=True)
            os._exit(1)
        os._exit(0)
    os.waitpid(pid, 0)


def tell_what_is_not_ours():
    before = set(sys.modules)
    for name in names:
        importlib.import_module(name)
    foreign = [key for key in sys.modules if key not in before and key.split(".")[0] != "melagent"]
    pathlib.Path(sys.argv[2]).write_text(" ".join(foreign))


names = json.loads(sys.argv[1])
name = "all of them"
in_a_fork(tell_what_is_not_ours)
for foreign in pathlib.Path(sys.argv[2]).read_text().split():  # once instead of in every fork
    with contextlib.suppress(ImportError, Warning):  # some only look like modules; whoever imports them is asked below
        importlib.import_module(foreign)
gc.freeze()
for name in names:
    in_a_fork(lambda: importlib.import_module(name))
"""


def names_of_environment(tree):
    """Whatever a module takes of the environment: `os.environ`, `os.getenv` and their like."""
    reading = {"environ", "environb", "getenv", "getenvb"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in reading:
            yield node.attr
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (alias.name for alias in node.names if alias.name in reading)


def test_environment_is_read_in_settings_only():
    readers = {
        path.relative_to(ROOT).as_posix() for path in SOURCES if [*names_of_environment(ast.parse(path.read_text()))]
    }
    assert readers == {"melagent/settings.py"}


def test_every_module_can_be_imported_on_its_own(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_EACH_ALONE, json.dumps(MODULES), tmp_path / "foreign"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip  # the command, then how it is run
    assert ran.stdout.splitlines() == []


def test_imports_point_one_way():
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def test_every_suppressed_finding_names_its_rule_and_its_reason():
    bare = re.compile(r"#\s*(type:\s*ignore|noqa)(?!\S*\[[\w, -]+\]\s+[#-]|:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*\s+[#-])")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if bare.search(line)
    ]
    assert found == []


def test_no_module_is_longer_than_400_lines():
    assert [path.name for path in SOURCES if len(path.read_text().splitlines()) > 400] == []


def test_there_are_examples_and_each_says_what_it_shows():
    assert len(EXAMPLES) >= 5
    assert [path.name for path in EXAMPLES if not path.read_text().startswith("# ")] == []


@pytest.mark.parametrize(
    "path", [Path("server"), Path("test-scaling.sh"), Path(".ci/run"), Path(".ci/packages")], ids=str
)
def test_script_can_be_run_and_its_shell_finds_no_fault(path):
    script = ROOT / path
    assert script.stat().st_mode & 0o111 == 0o111
    shell = script.read_text().splitlines()[0].rpartition("/")[2].removeprefix("env ")
    subprocess.run([shell, "-n", script], check=True)


@pytest.fixture
def packages(tmp_path):
    """Runs `.ci/packages` for a package that is nowhere, not as root; `sudo` is what is given. What was said."""

    def packages(sudo):
        for name, script in (("id", "echo 1000"), ("sudo", sudo), ("apt-get", "exit 0")):
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "POLICY_RC_D": f"{tmp_path}/policy-rc.d"}
        command = [ROOT / ".ci/packages", "nowhere"]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return ran.stderr

    return packages


def test_tests_go_on_where_sudo_asks_for_a_password_and_what_is_missing_is_named(packages):
    assert "not installed: nowhere" in packages("echo 'sudo: a password is required' >&2; exit 1")


def test_tests_go_on_where_a_package_cannot_be_fetched(packages):
    assert "not installed: nowhere" in packages('case "$*" in *install*) exit 100;; esac')


def test_what_is_installed_for_tests_is_not_started(packages, tmp_path):
    assert "not installed" not in packages(f"""printf '%s\\n' "$*" >>{tmp_path}/log""")
    calls = (tmp_path / "log").read_text().splitlines()
    installed = next(number for number, call in enumerate(calls) if "install -y" in call)
    assert calls[installed].endswith(" nowhere")
    assert f"tee {tmp_path}/policy-rc.d" in "\n".join(calls[:installed])
    assert calls[-1].endswith(f"rm -f {tmp_path}/policy-rc.d")


def test_every_library_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["embedded"]]
    explained = (ROOT / "docs" / "dependencies.md").read_text().lower()
    names = [re.match(r"[\w-]+", line).group() for line in wanted]
    assert [name for name in names if name not in explained] == []


def test_wheel_carries_the_migrations():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["force-include"] == {"migrations": "melagent/migrations"}


def test_version_is_that_of_pyproject():
    from melagent import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == importlib.metadata.version("mel-agent") == __version__
