"""xml: both directions, and texts that want to harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melagent.nodes import xml
from melagent.sdk import NodeError

NAMES = st.from_regex(r"\A[A-Za-z_é][A-Za-z0-9_.\-]{0,3}(:[a-z]{1,2})?\Z")
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=5).map(
    str.strip
)
VALUES = st.recursive(
    TEXTS,
    lambda values: st.dictionaries(NAMES, values | st.lists(values, min_size=2, max_size=3), min_size=1, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("config", "text", "value"),
    [
        ({}, "<a/>", {"a": ""}),
        ({}, "<?xml version='1.0' encoding='ISO-8859-1'?><a> é \n</a>", {"a": "é"}),
        ({}, '<a id="1"><b>x</b><b>y</b><c/></a>', {"a": {"@id": "1", "b": ["x", "y"], "c": ""}}),
        ({}, '<a id="1">x</a>', {"a": {"@id": "1", "#text": "x"}}),
        ({}, "<a>one<b/>two</a>", {"a": {"b": "", "#text": "onetwo"}}),
        ({}, "<a><![CDATA[<b>&]]>&lt;&#65;<!-- no --><?no?></a>", {"a": "<b>&<A"}),
        ({}, '<s:a xmlns:s="urn:x"><s:b/></s:a>', {"s:a": {"@xmlns:s": "urn:x", "s:b": ""}}),
        ({"alwaysList": ["b"]}, "<a><b>x</b></a>", {"a": {"b": ["x"]}}),
        ({}, "<a><b>1</b><c/><b>2</b><b/></a>", {"a": {"b": ["1", "2", ""], "c": ""}}),
    ],
)
async def test_an_object_is_made_of_a_text(run_node, config, text, value):
    assert await run_node("xml", config, input=text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><a>&c;</a>', "document type"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "document type"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>', "document type"),
        ("<a>" * 101 + "</a>" * 101, "deeper than 100"),
        ("<a>" * 1_000_000, "deeper than 100"),
        ("<a><b></a>", "mismatched tag: line 1, column 8"),
        ("<a>&b;</a>", "undefined entity"),
        ('<a b="1" b="2"/>', "duplicate attribute"),
        ("<a/><b/>", "junk after document element"),
        ("<a>\x01</a>", "not well-formed"),
        ("", "no element found"),
        (None, "not text"),
    ],
)
async def test_what_is_no_harmless_xml_is_refused(run_node, text, problem):
    with pytest.raises(NodeError, match=problem) as caught:
        await run_node("xml", {}, input=text)
    assert (caught.value.code, caught.value.retryable) == ("wrong_input", False)


async def test_a_hundred_levels_are_read_and_written(run_node):
    text = "<a>" * 99 + "<a/>" + "</a>" * 99
    value = await run_node("xml", {}, input=text)
    assert await run_node("xml", {"operation": "format"}, input=value) == text


@pytest.mark.parametrize(
    ("config", "value", "text"),
    [
        ({}, {"a": None}, "<a/>"),
        (
            {},
            {"a": {"@id": 1, "@on": True, "b": ["x<&", 2.5], "#text": "t"}},
            '<a id="1" on="true">t<b>x&lt;&amp;</b><b>2.5</b></a>',
        ),
        ({}, {"a": {"@q": '"\n', "#text": "\r"}}, "<a q='\"&#10;'>&#13;</a>"),
        ({}, {"a": {"b": []}}, "<a/>"),
        ({"indent": True}, {"a": {"b": [], "#text": "x"}}, "<a>x</a>"),
        ({"root": "list"}, {"item": [1, 2]}, "<list><item>1</item><item>2</item></list>"),
        ({"root": "list"}, "x", "<list>x</list>"),
        ({"indent": True}, {"a": {"b": ["x", {"c": ""}]}}, "<a>\n  <b>x</b>\n  <b>\n    <c/>\n  </b>\n</a>"),
    ],
)
async def test_a_text_is_made_of_an_object(run_node, config, value, text):
    assert await run_node("xml", {"operation": "format"} | config, input=value) == text


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": 1, "b": 2}, "one root element"),
        ({"a": [1, 2]}, "one root element"),
        ([1], "one root element"),
        ({"a b": 1}, "'a b' cannot be the name"),
        ({"a><script": 1}, "cannot be the name"),
        ({"a": {"@b='' c": 1}}, "cannot be the name"),
        ({"a": {"": 1}}, "cannot be the name"),
        ({"1a": 1}, "cannot be the name"),
        ({"a": "\x00"}, "cannot hold the character"),
        ({"a": {"b": [[1]]}}, "item of a list"),
        ({"a": {"@b": {}}}, "no objects"),
    ],
)
async def test_what_xml_cannot_hold_is_refused(run_node, value, problem):
    with pytest.raises(NodeError, match=problem) as caught:
        await run_node("xml", {"operation": "format"}, input=value)
    assert (caught.value.code, caught.value.retryable) == ("wrong_input", False)


async def test_a_list_is_no_root_even_with_a_name(run_node):
    with pytest.raises(NodeError, match="names its items"):
        await run_node("xml", {"operation": "format", "root": "list"}, input=[1, 2])


async def test_depth_and_size_have_limits(run_node):
    deep = ""
    for _ in range(101):
        deep = {"a": deep}
    with pytest.raises(NodeError, match="deeper than 100"):
        await run_node("xml", {"operation": "format"}, input=deep)
    with pytest.raises(NodeError, match="16,777,216 characters") as caught:
        await run_node("xml", {"operation": "format"}, input={"a": {"b" * 100_000: [1] * 1000}})
    assert (caught.value.code, caught.value.retryable) == ("too_large", False)


@given(name=NAMES, value=VALUES)
def test_what_was_written_is_read_again(name, value):
    written = xml._written({name: value}, xml.XmlParams(operation="format"))
    assert xml._Reader(frozenset()).read(written) == {name: value}
