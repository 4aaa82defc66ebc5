"""Readers that stop reading are soon gone, with all that they cost; one that only reads slowly is not.

Sockets are given up after 40 s without a sign of life. Here it is 6 s, so that a test can wait for it.
"""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.db import Database
from app.settings import Settings
from tests.conftest import Person
from tests.documents import create_channel, number, send
from tests.eventually import eventually
from tests.follower import positions
from tests.live import Live, live
from tests.nodes import Address
from tests.oracle import judge
from tests.pair import BOUND
from tests.socket_client import PING, PONG, RawSocket
from tests.watcher import CHANNEL_EVENTS, Watcher, watching

pytestmark = pytest.mark.faults

PING_SECONDS = 3
STALLED = 10
# Of 8 KB each: more than the kernel and the server together hold for one reader, some 700 KB (app/sockets.py).
MESSAGES, WRITERS, AT_ONCE = 200, 4, 5
CONTENT = "The quick brown fox jumps over the lazy dog. " * 175


class Reader:
    """Subscribes to a channel, and reads when it is told to. `after` is what it would resume with."""

    def __init__(self, raw: RawSocket) -> None:
        self.kinds: list[str] = []
        self.events: list[bytes] = []
        self.after = ""
        self._raw = raw

    async def read(self) -> None:
        """One frame."""
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

    async def crawl(self) -> None:
        """At 80 KB/s at most; as 12 KB/s would be with the server's usual patience."""
        while True:
            await self.read()
            await asyncio.sleep(0.1)


@asynccontextmanager
async def reading(server: Live, person: Person, channel: str) -> AsyncGenerator[Reader, None]:
    """A reader that has got READY. Little of what it does not read is on its side."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)  # as on a network
    connection.setblocking(False)  # noqa: FBT003 - its only parameter
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", server.served.port))
    stream, writer = await asyncio.open_connection(sock=connection, limit=1024)
    raw = RawSocket(stream, writer)
    try:
        assert " 101 " in await raw.handshake("127.0.0.1")
        raw.write_json({"type": "connection_init", "payload": {"Authorization": f"Bearer {person.token}"}})
        assert (await raw.read())[1] == b'{"type":"connection_ack"}'
        operation = {"query": CHANNEL_EVENTS, "variables": {"channelId": channel}}
        raw.write_json({"id": "1", "type": "subscribe", "payload": operation})
        reader = Reader(raw)
        await reader.read()
        assert reader.kinds == ["READY"]
        yield reader
    finally:
        writer.transport.abort()


async def post(person: Person, channel: str, count: int) -> None:
    """Many messages, several in a request."""
    one = "sendMessage(input: $input) { errors { code message } }"
    document = f"mutation ($input: SendMessageInput!) {{ {' '.join(f'm{turn}: {one}' for turn in range(AT_ONCE))} }}"
    for _ in range(count // AT_ONCE // WRITERS):
        body = await person.send(document, input={"channelId": channel, "content": CONTENT})
        assert all(payload["errors"] == [] for payload in body["data"].values()), body


async def post_all(person: Person, channel: str, count: int) -> None:
    await asyncio.gather(*(post(person, channel, count) for _ in range(WRITERS)))


def slowness(watcher: Watcher) -> float:
    """The seconds within which 99 % of the events came."""
    lags = sorted(watcher.lags())
    return lags[len(lags) * 99 // 100]


async def cost(server: Live) -> tuple[int, int, int]:
    """Connections and tasks of the server, and open files of this whole process."""
    tasks = await server.call(lambda: len(asyncio.all_tasks()))
    files = [*Path("/proc/self/fd").iterdir()]  # noqa: ASYNC240 - on no disk
    return len(server.served.server_state.connections), tasks, len(files)


async def test_a_reader_that_stalls_is_gone_soon_and_one_that_crawls_is_not(
    settings: Settings, new_database: Callable[[str], str]
) -> None:
    database = Database(url := new_database("faults_stalls"), pool_size=1)
    roomy = replace(settings, max_websocket_connections_per_user=100)
    pings = {"ws_ping_interval": PING_SECONDS, "ws_ping_timeout": PING_SECONDS}
    async with live(roomy, url, **pings) as server:
        node = Address()
        node.port = server.served.port
        alice = await server.person("alice")
        channel = await create_channel(alice)
        stream = f"c{number(channel)}"
        async with watching(alone := Watcher(alice, node, channel=channel)):
            await post_all(alice, channel, MESSAGES // 2)
            await judge(database, [alone], seconds=BOUND)
        sessions = server.services.sessions
        await eventually(lambda: sessions.count == 0)
        before = await cost(server)

        async with AsyncExitStack() as stack:
            opening = [reading(server, alice, channel) for _ in range(STALLED + 1)]
            crawling, *stalled = [await stack.enter_async_context(each) for each in opening]
            other = Watcher(alice, node, channel=channel)
            await stack.enter_async_context(watching(other))
            assert sessions.count == STALLED + 2
            slow = asyncio.create_task(crawling.crawl())
            await post_all(alice, channel, MESSAGES)
            await eventually(lambda: sessions.count == 2)
            await judge(database, [other], seconds=BOUND)
            assert slowness(other) < 3 * slowness(alone) + 0.5

            await asyncio.sleep(2 * PING_SECONDS)
            assert sessions.count == 2
            assert not slow.done()
            slow.cancel()
            await asyncio.gather(slow, return_exceptions=True)
            await crawling.read_until(MESSAGES)
            await send(alice, channel)
            await crawling.read_until(MESSAGES + 1)
            assert crawling.kinds[:2] == ["READY", "SLOW_CONSUMER"]
            assert "RESYNC_REQUIRED" not in crawling.kinds
            assert crawling.events == [event.frame.replace(b'"id":"w"', b'"id":"1"', 1) for event in other.events]

            for reader in stalled:
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):  # no close frame: code 1006
                    await reader.read_until(MESSAGES)
            back = [Watcher(alice, node, channel=channel, after=[reader.after]) for reader in stalled]
            async with watching(*back):
                await judge(database, [other, *back], seconds=BOUND)
            for reader, watcher in zip(stalled, back, strict=True):
                assert watcher.begins[stream].seq == positions(reader.after)[stream]
                assert len(reader.events) + len(watcher.events) == MESSAGES + 1
        await eventually(lambda: sessions.count == 0)
        after = await cost(server)
        # Fewer where connections of HTTP were idle for too long.
        assert all(now <= then for now, then in zip(after, before, strict=True)), (after, before)
    await database.dispose()
