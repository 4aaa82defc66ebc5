"""uvicorn's HTTP connection, with an end for peers that take nothing of what they are sent.

uvicorn 0.54 lets such a peer keep a connection, and what waits for it, for as long as it likes: its own closes wait for
a buffer that never drains. A peer that has vanished without a word is given up by Linux after a quarter of an hour;
TCP_USER_TIMEOUT would be sooner, but takes whoever reads slowly through a small window for dead, too.
"""

import asyncio
import socket
import struct
from asyncio.transports import BaseTransport
from contextlib import suppress
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "parley.http"  # where in scope["extensions"] the application finds the connection

STALL_SECONDS = 45.0
LOOKS = 3  # in that time
# Of a stream, in the kernel, which makes it twice that. Its own choice would be megabytes.
SEND_BUFFER_BYTES = 64 * 1024
# Of struct tcp_info (linux/tcp.h): tcpi_unacked, tcpi_bytes_acked, tcpi_notsent_bytes.
TCP_INFO = struct.Struct("=24xI92xQ16xI")


class HttpConnection(HttpToolsProtocol):
    """One connection. An answer that is a stream calls the methods that have docstrings."""

    stall_seconds = STALL_SECONDS

    transport: asyncio.Transport
    _timer: asyncio.TimerHandle | None = None
    _taken: int | None = None  # what the peer had taken when it last took something
    _taken_at = 0.0

    def bound(self) -> None:
        """Keep little of what is sent in the kernel."""
        if not self.transport.is_closing():
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def abort(self) -> None:
        """End at once, whatever waits to be sent. The application receives the disconnect."""
        self.transport.abort()

    # What the server calls.

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_looking()
        if self.scope is not None:
            cast("dict[str, Any]", self.scope).pop("extensions", None)  # a cycle would wait for the garbage collector
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._stop_looking()
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {EXTENSION: self}

    def _look(self) -> None:
        now, taken = self.loop.time(), self._progress()
        if taken is None or taken != self._taken:
            self._taken, self._taken_at = taken, now
        elif now - self._taken_at >= self.stall_seconds:
            self.transport.abort()
            return
        self._look_later()

    def _look_later(self) -> None:
        self._timer = self.loop.call_later(self.stall_seconds / LOOKS, self._look)

    def _progress(self) -> int | None:
        """A number that changes when the peer takes something; None if nothing waits for it."""
        waiting = self.transport.get_write_buffer_size()
        if hasattr(socket, "TCP_INFO"):
            connection = self.transport.get_extra_info("socket")
            with suppress(OSError, ValueError, struct.error):  # closed a moment ago; an older kernel, which tells less
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
                unacknowledged, acknowledged, unsent = TCP_INFO.unpack(info)
                return acknowledged if waiting or unacknowledged or unsent else None
        # Other systems do not tell. While writing is paused, at least, nothing is added.
        return waiting if self.flow.write_paused or self.transport.is_closing() else None

    def _stop_looking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
