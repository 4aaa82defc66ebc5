"""What happens to delivery when Redis, or the way to it, fails. What is promised then is in tests/pair.py: `busy`."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.documents import ADD_REACTION, JOIN, LEAVE, number, send
from tests.nodes import Node
from tests.oracle import judge, same_frames
from tests.pair import BOUND, Pair, become, busy, fault, hearing, local_pair, pair_of_nodes
from tests.redis_server import RedisServer
from tests.watcher import Watcher, watching

pytestmark = pytest.mark.faults

AWAY, BACK = "Redis is away", "Redis is back."


@pytest.fixture(scope="module")
async def started(
    tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str]
) -> AsyncIterator[Pair[Node]]:
    folder = tmp_path_factory.mktemp("nodes")
    with RedisServer() as redis:
        async with pair_of_nodes(folder, new_database("faults_redis"), redis) as pair:
            yield pair


@pytest.fixture
async def pair(started: Pair[Node]) -> Pair[Node]:
    """All is well."""
    await become(started, "ok", "ok")
    return started


def told(pair: Pair[Node], text: str) -> list[int]:
    """How often each node logged it."""
    return [node.log.count(text) for node in (pair.first, pair.second)]


# Shorter and longer than the pauses between tries to connect, and than anything may take.
@pytest.mark.parametrize("seconds", [1, 8])
async def test_a_restart_of_redis_loses_nothing_and_no_socket(pair: Pair[Node], seconds: float) -> None:
    away, back = told(pair, AWAY), told(pair, BACK)
    async with busy(pair) as load:
        with fault(pair.redis.kill, pair.redis.start):
            await load.run(seconds)
            await become(pair, "degraded", "degraded")
        await become(pair, "ok", "ok")
    assert told(pair, AWAY) == [each + 1 for each in away]
    assert told(pair, BACK) == [each + 1 for each in back]


async def test_a_frozen_redis_holds_up_no_mutation_and_doubles_nothing(pair: Pair[Node]) -> None:
    async with busy(pair) as load:
        begun = time.monotonic()
        with fault(pair.redis.freeze, pair.redis.thaw):
            await load.run(6)
            await become(pair, "degraded", "degraded")
            ended = time.monotonic()
        await become(pair, "ok", "ok")
    # Whoever waited for Redis would wait 250 ms at least.
    assert load.slowness(0.5, since=begun, until=ended) < load.slowness(0.5, until=begun) + 0.2


async def test_a_node_cut_off_from_redis_hears_and_is_heard(pair: Pair[Node]) -> None:
    away = told(pair, AWAY)
    async with busy(pair) as load:
        begun = time.monotonic()
        with fault(pair.proxy.freeze, pair.proxy.thaw):
            await load.run(5)  # longer than anything may take
            await become(pair, "ok", "degraded")
            ended = time.monotonic()
        await become(pair, "ok", "ok")
    assert told(pair, AWAY)[0] == away[0]
    # Both nodes have a slow machine, and only the second one a silent Redis.
    alone, beside = (load.slowness(0.95, by=person, since=begun, until=ended) for person in (pair.bob, pair.alice))
    assert alone < beside + 0.3


async def test_nodes_that_start_without_redis_deliver_and_take_it_when_it_comes(
    tmp_path: Path, new_database: Callable[[str], str]
) -> None:
    url = new_database("faults_no_redis")
    with RedisServer(is_started=False) as redis:
        async with local_pair(tmp_path, url, redis) as pair:
            await become(pair, "degraded", "degraded")
            watchers = pair.watchers(channel := await pair.channel())
            async with watching(*watchers):
                await send(pair.alice, channel)
                await judge(pair.database, watchers, seconds=BOUND)
            async with busy(pair) as load:
                await load.run(1)
                redis.start()
                await become(pair, "ok", "ok")
            assert pair.first.broker.reconnects == pair.second.broker.reconnects == 1


async def test_what_a_dead_node_could_not_say_is_found_without_further_traffic(pair: Pair[Node]) -> None:
    channel = await pair.channel()
    stream = f'"stream":"c{number(channel)}"'.encode()
    watchers = Watcher(pair.alice, pair.first, channel=channel), Watcher(pair.alice, pair.first)
    with hearing(pair.redis) as heard:
        async with watching(*watchers):
            with fault(pair.proxy.freeze, pair.proxy.thaw):
                await send(pair.bob, channel)
                await pair.second.kill()
                pair.proxy.cut()  # and what it had said into the frozen network is lost
            await judge(pair.database, watchers, seconds=BOUND)
        assert not any(stream in message for message in heard())
        await pair.second.start()
        await become(pair, "ok", "ok")
        await send(pair.bob, channel)
        assert any(stream in message for message in heard()), "what it would have said"


async def test_writers_on_both_nodes_make_one_order_and_the_same_bytes(pair: Pair[Node]) -> None:
    channel = await pair.channel()
    watchers = [
        Watcher(person, node, channel=channel)
        for person in (pair.alice, pair.bob)
        for node in (pair.first, pair.second)
    ]
    async with watching(*watchers):
        for _ in range(3):
            await asyncio.gather(*(send(person, channel) for person in [pair.alice, pair.bob] * 10))
        await judge(pair.database, watchers, seconds=BOUND)
    first, *others = ([event.frame for event in watcher.events] for watcher in watchers)
    assert len(first) == 60
    assert others == [first] * 3


async def test_what_is_replayed_is_what_was_pushed_byte_for_byte(pair: Pair[Node]) -> None:
    channel = await pair.channel()
    pushed = Watcher(pair.alice, pair.first, channel=channel), Watcher(pair.alice, pair.first)
    async with watching(*pushed):
        begins = [watcher.after for watcher in pushed]
        for person in [pair.alice, pair.bob] * 2:
            message = await send(person, channel)
            await pair.alice.ask(ADD_REACTION, messageId=message, code="heart")
        await pair.bob.ask(LEAVE, channelId=channel)
        await pair.bob.ask(JOIN, channelId=channel)
        await judge(pair.database, pushed, seconds=BOUND)
    # The first node has them in memory, the second one has never shown them to anybody.
    replayed = [
        Watcher(pair.alice, node, channel=watcher.channel, after=after)
        for node in (pair.first, pair.second)
        for watcher, after in zip(pushed, begins, strict=True)
    ]
    async with watching(*replayed):
        await judge(pair.database, replayed, seconds=BOUND)
    assert [watcher.notices[0].recovered for watcher in replayed] == [10] * 4
    assert same_frames(*pushed, *replayed) == 20
