"""docs/asyncapi.yaml, and a checker of each message in it."""

from __future__ import annotations

from pathlib import Path

import jsonschema_rs
import yaml

DOCUMENT = yaml.safe_load((Path(__file__).parents[2] / "docs" / "asyncapi.yaml").read_text())
MESSAGES = DOCUMENT["components"]["messages"]


def validator(payload):
    """A checker of one message; references lead into the document."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return jsonschema_rs.validator_for({"$schema": dialect, **payload, "components": DOCUMENT["components"]})


VALIDATORS = {name: validator(message["payload"]) for name, message in MESSAGES.items()}
FROM_CLIENT = ("join", "sendEdit", "show", "ping")
FROM_SERVER = {name for name in VALIDATORS if name not in FROM_CLIENT}
