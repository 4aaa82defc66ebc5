"""uvicorn's WebSocket connection, with a way out that never waits, and with bounds for whoever does not keep to them.

What uvicorn 0.54 lacks: a send that does not wait for the peer; an end for peers that take nothing (its own closes wait
for a buffer that never drains); a limit of frames; silence about contents in the log at every level.
"""

import asyncio
import fcntl
import socket
import sys
import termios
from asyncio.transports import BaseTransport
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

from app.outbox import outbox_of, text_header
from app.waiting import Gate, Inbox

EXTENSION = "parley.socket"  # where in scope["extensions"] the application finds the connection

MAX_MESSAGE_BYTES = 64 * 1024
# Above this the peer counts as congested. As much again is in the kernel, whose own choice would be megabytes.
SEND_BUFFER_BYTES = 256 * 1024
# Whoever goes on sending to a congested peer (answers that were being made) gets this far.
MOST_BUFFERED_BYTES = 8 * 1024 * 1024
PING_SECONDS = 20.0
PONG_SECONDS = 20.0
# For the peer to answer a close frame, or to take what was sent before it.
CLOSE_SECONDS = 5.0
STOP_SECONDS = 1.0  # the same when the server stops
# A read can bring 256 KB, be it 40,000 empty pings: frames are counted after every so many bytes.
SLICE_BYTES = 16 * 1024
MAX_REASON_BYTES = 123  # RFC 6455, section 5.5

NOT_UTF8 = "Send text in UTF-8."
TOO_MANY_FRAMES = "Too many messages at once. Connect again, and send fewer."
STOPPING = "The server is about to stop. Connect again."


