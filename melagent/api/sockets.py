"""The way in to live editing: the upgrade to WebSocket, and tickets for those who can send neither cookie nor key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, web

from melagent.api.auth import credential_of
from melagent.api.context import HUB, PRINCIPAL, STANDING, STREAM, services_of, uuid_in_path
from melagent.api.sign_in import UNCACHED
from melagent.api.wire import Answer, answer
from melagent.errors import BadRequest, MelError, Unavailable
from melagent.realtime.frames import CLOSE_OF, MAX_FRAME_BYTES, Close
from melagent.realtime.peer import close_socket
from melagent.realtime.serving import Entry, serve
from melagent.services.standing import TICKET_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HEARTBEAT_SECONDS = 20.0
"""After so long without a frame a peer is asked whether it is there; half as long after that its socket is cut off."""

OWN_CODES: dict[int, int] = {
    WSCloseCode.MESSAGE_TOO_BIG: Close.TOO_LARGE,
    WSCloseCode.PROTOCOL_ERROR: Close.BAD_FRAME,
    WSCloseCode.UNSUPPORTED_DATA: Close.BAD_FRAME,
    WSCloseCode.INVALID_TEXT: Close.BAD_FRAME,
}
"""What the library finds wrong, in the codes of our wire."""


class TicketAnswer(Answer):
    """A ticket opens one socket: `/api/ws/workflows/{id}?ticket=…`."""

    ticket: str
    expires_in_seconds: int


class Socket(web.WebSocketResponse):
    """A socket without compression: what goes to many peers is the same bytes for all of them."""

    def __init__(self) -> None:
        super().__init__(compress=False, max_msg_size=MAX_FRAME_BYTES, heartbeat=HEARTBEAT_SECONDS, timeout=2.0)

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        return await super().close(code=OWN_CODES.get(code, code), message=message, drain=drain)


async def give_ticket(request: web.Request) -> web.Response:
    """Give the caller a ticket that opens one socket within 30 s, on any instance."""
    ticket = await request.app[STANDING].ticket(credential_of(request))
    return answer({"ticket": ticket, "expires_in_seconds": int(TICKET_SECONDS)}, headers=UNCACHED)


async def connect(request: web.Request) -> web.StreamResponse:
    """Open a socket to the room of a workflow. Its frames are described in docs/asyncapi.yaml."""
    entry = Entry(uuid_in_path(request), credential_of(request), request[PRINCIPAL])
    socket, transport = await _opened(request)
    await serve(request.app[HUB], socket, transport, entry)
    return socket


async def in_socket(request: web.Request, call: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Answer a call to open a socket; a refusal is told by the code with which the socket closes."""
    if services_of(request).draining.is_set():
        raise Unavailable("This instance stops; connect again.")
    try:
        return await call()
    except MelError as error:
        if STREAM in request or not Socket().can_prepare(request):
            raise
        socket, transport = await _opened(request)
        await close_socket(socket, CLOSE_OF.get(error.code, Close.FULL), error.message, transport.abort)
        return socket


async def _opened(request: web.Request) -> tuple[Socket, Any]:
    socket = Socket()
    if not socket.can_prepare(request):
        raise BadRequest("This address is opened as a WebSocket.")
    await socket.prepare(request)
    request[STREAM] = socket
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has gone")
    return socket, transport
