"""What fuzzing begins with: well-formed input of each target, and the pieces of its language."""

from __future__ import annotations

import json
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

DEFINITION = {
    "nodes": [
        {"id": "start", "type": "manual_trigger", "position": {"x": 1.5, "y": -2}},
        {"id": "loop", "type": "for_each", "config": {"items": "input.list", "concurrency": 2}, "on_error": "branch"},
        {
            "id": "a",
            "type": "set",
            "config": {"fields": {"b": "{{ steps.start.output.x + 1 }}"}},
            "retry": {"max_attempts": 3},
        },
        {"id": "if", "type": "if", "config": {"conditions": [{"expression": "input.b > 1"}]}, "labels": ["gpu=a100"]},
    ],
    "edges": [
        {"source": "start", "target": "loop"},
        {"source": "loop", "source_handle": "item", "target": "a"},
        {"source": "loop", "source_handle": "done", "target": "if"},
    ],
    "settings": {"timeout_seconds": 60, "priority": 5, "max_concurrency": 1},
}
TEMPLATES = [
    "Dear {{ input.text | upper }},{# no #}\n{% for item in input.list -%} {{ loop.index }}: {{ item }}{% endfor %}",
    "{% if input.a > 0 and not input.empty %}{{ steps.one.output[0] | default('x') }}{% else %}no{% endif %}",
    "{% set x = [1, 2, {'a': 3.5e1}] %}{{ x[2].a ** 2 // 3 ~ 'é' }}",
    "{{ vars.workflow.total ?? 0 }} {{ run.id[1:2] }} {{ 1 if true else 2 }}",
]
EXPRESSIONS = [
    "input.list | map('upper') | join(', ')",
    "{{ [1, 2, 3] | sum + range(5) | length }}",
    "input.a is defined and (input.text ~ 'x') in ['a', 'b'] or steps['one'].output == {'a': [1, none]}",
    "'{\"a\": 1}' | fromjson | tojson(indent=2)",
    "-1.5e300 * 2 ** 10 % 7 if not false else 'a' * 3",
]
SIGNATURES = [
    b"\x00sha256=" + b"ab" * 32 + b"\n\n{}",
    b"\x01t=1700000000,v1=" + b"ab" * 32 + b",v0=cd\n\nbody",
    b"\x02v0=" + b"ab" * 32 + b"\n1700000000\n\nbody",
    b"\x03v1,c2lnbmF0dXJl v1,c2ln\n1700000000\nmsg_1\n\nbody",
    b"\x04v1=q80=\n1700000000\n\nbody",
]
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nhi\r\n--b--\r\n"
)
JSON = [json.dumps(DEFINITION).encode(), b'[1, -0.5e-3, "\\u00e9\\n", {"a": null, "b": [true, false]}]', b"{}"]
FILES = [path.read_bytes() for path in sorted(EXAMPLES.rglob("*.yaml"))[:12]]

SEEDS = {
    "json_value": JSON,
    "body": [
        bytes([number]) + json.dumps({"name": "x", "definition": DEFINITION, "revision": 1, "input": {"a": 1}}).encode()
        for number in range(40)  # one for each route that takes a body
    ],
    "webhook_call": [b"\x00" + JSON[1], b"\x02a=1&b=%C3%A9&a=&=&c", b"\x03" + FORM, b"\x05text", b"\x06\xff\xfe"],
    "approval_form": [b"approved=true&note=%C3%A9+x&n=1.5e3&approved=&=&c"],
    "definition": JSON[:1],
    "workflow_yaml": FILES,
    "workflow_json": [json.dumps({"name": "x", **DEFINITION}).encode()],
    "template": [text.encode() for text in TEMPLATES],
    "expression": [text.encode() for text in EXPRESSIONS],
    "signature": SIGNATURES,
    "destination": [
        b"api.example.com\nhttps://api.example.com/v1?a=b#c",
        b"*.example.com:8443\nhttps://A.b.EXAMPLE.com.:8443/",
        b"http://[::1]:8080\nhttp://user:word@[::1]:8080",
        b"http://10.0.0.5\nhttp://10.0.0.5\\@evil.example/",
    ],
    "allow_entry": [b"internal.example:8080", b"10.0.0.0/8", b"[fd00::1]:80", b"169.254.169.254", b"fe80::1%eth0"],
    "token_answer": [
        b'\x00{"access_token": "a.b-c", "refresh_token": "r", "expires_in": 3600, "token_type": "Bearer"}',
        b'\x03{"error": "invalid_grant", "error_description": "gone"}',
    ],
}

_JSON_PIECES = [
    '{"', '":', "[", "]", "}", ",", '"', "null", "true", "1e999", "-", "9" * 40, "\\u0000", "\\ud800", "\\", "[" * 200,
]  # fmt: skip
_TEMPLATE_PIECES = [
    "{{", "}}", "{%", "%}", "{#", "#}", "-", "{{-", "-%}", "if ", "else", "endif", "for x in ", "endfor", "set x = ",
    "(", ")", "[", "]", "{", "}", ".", ",", ":", "|", "~", "**", "//", "%", "==", "!=", " in ", " not ", " is ", "'",
    '"', "\\", "input", "steps.", "vars", "loop", "range(", "tojson", "fromjson", "default(", "9" * 30, "1e400", "0x",
    "none", "import ", "macro m()", "raw", "é", "\0", "\u2028",
]  # fmt: skip
_FORM_PIECES = [
    "&", "=", "%", "%00", "%ff", "+", ";", "--b", "\r\n", "--b--", 'name="', "filename*=utf-8''%ff", ":", "\0",
]  # fmt: skip
_YAML_PIECES = [
    "\n", "  ", "- ", ": ", "&a ", "*a", "!!binary ", "!!set ", "? ", "|\n", ">-", "<<: *a", "{", "[", "---\n", "...",
    "%YAML", "~", "\t", "'", '"', "#", ".nan", "0o7", "2026-01-31", "\x85",
]  # fmt: skip
_ADDRESS_PIECES = [
    "\n", "http://", "https://", "*.", ".", ":", "/", "\\", "@", "?", "#", "[", "]", "%25", "%2e", "::ffff:", "0x7f",
    "017700000001", "169.254.169.254", "fd00:ec2::254", "100.64.0.0/10", "/0", "xn--", "é", "\u3002", "\u212a", "\0",
    "\t", "65536",
]  # fmt: skip
_SIGNATURE_PIECES = [
    "\n", "\n\n", "=", ",", " ", "v1", "v1=", "v0=", "t=", "sha256=", "1700000000", "٣", "²", "-1", "\udcff", "ab" * 32,
]  # fmt: skip

PIECES = {
    "webhook_call": [*_JSON_PIECES, *_FORM_PIECES],
    "approval_form": _FORM_PIECES,
    "workflow_yaml": _YAML_PIECES,
    "template": _TEMPLATE_PIECES,
    "expression": _TEMPLATE_PIECES,
    "signature": _SIGNATURE_PIECES,
    "destination": _ADDRESS_PIECES,
    "allow_entry": _ADDRESS_PIECES,
}


def pieces(target: str) -> list[bytes]:
    return [piece.encode("utf-8", "surrogateescape") for piece in PIECES.get(target, _JSON_PIECES)]