def fitting(reason: str) -> str:
    """The beginning of the reason that a close frame has room for."""
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection. The application receives by ASGI, and sends by calling the methods that have docstrings."""

    # Data frames, and pings, that a peer may send per second, and at once after a silence.
    frames_per_second = 50.0
    frames_at_once = 200.0
    close_seconds = CLOSE_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = Inbox()  # type: ignore[assignment]  # as much of a queue as is used
        self.writable = Gate()  # type: ignore[assignment]  # likewise
        self._outbox = outbox_of(self.loop)
        # At log level debug it would log every frame. The first one has the token.
        self.conn.debug = False
        self.is_open = False
        self.congested = False
        self.on_congested: Callable[[], None] | None = None
        self.on_drained: Callable[[], None] | None = None
        self._outgoing: list[bytes] = []
        self._written = 0
        self._is_deaf = False
        self._allowance = self.frames_at_once
        self._counted_at = self.loop.time()
        # When the last ping was sent: the bytes ahead of it if the peer is behind, and all written up to then.
        self._ahead_of_ping = self._written_at_ping = 0

    # What the application calls.

    def push(self, prefix: bytes, payload: bytes) -> None:
        """Send prefix, payload and a closing brace as one text. The frames of one turn of the loop leave together."""
        if not self.is_open:
            return
        outgoing = self._outgoing
        if not outgoing:
            self._outbox.add(self)
        outgoing += (text_header(len(prefix) + len(payload) + 1), prefix, payload, b"}")

    def send_text(self, text: bytes) -> None:
        """Send one text, in order with what is pushed."""
        if not self.is_open:
            return
        if not self._outgoing:
            self._outbox.add(self)
        self._outgoing += (text_header(len(text)), text)

    async def drained(self) -> None:
        """Wait until the peer is not congested, or gone."""
        await self.writable.wait()

    def close(self, code: int, reason: str = "") -> None:
        """Close, after what was sent before; a congested peer is cut off. The application receives the disconnect."""
        if not self.is_open:
            return
        if self.congested:
            self.cut()
            return
        self.flush()
        self.is_open = False
        self.close_sent = True
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        try:
            self.conn.send_close(code, fitting(reason))
            self._write_control()
        except InvalidState:  # the peer closes at the same moment
            self._write_control()
            self.transport.close()
        self.congested = False  # nobody waits for a peer that is given up
        self.writable.set()
        if self.read_paused:  # the peer's answer must be heard
            self.read_paused = False
            self.transport.resume_reading()
        self._abort_later()

    def cut(self) -> None:
        """End at once. The peer sees code 1006, and connects again."""
        self.is_open = False
        self._outgoing.clear()
        self.congested = False  # nobody waits for a peer that is given up
        self.writable.set()
        self.transport.abort()

    def flush(self) -> None:
        """Hand what waits to the transport; the outbox does, once a turn of the loop."""
        if not self._outgoing:
            return
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        self._written += len(data)
        self.transport.write(data)
        if self.congested and self.transport.get_write_buffer_size() > MOST_BUFFERED_BYTES:
            self.cut()

    # What the server calls.

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = self.congested = False
        self._outgoing.clear()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End, as the server does. Whatever is still open was not told in time."""
        self.close_seconds = min(self.close_seconds, STOP_SECONDS)
        if self.is_open:
            self.close(1012, STOPPING)
        elif self.close_sent or self.transport.is_closing():
            self.transport.close()
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            if self._is_deaf:
                return
            super().data_received(data[start : start + SLICE_BYTES] if len(data) > SLICE_BYTES else data)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                # uvicorn would wait for ever. The answer, if any, is in the queue: 414 or 431.
                self._is_deaf = True
                self._write_control()
                self.transport.close()

    def eof_received(self) -> None:
        super().eof_received()
        self.loop.call_soon(self._abort_later)  # the transport closes itself when this returns

    def pause_writing(self) -> None:
        super().pause_writing()
        self.congested = True
        # What it asked for now would be answered into the buffer.
        self.transport.pause_reading()
        if self.on_congested is not None:
            self.on_congested()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.congested = False
        if not self.read_paused:
            self.transport.resume_reading()
        if self.on_drained is not None:
            self.on_drained()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.accept":
            self.is_open = not self.transport.is_closing()
            self._forget_handshake()
        elif message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # else uvicorn would log each refusal as a mistake of the application

    async def receive(self) -> Any:
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            if not self.congested:
                self.transport.resume_reading()
        return message

    # Events of the connection.

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions[EXTENSION] = self
            # uvicorn logs it, and somebody's client has the token there.
            self.scope["query_string"] = b""

    def handle_events(self) -> None:
        if self.is_open and not self._allows(len(self.conn.events)):
            self.conn.events.clear()
            self.close(1013, TOO_MANY_FRAMES)
            self._turn_deaf()
            return
        super().handle_events()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and self.is_open:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:  # uvicorn would log a traceback
                self.frames = []
                self.close(1007, NOT_UTF8)
                self._turn_deaf()
                return
        super().send_receive_event_to_app()

    def handle_close(self, event: Frame) -> None:
        self.is_open = False
        self._outgoing.clear()
        super().handle_close(event)
        self._abort_later()

    def handle_parser_exception(self) -> None:
        """A frame that breaks the protocol (1002), or is too long (1009); the close frame is made already."""
        sent = self.conn.close_sent
        if self.is_open and sent is not None:
            self.is_open = False
            self._outgoing.clear()  # nothing may follow a close frame
            self.close_sent = True
            self.stop_keepalive()
            self.queue.put_nowait({"type": "websocket.disconnect", "code": sent.code, "reason": sent.reason})
            self._write_control()
            self.congested = False  # nobody waits for a peer that is given up
            self.writable.set()
            self._abort_later()
        self._turn_deaf()

    def send_keepalive_ping(self) -> None:
        on_the_way = self._on_the_way()
        # With so much on the way, whatever is acknowledged was read by the peer, whose own buffer must be full too.
        self._ahead_of_ping = on_the_way if on_the_way > SEND_BUFFER_BYTES // 4 else 0
        self._written_at_ping = self._written
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        self.pong_timer = None
        if self.transport.is_closing():
            return
        on_the_way = self._on_the_way()
        if self._ahead_of_ping and on_the_way < self._ahead_of_ping + self._written - self._written_at_ping:
            # The ping is behind what the peer is still reading: slow, but alive.
            self._ahead_of_ping, self._written_at_ping = on_the_way, self._written
            self.pong_timer = self.loop.call_later(cast("float", self.ping_timeout), self.keepalive_timeout)
            return
        # Without a close frame: uvicorn's 1011 would tell a laptop that wakes up never to connect again.
        self.cut()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._abort_later()

    def _forget_handshake(self) -> None:
        # The headers of a browser are 8 KB as objects, and nobody looks at them again.
        self.scope["headers"] = []
        del self.request, self.response

    def _write_control(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()))

    def _turn_deaf(self) -> None:
        """Take nothing more from a peer that breaks rules, but let it read why.

        To close with unread data waiting would make the kernel send a reset, which can overtake the close frame.
        """
        self._is_deaf = True
        self.frames = []
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self.transport.resume_reading()

    def _abort_later(self) -> None:
        if self.close_timer is None and not self.disconnected:
            if self.transport.is_closing() and not self.transport.get_write_buffer_size():
                return
            self.close_timer = self.loop.call_later(self.close_seconds, self.transport.abort)

    def _allows(self, frames: int) -> bool:
        now = self.loop.time()
        refilled = self._allowance + (now - self._counted_at) * self.frames_per_second
        self._allowance = min(refilled, self.frames_at_once) - frames
        self._counted_at = now
        return self._allowance >= 0

    def _on_the_way(self) -> int:
        """How many bytes the peer's system has not acknowledged: tcp(7), SIOCOUTQ, and our own buffer."""
        queued = bytearray(4)
        fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
        return int.from_bytes(queued, sys.byteorder) + self.transport.get_write_buffer_size()


# How uvicorn is to serve WebSockets: arguments of its Config. Without compression, which takes 40 KB per connection.
SOCKETS: dict[str, Any] = {
    "ws": SocketProtocol,
    "ws_max_size": MAX_MESSAGE_BYTES,
    "ws_per_message_deflate": False,
    "ws_ping_interval": PING_SECONDS,
    "ws_ping_timeout": PONG_SECONDS,
}
