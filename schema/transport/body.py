"""A request's body that is larger than memory should hold: in pieces, within a size and a pace."""

import asyncio
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Send

from schema.transport.refusal import Refused

LINGER_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How slowly a body may come before its connection, and the room that is kept for it, are taken away."""

    idle_seconds: float = 10.0  # without a byte
    grace_seconds: float = 10.0  # of waiting, before the average counts
    bytes_per_second: int = 8 * 1024


class Body:
    """What `receive` brings. `is_complete` tells whether anything of it can still come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_complete = False

    async def receive(self) -> Message:
        message = await self._receive()
        self.is_complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message


class PacedBody:
    """The pieces of a body. Raises Refused (408, and what `too_large` says), and ClientDisconnect."""

    def __init__(self, receive: Receive, *, limit: int, too_large: Refused, pace: Pace) -> None:
        self._receive = receive
        self._limit = limit
        self._too_large = too_large
        self._pace = pace
        self._size = 0
        self._waited = 0.0  # for the client: the time that this server's disk takes is not its fault
        self._is_complete = False

    async def read(self) -> bytes:
        """The next piece; empty at the end."""
        loop = asyncio.get_running_loop()
        while not self._is_complete:
            began = loop.time()
            try:
                async with asyncio.timeout(self._pace.idle_seconds):
                    message = await self._receive()
            except TimeoutError:
                raise self._too_slow() from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._is_complete = not message.get("more_body", False)
            piece: bytes = message.get("body", b"")
            self._size += len(piece)
            self._waited += loop.time() - began
            if self._size > self._limit:
                raise self._too_large
            if self._waited > self._pace.grace_seconds and self._size < self._waited * self._pace.bytes_per_second:
                raise self._too_slow()
            if piece:
                return piece
        return b""

    def _too_slow(self) -> Refused:
        kilobytes = f"{self._pace.bytes_per_second / 1024:g}"
        return Refused(408, f"The body came too slowly: at least {kilobytes} KB a second are needed. Send it again.")


async def answer_early(response: Response, receive: Receive, send: Send) -> None:
    """Answer while the body still comes, and close the connection, but not at once.

    What arrives behind a closed socket is answered by a reset, at which clients drop the answer they have not read yet
    (RFC 9112, section 9.6).
    """
    response.headers["Connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b""})
