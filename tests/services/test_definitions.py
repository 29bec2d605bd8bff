from melagent.domain.definition import Definition
from melagent.services.definitions import decode, encode, fingerprint


def test_a_stored_definition_comes_back_equal():
    definition = Definition(nodes=[{"id": "a", "type": "noop", "config": {"b": "\x00", "a": [1, 1.5, None, True]}}])
    assert decode(encode(definition)) == definition
    assert encode(decode(encode(definition))) == encode(definition)


def test_the_order_of_a_configs_keys_is_kept():
    definition = Definition(nodes=[{"id": "a", "type": "set", "config": {"fields": {"z": 1, "a": 2}}}])
    assert list(decode(encode(definition)).nodes[0].config["fields"]) == ["z", "a"]


def test_what_is_left_out_and_what_is_written_as_the_default_are_the_same():
    short = Definition(nodes=[{"id": "a", "type": "noop"}])
    long = Definition(nodes=[{"id": "a", "type": "noop", "name": "", "retry": {"max_attempts": 3}}])
    assert fingerprint(encode(short)) == fingerprint(encode(long))
