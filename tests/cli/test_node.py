"""`server node new` and the package in `examples/`: found by their entry points, tested by their own tests, and run."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from melagent.domain.definition import Definition
from melagent.registry import Registry
from melagent.services.problems import problems
from tests.cli.conftest import ROOT, environment
from tests.packages import installed

EXAMPLE = ROOT / "examples" / "custom-node"


@pytest.fixture
def search(monkeypatch, tmp_path):
    """Lets this process find a project as if it were installed."""

    def find(project):
        for folder in installed(project, tmp_path / "site"):
            monkeypatch.syspath_prepend(folder)

    return find


def own_tests(project, tmp_path):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", project],
        env=environment(tmp_path, PYTHONDONTWRITEBYTECODE="1"), cwd=project,
        capture_output=True, text=True, check=False,
    )  # fmt: skip  # the command, then how it is run


def test_a_new_package_is_found_by_its_entry_point_and_passes_its_own_test(cli, search, tmp_path):
    made = cli("node", "new", "rain-radar")
    project = tmp_path / "rain-radar"
    assert (made.code, len(made.out.splitlines())) == (0, 4)
    search(project)
    registry = Registry.installed()
    assert registry.added == ("rain_radar",)
    assert registry.get("rain_radar").node.name == "Rain radar"
    ran = own_tests(project, tmp_path)
    assert (ran.returncode, "1 passed" in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_the_workflow_in_the_readme_of_a_new_package_is_valid(cli, search, tmp_path):
    cli("node", "new", "greeter")
    search(tmp_path / "greeter")
    readme = (tmp_path / "greeter/README.md").read_text()
    workflow = yaml.safe_load(re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)[1])
    workflow.pop("name")
    assert problems(Definition.model_validate(workflow), Registry.installed()) == []


@pytest.mark.parametrize("name", ["node", "none", "class", "params", "import"])
def test_a_name_that_python_uses_itself_makes_a_package_that_loads(cli, search, tmp_path, name):
    assert cli("node", "new", name).code == 0
    search(tmp_path / name)
    assert Registry.installed().added == (name,)


@pytest.mark.parametrize(
    "name", ["Weather", "2days", "a__b", "a_", "../up", "a.b", "", "csv", "http-request", "x" * 61]
)
def test_a_name_that_cannot_be_that_of_a_new_node_makes_nothing(cli, tmp_path, name):
    assert cli("node", "new", name).code == 2
    assert [*tmp_path.iterdir()] == []


def test_what_is_there_already_is_not_overwritten(cli, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("precious")
    answer = cli("node", "new", "mine")
    assert (answer.code, "--folder" in answer.err) == (1, True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["README.md"]
    assert cli("node", "new", "mine", "--folder", tmp_path / "mine" / "README.md").code == 1
    assert (tmp_path / "mine" / "README.md").read_text() == "precious"
    made = json.loads(cli("node", "new", "mine", "--folder", tmp_path / "other", "--json").out)
    assert (made["id"], len(made["files"])) == ("mine", 4)


BROKEN = """
from melagent.sdk import Node
class RadarNode(Node):
    id = "radar"
"""


@pytest.fixture
def radar(cli, search, tmp_path, monkeypatch):
    """Installs a package whose node is this code."""

    def install(code):
        cli("node", "new", "radar")
        (tmp_path / "radar" / "melagent_node_radar.py").write_text(code)
        monkeypatch.delitem(sys.modules, "melagent_node_radar", raising=False)
        search(tmp_path / "radar")

    return install


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("RadarNode = 7", "it is no class of nodes"),
        ("Other = 7", "no attribute 'RadarNode'"),
        (BROKEN, "abstract"),
        (BROKEN + "    async def run(self, params, ctx): ...", "`name` is missing"),
    ],
)
def test_a_server_does_not_start_with_a_broken_package_and_says_which(cli, radar, database_url, code, fault):
    radar(code)
    answer = cli("api-server", "--port", "0", "--database-url", database_url)
    assert answer.code == 1
    said = answer.err.splitlines()[-1]
    assert said.startswith("error: ")
    assert fault in said
    assert "RadarNode" in said


def test_a_file_with_the_node_of_a_package_is_valid_where_it_is_installed(cli, search):
    assert cli("workflow", "validate", EXAMPLE / "workflow.yaml").code == 1
    search(EXAMPLE)
    assert cli("workflow", "validate", EXAMPLE / "workflow.yaml").code == 0


def test_the_example_package_passes_its_own_tests(tmp_path):
    ran = own_tests(EXAMPLE, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("given", "output"),
    [((), {"team": "invoice"}), (("--input", '{"subject": "weather"}'), {"team": "people", "about": "weather"})],
)
def test_the_workflow_of_the_example_package_runs_where_it_is_installed(database_url, tmp_path, given, output):
    folders = installed(EXAMPLE, tmp_path / "site")
    ran = subprocess.run(
        [sys.executable, "-m", "melagent", "workflow", "run", "--local", EXAMPLE / "workflow.yaml", *given],
        env=environment(tmp_path, DATABASE_URL=database_url, PYTHONPATH=os.pathsep.join(map(str, folders))),
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip  # the command, then how it is run
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == output
