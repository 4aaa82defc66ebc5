"""The sockets of benchmarks/fanout_load.py: those who subscribe, and those who publish.

What subscribers receive is not parsed but searched for a mark, so that the load costs little.
"""

import asyncio
import base64
import json
import os
import re
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

# Every message begins with the mark and a number: its own, or the microsecond at which it was sent.
MARK = b"fan-out:"
NUMBER = re.compile(MARK + rb"(\d{16})")
TEXT = " and then a realistic amount of text, some ninety characters in all"
# uvicorn's pings: a header, which frames of ASCII text do not contain, and a payload of four bytes.
PING_HEADER = b"\x89\x04"
PING = re.compile(rb"\x89\x04(.{4})", re.DOTALL)
QUIET_SECONDS = 10.0  # without a delivery: the rest is lost
ANSWER_SECONDS = 120.0  # of a server that cannot keep up


def frame(payload: bytes, opcode: int = 0x1) -> bytes:
    """One masked frame (RFC 6455, section 5.2); with the key 0, which leaves the payload as it is."""
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else bytes([0x80 | 126]) + struct.pack("!H", length)  # noqa: PLR2004
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


def as_frame(message: Any) -> bytes:
    return frame(json.dumps(message).encode())


class Refused(Exception):
    """The server did not take a message; this is its answer."""


class Audience:
    """The subscribers of one server, and what all of them have received since `expect`."""

    def __init__(self, port: int, subscription: str, mutation: str, channel: str, tokens: Sequence[str]) -> None:
        self.port = port
        self.subscription = subscription
        self.mutation = mutation
        self.channel = channel
        self.tokens = tokens
        self.subscribers: list[Subscriber] = []
        self.posters: list[Poster] = []
        self.gone = 0
        self.sample = b""  # the latest without a message
        self.witnessed: list[bytes] = []  # all that the first subscriber received
        self.expect(timed=False)

    def expect(self, *, timed: bool) -> None:
        """Begin anew; `timed` if the numbers of the messages are times."""
        self.received = 0
        self.last = 0.0
        self.delays: list[int] | None = [] if timed else None
        self.kept = len(MARK) + 15 if timed else len(MARK) - 1  # one byte less than what is looked for
        for subscriber in self.subscribers:
            subscriber.received, subscriber.tail = 0, b""
        if self.subscribers:
            self.subscribers[0].seen = self.witnessed = []

    async def receive(self, numbers: Sequence[int], refused: int = 0) -> str:
        """Wait until all have got the messages of these numbers; what went wrong, or nothing.

        Others were `refused`, and may have been written all the same.
        """
        wanted = len(numbers) * len(self.subscribers)
        seen, since = -1, time.perf_counter()
        while self.received < wanted and time.perf_counter() - since < QUIET_SECONDS:
            if self.received != seen:
                seen, since = self.received, time.perf_counter()
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # for what must not come
        fewer = sum(each.received < len(numbers) for each in self.subscribers)
        more = sum(each.received > len(numbers) + refused for each in self.subscribers)
        # The others are only counted, one is looked at.
        witnessed = {int(number) for number in NUMBER.findall(b"".join(self.witnessed))}
        others = set(numbers) - witnessed if refused else set(numbers) ^ witnessed
        if not fewer and not more and not others and not self.gone:
            return ""
        return (
            f"of {len(self.subscribers)} subscribers {fewer} missed messages, {more} got one too often, "
            f"{self.gone} were cut off; the first one missed, or got instead: {sorted(others)[:10]}; "
            f"what came last without a message: {self.sample[:300]!r}"
        )

    async def open_posters(self, count: int) -> None:
        """Connections to begin with; a server closes those that it has not heard of for some seconds."""
        for poster in self.posters:
            poster.writer.transport.abort()
        self.posters = [await Poster.open(self) for _ in range(count)]

    @asynccontextmanager
    async def poster(self) -> "AsyncIterator[Poster]":
        poster = self.posters.pop() if self.posters else await Poster.open(self)
        yield poster
        self.posters.append(poster)


class Opening(asyncio.Protocol):
    """A connection until the server has acknowledged it."""

    def __init__(self, audience: Audience, index: int) -> None:
        self.audience = audience
        self.token = audience.tokens[index % len(audience.tokens)]
        self.ready: asyncio.Future[Subscriber] = asyncio.get_running_loop().create_future()
        self.data = b""
        self.is_upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        lines = [
            "GET /graphql HTTP/1.1",
            f"Host: 127.0.0.1:{self.audience.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: graphql-transport-ws",
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        self.data += data
        if not self.is_upgraded and b"\r\n\r\n" in self.data:
            if not self.data.startswith(b"HTTP/1.1 101 "):
                self.transport.abort()
                return
            self.is_upgraded = True
            self.transport.write(
                as_frame({"type": "connection_init", "payload": {"authorization": f"Bearer {self.token}"}})
            )
        elif b"connection_ack" in self.data:
            payload = {"query": self.audience.subscription, "variables": {"channel": self.audience.channel}}
            self.transport.write(
                as_frame({"id": base64.b16encode(os.urandom(8)).decode(), "type": "subscribe", "payload": payload})
            )
            subscriber = Subscriber(self.audience, self.transport)
            self.transport.set_protocol(subscriber)
            self.ready.set_result(subscriber)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ready.set_exception(exc or ConnectionError(f"Refused: {self.data[:300]!r}"))


class Subscriber(asyncio.Protocol):
    """A connection that only receives."""

    def __init__(self, audience: Audience, transport: asyncio.Transport) -> None:
        self.audience = audience
        self.transport = transport
        self.received = 0
        self.tail = b""
        self.seen: list[bytes] | None = None

    def data_received(self, data: bytes) -> None:
        audience = self.audience
        found = self.tail + data
        self.tail = found[-audience.kept :]
        if audience.delays is None:
            count = found.count(MARK)
        else:
            now = round(time.perf_counter() * 1e6)
            delays = [now - int(sent) for sent in NUMBER.findall(found)]
            audience.delays += delays
            count = len(delays)
        if count:
            self.received += count
            audience.received += count
            audience.last = time.perf_counter()
        else:
            audience.sample = data
        if self.seen is not None:
            self.seen.append(data)
        if PING_HEADER in found:
            # Some perhaps again, out of the tail, which is allowed (RFC 6455, section 5.5.3).
            for payload in PING.findall(found):
                self.transport.write(frame(payload, 0xA))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - what asyncio calls
        if self in self.audience.subscribers:
            self.audience.gone += 1


class Poster:
    """A connection that sends one mutation at a time."""

    def __init__(self, audience: Audience, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.audience = audience
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, audience: Audience) -> "Poster":
        return cls(audience, *await asyncio.open_connection("127.0.0.1", audience.port))

    async def post(self, number: int) -> float:
        """Seconds until the answer."""
        variables = {"channel": self.audience.channel, "text": f"{MARK.decode()}{number:016d}{TEXT}"}
        body = json.dumps({"query": self.audience.mutation, "variables": variables}).encode()
        lines = [
            "POST /graphql HTTP/1.1",
            f"Host: 127.0.0.1:{self.audience.port}",
            f"Authorization: Bearer {self.audience.tokens[0]}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        begin = time.perf_counter()
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        async with asyncio.timeout(ANSWER_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            answer = await self.reader.readexactly(int(length[1])) if length else b""
        if not head.startswith(b"HTTP/1.1 200 ") or b'"errors"' in answer or b"sendMessage" not in answer:
            raise Refused((head + answer).decode(errors="replace"))
        return time.perf_counter() - begin
