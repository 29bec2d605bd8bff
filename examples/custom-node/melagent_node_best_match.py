"""The node `best_match`: which of some texts is most similar to another."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Annotated

from melagent.sdk import Expression, Field, Json, Node, NodeContext, NodeError, Params, Result, Success

MAX_CHARACTERS = 200
"""Of each text: comparing two takes a time that grows with the product of their lengths."""
MAX_CHOICES = 10_000


class BestMatchParams(Params):
    value: str = Field(max_length=MAX_CHARACTERS, description="The text to find")
    choices: Annotated[str, Expression] = Field(default="input", min_length=1, description="The list of texts")
    threshold: float = Field(default=0.6, ge=0, le=1, description="Similarity that is asked for, 1 for the same text")


class BestMatch(Node[BestMatchParams]):
    """The output is `{value, match, score}`. Capital letters make no difference, and the first of equals wins."""

    id = "best_match"
    name = "Best match"
    description = "Finds which of some texts is most similar to another"
    category = "Data"
    icon = "target"
    branching = True
    outputs = ("match", "none")
    in_thread = True

    async def run(self, params: BestMatchParams, ctx: NodeContext) -> Result:
        matcher = SequenceMatcher(b=params.value.casefold(), autojunk=False)
        match, score = None, 0.0
        for choice in _texts(ctx.evaluate(params.choices)):
            matcher.set_seq1(choice.casefold())
            if matcher.real_quick_ratio() > score and matcher.quick_ratio() > score and matcher.ratio() > score:
                match, score = choice, matcher.ratio()
        found = match is not None and score >= params.threshold
        output = {"value": params.value, "match": match if found else None, "score": round(score, 3)}
        return Success(output, "match" if found else "none")


def _texts(choices: Json) -> list[str]:
    """Raises NodeError that is not retried: the same input would be as wrong again."""
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise NodeError("`choices` is not a list of texts.", code="wrong_input", retryable=False)
    if len(choices) > MAX_CHOICES or any(len(choice) > MAX_CHARACTERS for choice in choices):
        message = f"`choices` may have {MAX_CHOICES:,} texts of {MAX_CHARACTERS} characters."
        raise NodeError(message, code="too_large", retryable=False)
    return choices
