"""`server openapi`: the API's document, made here; no server is asked."""

from __future__ import annotations

from melagent.cli.show import show_json


def openapi() -> None:
    """Print the OpenAPI document of the API that this program serves."""
    from melagent import __version__
    from melagent.api.openapi import document
    from melagent.api.routes import ROUTES

    show_json(document(ROUTES, __version__))
