"""Readers that stop reading are soon gone, with all that they cost; one that only reads slowly is not.

Sockets are given up after 40 s without a sign of life. Here it is 6 s, so that a test can wait for it.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from app.db import Database
from app.settings import Settings
from tests.conftest import Person
from tests.documents import create_channel, number, send
from tests.eventually import eventually
from tests.follower import positions
from tests.hand_reader import HandReader, reading
from tests.live import Live, live
from tests.nodes import Address
from tests.oracle import judge
from tests.pair import BOUND
from tests.watcher import Watcher, watching

pytestmark = pytest.mark.faults

PING_SECONDS = 3
STALLED = 10
SEGMENT = 1400
# Of 8 KB each: more than the kernel and the server together hold for one reader, some 700 KB (app/sockets.py).
MESSAGES, WRITERS, AT_ONCE = 200, 4, 5
CONTENT = "The quick brown fox jumps over the lazy dog. " * 175


async def crawl(reader: HandReader) -> None:
    """Read at 80 KB/s at most; as 12 KB/s would be with the server's usual patience."""
    while True:
        await reader.read()
        await asyncio.sleep(0.1)


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
            opening = [reading(node.port, alice, channel, segment=SEGMENT) for _ in range(STALLED + 1)]
            crawling, *stalled = [await stack.enter_async_context(each) for each in opening]
            other = Watcher(alice, node, channel=channel)
            await stack.enter_async_context(watching(other))
            assert sessions.count == STALLED + 2
            slow = asyncio.create_task(crawl(crawling))
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
            assert crawling.events == [event.frame for event in other.events]

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
