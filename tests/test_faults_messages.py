"""What happens to delivery when messages between nodes get lost, come twice, in another order, or are no messages."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import pytest
from redis import Redis
from sqlalchemy import event

from app.events.redis_backend import SHARDS, channels
from tests.documents import number, send
from tests.load import Load
from tests.local_node import LocalNode
from tests.oracle import judge, same_frames
from tests.pair import BOUND, RATE, Pair, busy, local_pair
from tests.redis_server import RedisServer
from tests.watcher import Watcher, watching

pytestmark = pytest.mark.faults

SOCKETS = 20
POISON = [
    *(b"", b"\xff", b"\xff" * 1_000_000, b"x" * 1_000_000, b"[" * 100_000),
    *(b"null", b"5", b'"event"', b"[]", b"{}", b'{"message": {"kind": "event"', b'{"message": "event"}'),
    *(b'{"message": {}}', b'{"message": {"kind": 5}}', b'{"message": [{"kind": "event"}]}'),
]


@pytest.fixture(scope="module")
async def started(
    tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str]
) -> AsyncIterator[Pair[LocalNode]]:
    folder = tmp_path_factory.mktemp("nodes")
    with RedisServer() as redis:
        async with local_pair(folder, new_database("faults_messages"), redis) as pair:
            yield pair


@pytest.fixture
def pair(started: Pair[LocalNode]) -> Pair[LocalNode]:
    """Nothing is wrong with the network."""
    started.proxy.loses, started.proxy.doubles, started.proxy.swaps = 0, False, False
    started.proxy.done.clear()
    return started


async def test_messages_that_come_twice_are_delivered_once(pair: Pair[LocalNode]) -> None:
    async with busy(pair) as load:
        pair.proxy.doubles = True
        await load.run(1.5)
    assert pair.proxy.done["doubled"] > 0


async def test_neighbours_that_change_places_are_delivered_in_order(pair: Pair[LocalNode]) -> None:
    channel = await pair.channel()
    watchers = pair.watchers(channel)
    pair.proxy.swaps = True
    async with watching(*watchers):
        for _ in range(4):
            await asyncio.gather(*(send(pair.alice, channel) for _ in range(10)))
        await judge(pair.database, watchers, seconds=BOUND)
    assert pair.proxy.done["swapped"] > 0


@contextmanager
def reads_of_the_log(node: LocalNode) -> Generator[list[str], None, None]:
    """The statements, as they go."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "FROM stream_events" in statement:
            sent.append(statement)

    engine = node.services.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_what_gets_lost_is_read_once_for_all_sockets(pair: Pair[LocalNode]) -> None:
    channel = await pair.channel()
    watchers = [Watcher(pair.bob, pair.second, channel=channel) for _ in range(SOCKETS)]
    async with watching(*watchers):
        with reads_of_the_log(pair.second) as reads:
            looks = pair.second.hub.looks
            pair.proxy.loses = 0.1
            async with Load([pair.alice] * 3, [channel], rate=RATE) as load:
                await load.run(4)
            await judge(pair.database, watchers, seconds=BOUND)
            looks = pair.second.hub.looks - looks
    assert same_frames(*watchers) == len(load.sent)
    assert pair.proxy.done["lost"] > 0
    # A look at the heads may come between an event's commit and its message.
    assert 0 < len(reads) <= pair.proxy.done["lost"] + looks


def forgeries(stream: str, head: int) -> Iterator[Any]:
    """Messages that no node made: no events, or not the next one, which whoever can write to Redis could forge."""
    whole = {"kind": "event", "stream": stream, "epoch": 1, "seq": head + 1, "type": "MESSAGE_CREATED", "actor": None}
    whole |= {"at": "2026-01-01T00:00:00+00:00", "payload": {"message": 1}}
    wrong: dict[str, Sequence[Any]] = {
        "seq": [head + 1000, 10**9, 2**63 - 1, 2**63, 2**64, 0, -1, True, str(head + 1), head + 1.0, None, [head + 1]],
        "epoch": [0, 2, 2**31, True, "1", None],
        "type": ["NOTHING", 5, None, []],
        "stream": ["", "c", "x", None, 5, [], {}],
        "actor": ["alice", [], {}],
        "at": ["yesterday", "2026-01-01T00:00:00", 5, None],
        "payload": [None, [], "message"],
    }
    for name, values in wrong.items():
        yield from ({**whole, name: value} for value in values)
        yield {key: value for key, value in whole.items() if key != name}


async def test_poison_stops_nothing(pair: Pair[LocalNode], caplog: pytest.LogCaptureFixture) -> None:
    channel = await pair.channel()
    stream, watchers, nodes = f"c{number(channel)}", pair.watchers(channel), (pair.first, pair.second)
    async with watching(*watchers):
        malformed = [node.broker.malformed for node in nodes]
        await send(pair.alice, channel)
        with Redis.from_url(pair.redis.url) as client:
            for poison in POISON:
                client.publish(channels(0)[crc32(stream.encode()) % SHARDS], poison)
            for forged in forgeries(stream, watchers[0].begins[stream].seq + 1):
                client.publish(channels(0)[0], json.dumps({"origin": "x", "message": forged}))
        await send(pair.bob, channel)
        await judge(pair.database, watchers, seconds=BOUND)
        assert [node.broker.malformed for node in nodes] == [each + len(POISON) for each in malformed]
        # What is not there is not looked for again and again.
        backfills = [node.hub.backfills for node in nodes]
        await asyncio.sleep(1)
        assert [node.hub.backfills for node in nodes] == backfills
        async with Load([pair.alice, pair.bob], [channel], rate=RATE) as load:
            await load.run(1)
        await judge(pair.database, watchers, seconds=BOUND)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
