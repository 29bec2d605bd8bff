"""Bodies of calls, those that were made to break things too: forms of both kinds, files, bytes."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from melagent.api.call_bodies import MAX_FORM_FIELDS, MULTIPART_FORM, add_body, repeated_as_lists
from melagent.api.call_input import as_json, whole
from melagent.errors import BadRequest, MelError, TooLarge

BOUNDARY = "limit-7f3a"
KIND = f"{MULTIPART_FORM}; boundary={BOUNDARY}"


def part(name, content, *, filename=None, content_type=None, more=""):
    head = f'Content-Disposition: form-data; name="{name}"'
    head += f'; filename="{filename}"' if filename is not None else ""
    head += f"\r\nContent-Type: {content_type}" if content_type else ""
    return f"--{BOUNDARY}\r\n{head}{more}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts):
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def body_of(body, content_type=KIND):
    return json.loads(whole({}, CIMultiDict({"Content-Type": content_type}), body))["body"]


def test_a_multipart_form_gives_texts_and_files():
    picture = bytes(range(256))
    body = form(
        part("title", "Grüße".encode()),
        part("picture", picture, filename="a b.png", content_type="image/png"),
        part("notes", b"plain", filename="notes.txt"),
    )
    assert body_of(body) == {
        "title": "Grüße",
        "picture": {
            "filename": "a b.png",
            "content_type": "image/png",
            "size": 256,
            "base64": base64.b64encode(picture).decode(),
        },
        "notes": {
            "filename": "notes.txt",
            "content_type": "application/octet-stream",
            "size": 5,
            "base64": "cGxhaW4=",
        },
    }


def test_fields_of_a_multipart_form_that_repeat_are_a_list():
    assert body_of(form(part("a", b"1"), part("b", b""), part("a", b"2"), part("a", b"3"))) == {
        "a": ["1", "2", "3"],
        "b": "",
    }


def test_a_field_that_is_no_text_is_a_file_without_a_name():
    assert body_of(form(part("a", b"\xff")))["a"]["filename"] is None


def test_a_form_of_no_parts_is_empty():
    assert body_of(f"--{BOUNDARY}--\r\n".encode()) == {}


def test_what_was_sent_of_a_path_in_a_file_name_is_given_as_a_name_and_opens_nothing():
    body = form(part("f", b"x", filename="../../etc/passwd"))
    assert body_of(body)["f"]["size"] == 1


HOSTILE = {
    "a thousand and one parts": (form(*[part("a", b"")] * (MAX_FORM_FIELDS + 1)), KIND),
    "no boundary": (form(part("a", b"1")), MULTIPART_FORM),
    "an empty boundary": (form(part("a", b"1")), f'{MULTIPART_FORM}; boundary=""'),
    "another boundary": (form(part("a", b"1")), f"{MULTIPART_FORM}; boundary=other"),
    "a boundary of 71 characters": (form(part("a", b"1")), f"{MULTIPART_FORM}; boundary={'b' * 71}"),
    "a boundary that is not ASCII": (form(part("a", b"1")), f"{MULTIPART_FORM}; boundary=é"),
    "no end": (part("a", b"1"), KIND),
    "half a head": (f"--{BOUNDARY}\r\nContent-Dispo".encode(), KIND),
    "no head": (form(f"--{BOUNDARY}\r\n\r\nx\r\n".encode()), KIND),
    "a part without a name": (form(f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n".encode()), KIND),
    "a part of no form": (form(f"--{BOUNDARY}\r\nContent-Disposition: attachment\r\n\r\nx\r\n".encode()), KIND),
    "a hundred heads": (form(part("a", b"1", more="\r\nX-A: b" * 100)), KIND),
    "a long head": (form(part("a" * 100_000, b"1")), KIND),
    "a head that is not text": (form(b"--" + BOUNDARY.encode() + b"\r\n\xff\xfe: x\r\n\r\n1\r\n"), KIND),
    "a head that goes on": (form(part("a", b"1", more="\r\n and on")), KIND),
    "a part that lies about its length": (form(part("a", b"12345", more="\r\nContent-Length: 2")), KIND),
    "bare line feeds": (form(part("a", b"1")).replace(b"\r\n", b"\n"), KIND),
    "something before the first part": (b"x" * 100_000 + form(part("a", b"1")), KIND),
    "nothing but dashes": (b"--" * 100_000, KIND),
    "the beginning of the boundary again and again": (b"\r\n--limit-7f3" * 100_000, KIND),
}


@pytest.mark.parametrize(("body", "content_type"), HOSTILE.values(), ids=HOSTILE)
def test_a_form_that_was_made_to_break_things_is_refused_with_a_reason(body, content_type):
    with pytest.raises(MelError) as refused:
        body_of(body, content_type)
    assert refused.value.code in ("bad_request", "too_large")
    assert refused.value.details[0].field == "body"
    assert refused.value.details[0].problem


def test_a_thousand_parts_are_taken():
    assert len(body_of(form(*[part("a", b"x")] * MAX_FORM_FIELDS))["a"]) == MAX_FORM_FIELDS


def test_a_multipart_within_a_part_is_left_as_it_is():
    inner = form(part("inner", b"1")) * 50
    nested = form(
        part("outer", inner.replace(BOUNDARY.encode(), b"inner"), content_type="multipart/mixed; boundary=inner")
    )
    assert isinstance(body_of(nested)["outer"], str)


def test_other_multiparts_are_left_as_they_are():
    assert body_of(form(part("a", b"1")), f"multipart/related; boundary={BOUNDARY}").startswith("--")


def test_the_raw_body_is_a_file_beside_what_was_made_of_it():
    given_body = b'{ "a" :\t1.0 }'
    call = json.loads(whole({}, {"Content-Type": "application/json"}, given_body, raw=True))
    assert call["body"] == {"a": 1.0}
    assert base64.b64decode(call["raw"]["base64"]) == given_body
    assert (call["raw"]["filename"], call["raw"]["size"]) == (None, len(given_body))


names = st.text(st.characters(exclude_characters='"\r\n%\\', codec="utf-8", exclude_categories=["Cc"]), max_size=20)


@given(st.lists(st.tuples(names, st.binary(max_size=200), st.none() | names), max_size=20))
def test_what_a_multipart_form_was_made_of_comes_out_again(fields):
    fields = [(name, content) for name, content, filename in fields if BOUNDARY.encode() not in content]
    found = body_of(form(*(part(name, content, filename="f") for name, content in fields)))
    expected = repeated_as_lists((name, content) for name, content in fields)
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        values = found[name] if isinstance(wanted, list) else [found[name]]
        assert [base64.b64decode(value["base64"]) for value in values] == (
            wanted if isinstance(wanted, list) else [wanted]
        )


KINDS = st.sampled_from(
    ["application/json", "application/x-www-form-urlencoded", MULTIPART_FORM, "text/plain", "application/octet-stream"]
)


@settings(max_examples=300)
@given(KINDS, st.binary(max_size=500), st.text(max_size=80))
def test_any_bytes_of_any_kind_are_taken_or_refused_and_can_be_written_as_json(kind, body, boundary):
    call = {}
    with suppress(BadRequest, TooLarge):
        add_body(call, kind, {"Content-Type": f"{kind}; boundary={boundary}"}, body)
        json.loads(as_json(call))


@settings(max_examples=300)
@given(st.data())
def test_a_multipart_form_that_was_cut_and_mixed_up_is_taken_or_refused(data):
    whole = form(part("a", b"1"), part("b", b"\xff\r\n--", filename="x"), part("c", b"", content_type="text/plain"))
    pieces = data.draw(st.lists(st.sampled_from([whole[i : i + 7] for i in range(0, len(whole), 7)]), max_size=60))
    with suppress(BadRequest):
        json.dumps(body_of(b"".join(pieces) or b"x"))
