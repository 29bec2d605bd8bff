"""html: what is taken out, and pages that want to keep the process busy."""

import time

import pytest
from pydantic import ValidationError

from melagent.nodes import html
from melagent.sdk import NodeError

PAGE = """<!doctype html>
<html><head><title> A  shop </title><script type="application/ld+json">{"a": 1}</script></head>
<body class="x">
  <h1>All <b>goods</b></h1><!-- no -->
  <ul id=goods>
    <li class="new item"><a href="/1">One</a> <i>1&nbsp;€</i>
    <li class="item"><a>Two</a><script>var x</script>
    <li class="item"><p><a href="/3" HREF="/4">Three</a></p><i>3 €</i>
  </ul>
</body>"""


def field(selector, **more):
    return {"fields": [{"name": "found", "selector": selector, **more}]}


async def found(run_node, selector, given=PAGE, **more):
    return (await run_node("html", field(selector, **more), input=given))["found"]


@pytest.mark.parametrize(
    ("selector", "more", "value"),
    [
        ("title", {}, "A shop"),
        ("h1", {}, "All goods"),
        ("h1", {"take": "html"}, "<h1>All <b>goods</b></h1>"),
        ("h2", {}, None),
        ("h2", {"all": True}, []),
        ("a", {"all": True}, ["One", "Two", "Three"]),
        ("a", {"take": "attribute", "attribute": "HREF", "all": True}, ["/1", "/3"]),
        ("li:nth-child(2)", {}, "Two"),
        ("script", {}, '{"a": 1}'),
        ("html.x, body.x", {"take": "attribute", "attribute": "class"}, "x"),
        ("#goods > .item a[href^='/']", {"all": True}, ["One", "Three"]),
        ("#goods > a", {}, None),
        (".new + li a", {"all": True}, ["Two"]),
        (".new ~ li a", {"all": True}, ["Two", "Three"]),
        ("ul p > a, h1 b", {"all": True}, ["goods", "Three"]),
        ("ul ul a", {}, None),
        ("li:not(.new):has(p) i", {}, "3 €"),
    ],
)
async def test_what_a_selector_finds_is_taken(run_node, selector, more, value):
    assert await found(run_node, selector, **more) == value


async def test_each_gives_an_object_for_everything_that_repeats(run_node):
    config = {
        "data": "input.page",
        "each": "ul li",
        "fields": [
            {"name": "class", "selector": "li", "take": "attribute", "attribute": "class"},
            {"name": "name", "selector": "a"},
            {"name": "price", "selector": "i"},
        ],
    }
    assert await run_node("html", config, input={"page": PAGE}) == [
        {"class": "new item", "name": "One", "price": "1 €"},
        {"class": "item", "name": "Two", "price": None},
        {"class": "item", "name": "Three", "price": "3 €"},
    ]


@pytest.mark.parametrize("text", ["", " \n", "<!-- nothing -->", "<![CDATA[x]]>"])
async def test_in_an_empty_page_nothing_is_found(run_node, text):
    assert await found(run_node, "p", text) is None
    assert await run_node("html", field("p") | {"each": "div"}, input=text) == []


@pytest.mark.parametrize("text", ["plain", "<p>a<p>b</div></p>", "<p>\x00</p>", "<p>&nope; &#x110000;", "<"])
async def test_broken_pages_are_read(run_node, text):
    assert isinstance(await found(run_node, "body", text), str)


async def test_entities_and_files_of_a_document_type_are_not_read(run_node):
    page = '<!DOCTYPE html [<!ENTITY e SYSTEM "file:///etc/passwd">]><p>&e;</p>'
    assert await found(run_node, "p", page) == "&e;"


@pytest.mark.parametrize(
    ("text", "code", "problem"),
    [
        ("<div>" * 300, "wrong_input", "Excessive depth"),
        ("x" * 1_048_577, "too_large", "1,048,576 characters"),
        ("<br>" * 20_001, "too_large", "20,000 elements"),
        ({"a": 1}, "wrong_input", "not text"),
    ],
)
async def test_pages_have_limits(run_node, text, code, problem):
    with pytest.raises(NodeError, match=problem) as caught:
        await found(run_node, "p", text)
    assert (caught.value.code, caught.value.retryable) == (code, False)


async def test_what_comes_out_again_and_again_has_a_limit(run_node):
    page = "<div>" * 200 + "x" * 100_000
    with pytest.raises(NodeError, match="4,194,304 characters") as caught:
        await found(run_node, "div", page, all=True)
    assert (caught.value.code, caught.value.retryable) == ("too_large", False)


async def test_selectors_have_a_limit_of_work(run_node, monkeypatch):
    monkeypatch.setattr(html, "MAX_SECONDS", -1.0)
    with pytest.raises(NodeError, match="selectors took") as caught:
        await found(run_node, "p")
    assert (caught.value.code, caught.value.retryable) == ("too_much_work", False)


@pytest.mark.parametrize(
    "selector",
    [
        "li ~ li ~ li",
        "li:nth-child(2) ~ li:nth-child(3) ~ li:nth-child(4)",
        "li:not(li ~ li)",
        "ul:has(li ~ li ~ li)",
        "a, li:not(li ~ li)",
    ],
)
async def test_a_selector_that_looks_back_and_forth_is_broken_off_in_the_midst(run_node, monkeypatch, selector):
    monkeypatch.setattr(html, "MAX_SECONDS", 0.3)
    begun = time.thread_time()
    with pytest.raises(NodeError, match="selectors took") as caught:
        await found(run_node, selector, "<ul>" + "<li>" * 19_000 + "</ul>", all=True)
    assert (caught.value.code, caught.value.retryable) == ("too_much_work", False)
    assert time.thread_time() - begun < 5


async def test_many_selectors_at_once_are_one_search(run_node):
    begun = time.thread_time()
    items = await found(run_node, ",".join(["li"] * 300), "<li>x" * 19_000, all=True)
    assert len(items) == 19_000
    assert time.thread_time() - begun < 5


@pytest.mark.parametrize(
    ("selector", "value"), [('a[title="]::["], b', "A"), ("""a[title='["::'], i""", "I"), ("a::before, a", None)]
)
async def test_brackets_within_a_text_are_no_conditions(run_node, selector, value):
    page = """<p><a title="]::[">A</a> <i>I</i></p>"""
    if value is None:
        with pytest.raises(ValidationError, match="Pseudo-elements"):
            await found(run_node, selector, page)
    else:
        assert await found(run_node, selector, page) == value


@pytest.mark.parametrize("selector", ["li li", "li ~ li", "* * *"])
async def test_large_pages_are_searched_without_uniting_sets(run_node, selector):
    """Sets of what lies below or after each of these elements would have many millions of members."""
    page = ("<ul><li>" * 60 + "</ul>" * 60) * 150
    assert isinstance(await found(run_node, selector, page, all=True, take="attribute", attribute="id"), list)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"fields": []}, "at least 1 item"),
        (field("a ["), "no selector"),
        (field(""), "at least 1 character"),
        (field("a:nope"), "no selector"),
        (field("a", take="attribute"), "name the attribute"),
        (field("a") | {"each": "> >"}, "no selector"),
        ({"fields": [{"name": "a", "selector": "a"}] * 2}, "same name"),
    ],
)
async def test_wrong_parameters_are_refused(run_node, config, problem):
    with pytest.raises(ValidationError, match=problem):
        await run_node("html", config, input="")
