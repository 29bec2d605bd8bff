import json
from urllib.parse import quote, quote_plus
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from melagent.domain.origins import allowed_origin
from melagent.domain.secrets import MASK, Redactor, Secret

SECRET = 'p"ä\\s/s +wörd'


def made(**changes):
    fields = {"username": "ada", "password": SECRET}
    given = {"headers": {"Authorization": "Basic YWRhOnNlY3JldA=="}, "query": {}, "fields": fields} | changes
    return Secret(
        UUID(int=1), "n", "basic", hidden=frozenset({"password"}), origins=(allowed_origin("a.example"),), **given
    )


def test_secret_is_in_no_representation():
    assert SECRET not in repr(made())
    assert "YWRh" not in repr(made())


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=60))
def test_secret_is_taken_out_of_the_address_that_it_was_sent_in(secret):
    sent = str(URL("http://a.example/x").update_query({"key": secret}))
    assert Redactor([secret]).text(sent.partition("key=")[2]) == MASK


def test_secret_is_allowed_at_its_origins_only():
    assert made().allows("https://a.example/x")
    assert not made().allows("http://a.example/x")
    assert not made().allows("https://b.example/")
    assert not made().allows("no address")


def test_what_is_taken_out_is_the_secret_and_the_header_made_of_it_but_nothing_else():
    assert made().texts == {SECRET, "YWRhOnNlY3JldA=="}


@pytest.mark.parametrize(
    "written",
    [SECRET, quote(SECRET, safe=""), quote_plus(SECRET), json.dumps(SECRET), json.dumps({"a": json.dumps([SECRET])})],
)
def test_secret_is_taken_out_however_it_is_written(written):
    redactor = Redactor([SECRET])
    for clean in (redactor.text(f"<{written}>"), redactor.encoded(orjson.dumps({"x": written})).decode()):
        assert MASK in clean
        assert "rd" not in clean


def test_json_stays_json_without_the_secret():
    value = {"a": [SECRET, {"b": f"x {SECRET} y"}], SECRET: 1, "n": None}
    assert Redactor([SECRET]).value(value) == {"a": [MASK, {"b": f"x {MASK} y"}], MASK: 1, "n": None}


def test_number_that_looks_like_a_secret_stays_a_number():
    assert (
        Redactor(["123456", ":123"]).encoded(b'{"a":1234567,"b":"1234567"}')
        == f'{{"a":1234567,"b":"{MASK}7"}}'.encode()
    )


def test_json_without_the_secret_is_left_alone():
    text = b'{"a":  1e2}'
    assert Redactor(["123456"]).encoded(text) is text


def test_longer_secret_is_not_broken_up_by_a_shorter_one_within():
    assert Redactor(["secret", "top-secret-value"]).text("top-secret-value and secret") == f"{MASK} and {MASK}"


def test_text_that_is_too_short_to_be_told_apart_stays():
    assert Redactor(["abc", ""]).text("abcdef") == "abcdef"
