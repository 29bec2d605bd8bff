"""The first SIGTERM or SIGINT drains, the second ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal


def on_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT. The second ends the process at once: what it held runs elsewhere."""
    told = asyncio.Event()

    def tell() -> None:
        if told.is_set():
            os._exit(1)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, tell)
    return told
