import json
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_valid_and_runs_to_its_end_without_any_input(remote, path):
    assert remote("workflow", "validate", path).code == 0
    answer = remote("workflow", "run", path, "--wait")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) is not None
