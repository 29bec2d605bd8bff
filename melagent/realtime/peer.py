"""One socket in one room: who it is, how fast it may write, and how it is closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from melagent.domain.edit_frames import refused_frame
from melagent.realtime import frames, metrics
from melagent.realtime.frames import Close, Closing
from melagent.services.access import Role
from melagent.services.drafts import author_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from melagent.domain.draft_state import Author, Refused
    from melagent.domain.seats import Seat
    from melagent.realtime.outbox import Outbox
    from melagent.services.access import Principal
    from melagent.services.standing import Credential

CLOSE_SECONDS = 3.0
"""How long a peer has to take in that it is closed."""

COSTS_PER_SECOND = 50.0
BURST = 100.0
BYTES_OF_ONE = 16 * 1024
OPERATIONS_OF_ONE = 100
LIGHT = 0.1
"""A frame that is no edit costs a tenth of one. A large edit counts as several."""

PATIENCE_SECONDS = 10.0
"""A peer that has been writing too fast for so long is closed."""

log = structlog.get_logger()


class Pace:
    """Fifty edits a second, a hundred at once. Whoever writes faster is read slower, and at last not any more."""

    __slots__ = ("_at", "_left", "_slowed_at")

    def __init__(self, now: float) -> None:
        self._left = BURST
        self._at = now
        self._slowed_at: float | None = None

    def spend(self, cost: float, now: float) -> float:
        """For how many seconds to read nothing more. Raises Closing for a peer that will not slow down."""
        self._left = min(BURST, self._left + (now - self._at) * COSTS_PER_SECOND) - cost
        self._at = now
        if self._left >= 0:
            self._slowed_at = None
            return 0.0
        if self._slowed_at is None:
            self._slowed_at = now
        if now - self._slowed_at > PATIENCE_SECONDS:
            raise Closing(Close.TOO_FAST, f"At most {COSTS_PER_SECOND:g} edits a second.")
        return -self._left / COSTS_PER_SECOND


class Peer:
    """A socket that was let in. `seat.owner` is its own name, `role` what it may do at this moment."""

    __slots__ = (
        "_closer",
        "_closers",
        "_closing",
        "_socket",
        "active",
        "client",
        "close_code",
        "credential",
        "outbox",
        "pace",
        "principal",
        "seat",
    )

    def __init__(  # noqa: PLR0917  # what it consists of
        self,
        socket: web.WebSocketResponse,
        outbox: Outbox,
        credential: Credential,
        principal: Principal,
        closers: set[asyncio.Task[None]],
        now: float,
    ) -> None:
        self._socket = socket
        self._closers = closers
        self._closing = False
        self._closer: asyncio.Task[None] | None = None
        self.outbox = outbox
        self.credential = credential
        self.principal = principal
        self.pace = Pace(now)
        self.client = ""
        self.seat: Seat | None = None
        self.active = False
        self.close_code: Close | None = None

    @property
    def author(self) -> Author:
        return author_of(self.principal)

    @property
    def may_edit(self) -> bool:
        return self.principal.role >= Role.EDITOR

    @property
    def is_closing(self) -> bool:
        return self._closing

    def send(self, payload: bytes) -> None:
        self.write(frames.encoded(payload))

    def send_first(self, payload: bytes) -> None:
        """Send what a peer begins with, however large."""
        self.outbox.write_first(frames.encoded(payload))

    def write(self, encoded: bytes) -> None:
        """Send frames that are encoded already. A peer that is too slow for them is closed."""
        if not self._closing and not self.outbox.write(encoded):
            self.close(Close.TOO_SLOW, "More is waiting than you read.")

    def refuse(self, edit_id: int, seq: int, refused: Refused) -> None:
        """Tell an author that an edit changed nothing, when the room was at `seq`."""
        metrics.EDITS_REFUSED.labels(refused.error).inc()
        self.send(refused_frame(edit_id, refused, seq))

    def close(self, code: Close, reason: str) -> None:
        """Close the socket soon; nothing more is sent. Waits for nobody."""
        if not self._closing:
            self._closing = True
            self.close_code = code
            self._closer = asyncio.create_task(close_socket(self._socket, code, reason, self.outbox.abort))
            self._closers.add(self._closer)
            self._closer.add_done_callback(self._closers.discard)

    async def closed(self) -> None:
        """Return when a closing that has begun has ended."""
        if self._closer is not None:
            await asyncio.wait([self._closer])


async def close_socket(
    socket: web.WebSocketResponse, code: Close, reason: str, abort: Callable[[], None] | None = None
) -> None:
    """Close a socket in order within a few seconds, else cut it off."""
    metrics.SOCKETS_CLOSED.labels(str(int(code))).inc()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code=code, message=reason.encode()[:123])
    except (TimeoutError, ConnectionError) as error:
        log.debug("socket cut off", code=int(code), error=repr(error))
    finally:
        if abort is not None:
            abort()
