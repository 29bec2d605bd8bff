"""Which implementation speaks to which provider."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

    from melagent.ai.chat import ChatModel
    from melagent.sdk import Secret

CREDENTIAL_TYPES = ("openai", "anthropic", "openai_compatible")
"""The types of the connections over which models can be asked."""


async def chat_model(http: aiohttp.ClientSession, secret: Secret) -> ChatModel:
    """The models that a connection of one of these types is for."""
    base_url = str(secret.fields["base_url"])
    if secret.type == "anthropic":
        return await _made("melagent.ai.anthropic_chat", "AnthropicChat", http, base_url, secret)
    return await _made("melagent.ai.openai_chat", "OpenAiChat", http, base_url, secret)


async def keyless_chat_model(http: aiohttp.ClientSession, base_url: str) -> ChatModel:
    """The models of a service that speaks OpenAI's protocol and wants no key."""
    return await _made("melagent.ai.openai_chat", "OpenAiChat", http, base_url, None)


async def _made(module: str, name: str, http: aiohttp.ClientSession, base_url: str, secret: Secret | None) -> ChatModel:
    """Imports an SDK the first time, in a thread: the event loop of a worker must not stand still for a second."""
    found = await asyncio.to_thread(import_module, module)
    model: ChatModel = getattr(found, name)(http, base_url, secret)
    return model
