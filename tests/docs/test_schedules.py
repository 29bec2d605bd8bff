"""The page about schedules: its workflows run, and its expressions fire when it says."""

import json
import re
from datetime import datetime
from itertools import islice

import pytest

from melagent.domain.schedule import Cron
from melagent.nodes.schedule import NAMED, ScheduleParams, fields_of
from melagent.nodes.timer import TimerParams
from tests.cli.conftest import ROOT

PAGE = (ROOT / "docs" / "schedules.md").read_text()
WORKFLOWS = re.findall(r"^```yaml\n(name: ([^\n]*)\n.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
ROWS = re.findall(r"^\| `(.+?)` \| `(\S+)` \| `(\S+Z)` \| (.+) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("text", [text for text, _ in WORKFLOWS], ids=[name for _, name in WORKFLOWS])
def test_workflow_on_the_page_runs_and_gives_what_it_says(remote, text, tmp_path):
    (tmp_path / "page.yaml").write_text(text)
    answer = remote("workflow", "run", tmp_path / "page.yaml", "--wait")
    assert answer.code == 0, answer.err
    (said,) = re.findall(r"^# Output: (.*)$", text, re.MULTILINE)
    assert json.loads(answer.out) == json.loads(said)


@pytest.mark.parametrize(("cron", "zone", "after", "moments"), ROWS)
def test_an_expression_on_the_page_fires_when_it_says(cron, zone, after, moments):
    said = [datetime.fromisoformat(moment) for moment in re.findall(r"`(\S+)`", moments)]
    schedule = Cron(fields_of(ScheduleParams(cron=cron, timezone=zone).cron), zone)
    assert list(islice(schedule.after(datetime.fromisoformat(after)), len(said))) == said


def test_the_page_speaks_of_every_parameter_and_most_names():
    assert len(ROWS) > 10
    for model in (ScheduleParams, TimerParams):
        assert set(model.model_fields) <= set(re.findall(r"\w+", PAGE))
    assert set(NAMED) - set(re.findall(r"`(@\w+)`", PAGE)) == {"@annually", "@midnight"}
