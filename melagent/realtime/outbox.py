"""What is on its way to one peer.

The transport itself is the queue and its writer: it sends as fast as the peer reads and knows how much is left. So a
peer costs no task and no queue of its own, and what goes to many is one and the same bytes for all of them. A peer is
too slow when something is to be sent to it while a mebibyte still waits, when so much waits for five seconds, and when
it takes nothing for ten. How much comes at once does not matter: a room that catches up has more than that in one
piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import WriteTransport

MAX_BACKLOG_BYTES = 1024 * 1024
FULL_SECONDS = 5.0
STALLED_SECONDS = 10.0


class Outbox:
    """Writes encoded frames. `now` is the time of the event loop."""

    __slots__ = ("_exempt", "_fitted_at", "_moved_at", "_sent", "_transport", "_written")

    def __init__(self, transport: WriteTransport, now: float) -> None:
        self._transport = transport
        self._written = 0
        self._exempt = 0
        self._sent = 0
        self._moved_at = now
        self._fitted_at = now

    def write(self, frames: bytes) -> bool:
        """Send frames after all that was written before. False when the peer is too slow, and nothing is written."""
        transport = self._transport
        if transport.is_closing():
            return True  # whoever reads from it finds that out
        if transport.get_write_buffer_size() >= MAX_BACKLOG_BYTES and self.backlog >= MAX_BACKLOG_BYTES:
            return False
        transport.write(frames)
        self._written += len(frames)
        return True

    def write_first(self, frames: bytes) -> None:
        """Send what a peer begins with, however large: it does not count as backlog."""
        if not self._transport.is_closing():
            self._transport.write(frames)
            self._written += len(frames)
            self._exempt = self._written

    @property
    def backlog(self) -> int:
        """Bytes that the peer has not taken, but for what it begins with."""
        left = self._transport.get_write_buffer_size()
        return left - max(0, self._exempt - (self._written - left))

    def is_stalled(self, now: float) -> bool:
        """Whether something has been waiting for ten seconds of which nothing went out, or for five seconds too much.

        Ask about every second.
        """
        left = self._transport.get_write_buffer_size()
        sent = self._written - left
        if left == 0 or sent > self._sent:
            self._sent, self._moved_at = sent, now
        if self.backlog < MAX_BACKLOG_BYTES:
            self._fitted_at = now
        return now - self._moved_at > STALLED_SECONDS or now - self._fitted_at > FULL_SECONDS

    def abort(self) -> None:
        self._transport.abort()
