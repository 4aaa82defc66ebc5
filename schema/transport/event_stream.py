"""An answer that goes on: one subscription as a stream of server-sent events."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from starlette.types import Receive, Scope, Send

from schema.execution.sink import Running
from schema.transport import sse
from schema.transport.accept import EVENT_STREAM
from schema.transport.response import COMMON_HEADERS
from schema.transport.sessions import Session

# Proxies give up on a connection that is silent for a minute, some for half of one.
KEEP_ALIVE_SECONDS = 12.0
# Above this the peer counts as congested. The server's own buffer, and the kernel's, have 200 KB more.
CONGESTED_BYTES = 256 * 1024
# Whoever goes on sending to a congested peer gets this far.
MOST_BUFFERED_BYTES = 8 * 1024 * 1024
# The server's buffer takes what it is given, so it is given little at a time.
WRITE_BYTES = 64 * 1024
# For the peer to take what was sent before the end. If it takes longer, nothing is lost: it comes back and resumes.
CLOSE_SECONDS = 1.0
_HEADERS = {
    **COMMON_HEADERS,
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "X-Accel-Buffering": "no",  # nginx would wait for 8 KB
    # Whoever comes back when this server stops must reach another one.
    "Connection": "close",
}
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()],
}


class Connection(Protocol):
    """What the server gives for a connection beside ASGI's `receive` and `send` (app/http_connection.py)."""

    def bound(self) -> None: ...

    def abort(self) -> None: ...


class EventStream:
    """The Sink of a subscription, and the ASGI application that sends what comes there."""

    __slots__ = (
        "_buffered",
        "_close_timer",
        "_connection",
        "_cursor",
        "_is_gone",
        "_is_over",
        "_keep_alive_seconds",
        "_outgoing",
        "_running",
        "_session",
        "_wake",
        "_watcher",
        "_writable",
    )

    def __init__(self, receive: Receive, connection: Connection | None, *, keep_alive_seconds: float) -> None:
        """`receive` has given the whole request; without `connection` nobody is cut off."""
        self._watcher = asyncio.create_task(self._watch(receive), name="disconnect")
        self._connection = connection
        self._keep_alive_seconds = keep_alive_seconds
        self._session: Session | None = None
        self._running: Running | None = None
        self._cursor: Callable[[], str] | None = None
        self._outgoing = [sse.opening()]
        self._buffered = len(self._outgoing[0])
        self._is_over = False  # nothing more is taken
        self._is_gone = False  # nothing more is sent
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._close_timer: asyncio.TimerHandle | None = None

    def start(self, session: Session, running: Running) -> None:
        """This is what runs. It may have sent something before."""
        self._session = session
        self._running = running
        session.add(running)
        if self.congested:
            running.congest()

    def close(self, _code: int, _reason: str) -> None:
        """End after what was sent before, without `complete`: clients come back. A congested one is cut off."""
        if self.congested:
            self._cut()
        self._is_over = True
        self._wake.set()
        if self._close_timer is None:
            self._close_timer = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._cut)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - `receive` is read already
        try:
            if self._connection is not None:
                self._connection.bound()
            await self._send_all(send)
            if self._is_gone:
                await self._watcher  # else the server would miss the end of the response
        finally:
            # The timer of `close` goes on: the last bytes may still be on their way.
            self._watcher.cancel()
            self._let_go()
            if self._session is not None:
                self._session.end()

    def cancel(self) -> None:
        """There will be another answer instead."""
        self._watcher.cancel()
        self._let_go()
        if self._close_timer is not None:
            self._close_timer.cancel()

    # The Sink.

    def begin(self, cursor: Callable[[], str]) -> None:
        self._cursor = cursor

    def next(self, payload: bytes) -> None:
        if not self._is_over:
            self._add(sse.event(payload, self._cursor() if self._cursor is not None else None))

    def complete(self) -> None:
        if not self._is_over:
            self._add(sse.COMPLETE)
            self._is_over = True

    @property
    def congested(self) -> bool:
        return not self._writable.is_set()

    async def drained(self) -> None:
        await self._writable.wait()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._let_go()

    def _let_go(self) -> None:
        self._is_over = self._is_gone = True
        self._outgoing.clear()
        self._wake.set()
        self._writable.set()

    def _cut(self) -> None:
        self._let_go()
        if self._connection is not None:
            self._connection.abort()

    def _add(self, event: bytes) -> None:
        self._outgoing.append(event)
        self._buffered += len(event)
        self._wake.set()  # the writer comes when this turn of the loop is over: what is due together leaves together
        if self._buffered > MOST_BUFFERED_BYTES:
            self._cut()
        elif self._buffered > CONGESTED_BYTES and not self.congested:
            self._writable.clear()
            if self._running is not None:
                self._running.congest()

    async def _send_all(self, send: Send) -> None:
        await send(START)
        while not self._is_gone:
            if self._outgoing:
                await self._flush(send)
            elif self._is_over:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            else:
                await self._wait()

    async def _flush(self, send: Send) -> None:
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        for start in range(0, len(data), WRITE_BYTES):
            part = data[start : start + WRITE_BYTES]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            if self._is_gone:
                return
            self._buffered -= len(part)
        if not self._outgoing:
            self._writable.set()

    async def _wait(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(self._keep_alive_seconds):
                await self._wake.wait()
        except TimeoutError:
            self._add(sse.KEEP_ALIVE)
