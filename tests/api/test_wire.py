import pytest
from aiohttp.test_utils import make_mocked_request

from melagent.api.call_bodies import MAX_FORM_BYTES, MAX_FORM_FIELDS
from melagent.api.call_input import call_input
from melagent.api.wire import MAX_DEPTH, MAX_MARKS, encode, parse_json
from melagent.errors import BadRequest, TooLarge


def nested(depth):
    return b"[" * depth + b"]" * depth


def test_json_may_be_nested_to_the_limit_and_no_deeper():
    assert encode(parse_json(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    with pytest.raises(BadRequest):
        parse_json(nested(MAX_DEPTH + 1))


def test_many_brackets_side_by_side_are_not_deep():
    assert len(parse_json(b"[" + b"{}," * 10_000 + b"{}]")) == 10_001


def test_one_deep_value_among_many_is_too_deep():
    shallow = b'{"a":[{}]},' * 1000
    assert len(parse_json(b"[" + shallow + nested(MAX_DEPTH - 1) + b"]")) == 1001
    with pytest.raises(BadRequest):
        parse_json(b"[" + shallow + b'{"a":' + nested(MAX_DEPTH - 1) + b"}]")


@pytest.mark.parametrize("value", [b"0", b"[]", b'{"":0}', nested(MAX_DEPTH - 1)])
def test_more_values_than_can_be_held_cheaply_are_too_large(value):
    some = MAX_MARKS // (2 + value.count(b"[") + value.count(b"{"))
    assert len(parse_json(b"[" + (value + b",") * some + b"0]")) == some + 1
    marks = 1 + value.count(b"[") + value.count(b"{")
    with pytest.raises(TooLarge):
        parse_json(b"[" + (value + b",") * (MAX_MARKS // marks + 1) + b"0]")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"NaN",
        b"Infinity",
        b"1e999",
        b'"\\ud800"',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"'a'",
        b"[1,]",
        nested(5000),
    ],
)
def test_what_is_not_json_is_a_bad_request(text):
    with pytest.raises(BadRequest):
        parse_json(text)


def test_a_whole_number_beyond_64_bits_is_read_as_the_nearest_float():
    assert parse_json(b"18446744073709551616") == 2.0**64
    assert parse_json(b"9223372036854775807") == 2**63 - 1


def test_bytes_are_json_text_already():
    assert encode({"a": b'{"x": 1e2}'}) == b'{"a":{"x": 1e2}}'


def call(body=b"", content_type=None, url="/webhooks/t", **headers):
    if content_type:
        headers["Content-Type"] = content_type
    request = make_mocked_request("POST", url, headers=headers)
    return parse_json(call_input(request, body, "/rest"))


def test_a_call_without_a_body_has_null():
    assert call() == {"method": "POST", "path": "/rest", "query": {}, "headers": {}, "body": None}


def test_a_json_body_travels_as_the_bytes_that_came():
    request = make_mocked_request("POST", "/", headers={"Content-Type": "application/json"})
    text = b'{"n": 12345678901234567890123, "s": "\\u0000",  "x": 1.0}'
    assert text in call_input(request, text, "/")


def test_other_json_types_are_json_too():
    assert call(b"[1]", "application/cloudevents+json; charset=utf-8")["body"] == [1]


def test_a_form_becomes_an_object():
    assert call(b"a=1&b=&a=2&a=3", "application/x-www-form-urlencoded")["body"] == {"a": ["1", "2", "3"], "b": ""}


def test_a_form_may_not_have_more_fields_than_allowed():
    kind = "application/x-www-form-urlencoded"
    assert len(call(b"a=1&" * (MAX_FORM_FIELDS - 1) + b"a=1", kind)["body"]["a"]) == MAX_FORM_FIELDS
    with pytest.raises(BadRequest):
        call(b"a=1&" * MAX_FORM_FIELDS + b"a=1", kind)
    with pytest.raises(TooLarge):
        call(b"a=" + b"x" * MAX_FORM_BYTES, kind)


def test_other_text_stays_text():
    assert call(b"hello", "text/plain")["body"] == "hello"
    assert call(b"hello")["body"] == "hello"


def test_what_is_no_text_is_a_file_without_a_name():
    file = {"filename": None, "content_type": "application/octet-stream", "size": 2, "base64": "/wA="}
    assert call(b"\xff\x00", "application/octet-stream")["body"] == file


def test_a_broken_json_body_is_a_bad_request():
    with pytest.raises(BadRequest):
        call(b"{", "application/json")


def test_header_names_are_in_lower_case():
    assert call(**{"X-Signature": "s"})["headers"] == {"x-signature": "s"}


def test_half_characters_from_the_wire_are_replaced():
    request = make_mocked_request("POST", "/")
    given = parse_json(call_input(request, b"", "/\udcff"))
    assert given["path"] == "/?"


def test_a_half_character_in_a_form_is_replaced():
    assert call(b"a=%ED%A0%80", "application/x-www-form-urlencoded")["body"]["a"] != "\ud800"
