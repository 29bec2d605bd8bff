"""Where a start by hand enters."""

import pytest

from melagent.domain.definition import Definition
from melagent.errors import Unprocessable
from melagent.registry import Registry
from melagent.services.entries import entry_of

MANUAL = {"id": "manual", "type": "manual_trigger"}
HOOK = {"id": "hook", "type": "webhook"}
OTHER_HOOK = {"id": "other", "type": "webhook"}


@pytest.fixture(scope="module")
def entry():
    registry = Registry.builtin()
    return lambda *nodes, wanted=None: entry_of(Definition(nodes=nodes), registry, wanted)


def test_the_named_trigger_comes_first(entry):
    assert entry(MANUAL, HOOK, wanted="hook") == "hook"


def test_else_the_manual_trigger(entry):
    assert entry(HOOK, MANUAL, OTHER_HOOK) == "manual"


def test_else_the_only_trigger(entry):
    assert entry(HOOK) == "hook"


def test_a_disabled_trigger_does_not_count(entry):
    assert entry(HOOK, OTHER_HOOK | {"disabled": True}) == "hook"


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ((HOOK, OTHER_HOOK), None),
        ((MANUAL, MANUAL | {"id": "second"}), None),
        ((MANUAL,), "missing"),
        ((MANUAL, {"id": "step", "type": "noop"}), "step"),
        ((), None),
    ],
)
def test_anything_else_is_unprocessable_and_says_what_there_is(entry, nodes, wanted):
    with pytest.raises(Unprocessable) as caught:
        entry(*nodes, wanted=wanted)
    assert caught.value.details[0].field == "entry"
