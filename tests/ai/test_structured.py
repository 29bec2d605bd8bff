import pytest

from melagent.ai.structured import check_schema, instruction, parsed
from melagent.sdk import NodeError

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    "text", ['{"n": 1}', ' \n{"n": 1}\n', '```json\n{"n": 1}\n```', '```\n{"n": 1}\n```\n', '```JSON\n{"n":\n1}\n```']
)
def test_value_is_read_plain_or_in_a_fence(text):
    assert parsed(text, SCHEMA) == {"n": 1}


def test_any_json_will_do_without_a_schema():
    assert parsed("[1, null]", None) == [1, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Sure! Here it is: {}", "The answer is not JSON"),
        ("", "The answer is not JSON"),
        ('{"n": 1', "The answer is not JSON"),
        ('{"n": NaN}', "The answer is not JSON"),
        ('{"n": "one"}', '[\'n\']: "one" is not of type "integer"'),
        ("{}", '"n" is a required property'),
        ("[" * 100_000, "The answer is not JSON"),
    ],
)
def test_answer_that_is_not_valid_can_be_asked_for_again_and_says_why(text, said):
    with pytest.raises(NodeError) as raised:
        parsed(text, SCHEMA)
    assert (raised.value.code, raised.value.retryable) == ("invalid_json", True)
    assert said in raised.value.message
    assert raised.value.details == {"text": text[:1_000]}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "http://127.0.0.1:1/schema"},
        {"$ref": "https://json-schema.org/draft-07/other"},
        {"$ref": "file:///etc/passwd"},
        {"properties": {"a": {"$ref": "other.json"}}},
    ],
)
def test_what_is_no_schema_or_needs_another_one_is_refused(schema):
    with pytest.raises(ValueError, match=r".+"):
        check_schema(schema)


def test_schema_in_a_file_of_the_worker_is_not_read(tmp_path):
    (tmp_path / "schema.json").write_text('{"type": "integer"}')
    with pytest.raises(ValueError, match="cannot refer to another one"):
        check_schema({"$ref": f"file://{tmp_path}/schema.json"})


def test_schema_may_refer_to_itself():
    schema = {"$defs": {"leaf": {"type": "integer"}}, "items": {"$ref": "#/$defs/leaf"}}
    check_schema(schema)
    assert parsed("[1]", schema) == [1]
    with pytest.raises(NodeError):
        parsed('["x"]', schema)


def test_model_is_told_the_schema():
    assert instruction(None) == "Answer with JSON only, without any text around it."
    assert '"required": ["n"]' in instruction(SCHEMA)
