"""The pages behind approval links: one form, or one sentence. No script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from melagent.errors import Problem
    from melagent.nodes.wait import FormField
    from melagent.services.approvals import Question

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; background: #f4f4f5; color: #18181b }
main { max-width: 32rem; margin: 4rem auto; padding: 2rem; background: #fff; border-radius: 8px }
h1 { font-size: 1.25rem; margin-top: 0; overflow-wrap: anywhere }
label { display: block; margin: 1rem 0 }
input, select, textarea { display: block; box-sizing: border-box; width: 100%; font: inherit; padding: .5rem }
button { font: inherit; padding: .5rem 1.5rem }
.problem { color: #b91c1c }
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""The address of the page is a secret: it goes to nobody else, and is kept nowhere."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body><main>
<h1>{title}</h1>
{content}
</main></body>
</html>
"""


def form(
    question: Question, given: Mapping[str, Any], problems: Iterable[Problem] = (), status: int = 200
) -> web.Response:
    """The form of a question, filled in with what was given, and what is wrong with that."""
    wrong = {problem.field: problem.problem for problem in problems}
    fields = "\n".join(_field(field, given.get(field.name), wrong.pop(field.name, "")) for field in question.fields)
    others = "\n".join(_complaint(f"{field}: {problem}") for field, problem in wrong.items())
    content = f'<form method="post">\n{others}\n{fields}\n<p><button>Send</button></p>\n</form>'
    return _page(question.title or "Your answer is awaited", content, status)


def sentence(title: str, text: str, status: int) -> web.Response:
    return _page(title, f"<p>{escape(text)}</p>", status)


def _page(title: str, content: str, status: int) -> web.Response:
    page = PAGE.format(title=escape(title), style=STYLE, content=content)
    return web.Response(text=page, status=status, content_type="text/html", charset="utf-8", headers=HEADERS)


def _field(field: FormField, value: Any, problem: str) -> str:
    name = f'name="{field.name}"{" required" if field.required else ""}'
    text = "" if value is None else str(value)
    match field.type:
        case "boolean":
            control = _select(name, {"true": "Yes", "false": "No"}, text.lower())
        case "choice":
            control = _select(name, {option: option for option in field.options}, text)
        case "number":
            control = f'<input type="number" step="any" {name} value="{escape(text)}">'
        case _:
            control = f'<textarea rows="2" {name}>\n{escape(text)}</textarea>'
    return f"<label>{escape(field.label or field.name)}\n{control}{_complaint(problem)}</label>"


def _select(name: str, choices: Mapping[str, str], chosen: str) -> str:
    options = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(shown)}</option>'
        for value, shown in choices.items()
    )
    return f'<select {name}><option value=""></option>{options}</select>'


def _complaint(text: str) -> str:
    return f'<span class="problem">{escape(text)}</span>' if text else ""
