"""Clients of graphql-transport-ws: one that keeps to the protocol, and one that writes whatever bytes it likes."""

import asyncio
import base64
import json
import os
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PROTOCOL = "graphql-transport-ws"
SECONDS = 10.0
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class Closed(NamedTuple):
    code: int
    reason: str


class SocketClient:
    """Speaks frames of JSON; every wait is bounded."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, message: Any) -> None:
        """`message` is sent as it is (text or bytes), or encoded as JSON."""
        await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS):
            message: dict[str, Any] = json.loads(await self.connection.recv())
            return message

    async def closed(self) -> Closed:
        """How the server closed; what came before is skipped."""
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    await self.connection.recv()
        except ConnectionClosed as error:
            return Closed(error.rcvd.code, error.rcvd.reason) if error.rcvd is not None else Closed(1006, "")

    async def init(self, token: str) -> None:
        await self.send({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
        assert await self.receive() == {"type": "connection_ack"}

    async def subscribe(self, id: str, query: str, **payload: Any) -> None:
        await self.send({"id": id, "type": "subscribe", "payload": {"query": query, **payload}})

    async def complete(self, id: str) -> None:
        await self.send({"id": id, "type": "complete"})

    async def ask(self, query: str, **payload: Any) -> dict[str, Any]:
        """The result of a query or mutation."""
        await self.subscribe("asked", query, **payload)
        answer = await self.receive()
        assert (answer["id"], answer["type"]) == ("asked", "next"), answer
        assert await self.receive() == {"id": "asked", "type": "complete"}
        result: dict[str, Any] = answer["payload"]
        return result

    async def refused(self, query: str, **payload: Any) -> str:
        """The code of the only error of an operation that did not start."""
        await self.subscribe("refused", query, **payload)
        answer = await self.receive()
        assert (answer["id"], answer["type"]) == ("refused", "error"), answer
        [error] = answer["payload"]
        assert error["message"]
        return str(error["extensions"]["code"])


@asynccontextmanager
async def opened(
    port: int, *, subprotocols: Sequence[str] | None = (PROTOCOL,), **headers: str
) -> AsyncGenerator[SocketClient, None]:
    """A socket that has not sent its init. It answers pings of the server by itself."""
    connection = await connect(
        f"ws://127.0.0.1:{port}/graphql",
        subprotocols=cast("Any", subprotocols),
        additional_headers={name.replace("_", "-"): text for name, text in headers.items()},
        compression=None,
        proxy=None,
        max_size=None,
        ping_interval=None,
        open_timeout=SECONDS,
        close_timeout=SECONDS,
    )
    try:
        yield SocketClient(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def connected(port: int, token: str) -> AsyncGenerator[SocketClient, None]:
    """A socket that has been acknowledged."""
    async with opened(port) as client:
        await client.init(token)
        yield client


class RawSocket:
    """A TCP connection; what it sends need not make sense."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def handshake(self, host: str, *headers: str, path: str = "/graphql") -> str:
        """The status line and headers of the answer."""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {PROTOCOL}",
            *headers,
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(SECONDS):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    def write(self, payload: bytes, *, opcode: int = TEXT, first_byte: int | None = None, mask: bool = True) -> None:
        """One frame, complete unless `first_byte` says otherwise."""
        length = len(payload)
        start = bytes([0x80 | opcode if first_byte is None else first_byte])
        masked = 0x80 if mask else 0
        if length < 126:
            start += bytes([masked | length])
        elif length < 65536:
            start += bytes([masked | 126]) + struct.pack("!H", length)
        else:
            start += bytes([masked | 127]) + struct.pack("!Q", length)
        key = b"\0\0\0\0" if mask else b""  # which leaves the payload as it is
        self.writer.write(start + key + payload)

    def write_all(self, *frames: tuple[bytes, int]) -> None:
        """Payloads, each with the first byte of its frame."""
        for payload, first_byte in frames:
            self.write(payload, first_byte=first_byte)

    def write_json(self, message: Any) -> None:
        self.write(json.dumps(message).encode())

    async def read(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        async with asyncio.timeout(SECONDS):
            first, second = await self.reader.readexactly(2)
            assert second < 128, "a server does not mask"
            length = second
            if second == 126:
                [length] = struct.unpack("!H", await self.reader.readexactly(2))
            elif second == 127:
                [length] = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(length)

    async def closed(self) -> Closed:
        """The server's close frame, which is answered; 1006 if the connection ends without.

        What came before is skipped.
        """
        try:
            while True:
                opcode, payload = await self.read()
                if opcode == CLOSE:
                    self.write(payload, opcode=CLOSE)
                    return Closed(int.from_bytes(payload[:2]), payload[2:].decode())
        except (asyncio.IncompleteReadError, ConnectionError):
            return Closed(1006, "")

    async def ended(self) -> None:
        """Wait until the server has ended the connection."""
        async with asyncio.timeout(SECONDS):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass


@asynccontextmanager
async def raw(port: int) -> AsyncGenerator[RawSocket, None]:
    """A connection on which nothing was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        yield RawSocket(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def raw_connected(port: int, token: str) -> AsyncGenerator[RawSocket, None]:
    """A raw socket that has been acknowledged."""
    async with raw(port) as found:
        assert " 101 " in await found.handshake(f"127.0.0.1:{port}")
        found.write_json({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
        assert (await found.read())[1] == b'{"type":"connection_ack"}'
        yield found
