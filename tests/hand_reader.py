"""A subscriber by hand: it takes frames only when it is told to, on a connection that holds little."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.conftest import Person
from tests.socket_client import PING, PONG, RawSocket
from tests.watcher import CHANNEL_EVENTS


class HandReader:
    """Subscribes like a Watcher. `after` is what it would resume with."""

    def __init__(self, raw: RawSocket) -> None:
        self.kinds: list[str] = []
        self.events: list[bytes] = []
        self.after = ""
        self._raw = raw

    async def read(self) -> None:
        """One message, or a ping."""
        opcode, frame = await self._raw.read()
        if opcode == PING:
            self._raw.write(frame, opcode=PONG)
            return
        [item] = json.loads(frame)["payload"]["data"].values()
        self.after = item["cursor"]
        if item["__typename"] == "StreamNotice":
            self.kinds.append(item["kind"])
        else:
            self.events.append(frame)

    async def read_until(self, count: int) -> None:
        """So many events."""
        while len(self.events) < count:
            await self.read()


@asynccontextmanager
async def unread(port: int, token: str, *, segment: int | None = None) -> AsyncGenerator[RawSocket, None]:
    """A client that reads only when it is told to. `segment`: at most so many bytes in a packet, as on a network."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    if segment is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
    connection.setblocking(False)  # noqa: FBT003 - its only parameter
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    stream, writer = await asyncio.open_connection(sock=connection, limit=1024)
    raw = RawSocket(stream, writer)
    try:
        assert " 101 " in await raw.handshake("127.0.0.1")
        raw.write_json({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
        assert (await raw.read())[1] == b'{"type":"connection_ack"}'
        yield raw
    finally:
        writer.transport.abort()


@asynccontextmanager
async def reading(
    port: int, person: Person, channel: str, *, segment: int | None = None
) -> AsyncGenerator[HandReader, None]:
    """A reader that has got READY."""
    async with unread(port, person.token, segment=segment) as raw:
        operation = {"query": CHANNEL_EVENTS, "variables": {"after": None, "channelId": channel}}
        raw.write_json({"id": "w", "type": "subscribe", "payload": operation})
        reader = HandReader(raw)
        await reader.read()
        assert reader.kinds == ["READY"]
        yield reader
