"""What follows a node that gets another id."""

from melagent.registry import Registry
from melagent.services.renames import rewriter


def test_templates_and_expressions_follow_and_plain_texts_and_unknown_types_do_not():
    nodes = {
        node["id"]: node
        for node in (
            {"id": "a", "type": "log", "config": {"message": "{{ steps.a.x }}"}},
            {"id": "value", "type": "transform", "config": {"expression": "steps.a.output > 1"}},
            {"id": "call", "type": "http_request", "config": {"url": "x", "headers": {"K": "{{ inputs.a }}"}}},
            {"id": "plain", "type": "log", "config": {"message": "steps.a"}},
            {"id": "strange", "type": "unknown", "config": {"message": "{{ steps.a }}"}},
        )
    }
    assert rewriter(Registry.builtin())(nodes, "a", "b") == [
        {"id": "b", "path": ["config", "message"], "value": "{{ steps.b.x }}"},
        {"id": "value", "path": ["config", "expression"], "value": "steps.b.output > 1"},
        {"id": "call", "path": ["config", "headers", "K"], "value": "{{ inputs.b }}"},
    ]
