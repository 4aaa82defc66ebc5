"""Readers that make it hard for themselves: they read nothing, come back too late, or with a token that ends."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from jose import jwt
from sqlalchemy import text

from app.auth import LocalIssuer
from app.db import Database
from app.services.retention import forget_old_events
from tests.conftest import Person
from tests.documents import create_channel, number, scalar, send
from tests.eventually import eventually
from tests.hand_reader import reading
from tests.load import Load
from tests.nodes import Node, running
from tests.oracle import judge
from tests.pair import BOUND
from tests.watcher import Watcher, watching

pytestmark = pytest.mark.faults

CONTENT = "All work and no play makes Jack a dull boy. " * 46  # 2 KB
# Held in memory, what the readers do not take would be 50 MB. More would take too long: after 40 s they are given up.
READERS, MESSAGES, WRITERS, AT_ONCE = 20, 960, 8, 10
DAYS = 7
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
async def judged(new_database: Callable[[str], str]) -> AsyncIterator[Database]:
    """The judge's own connections."""
    made = Database(new_database("faults_readers"), pool_size=2)
    yield made
    await made.dispose()


@pytest.fixture(scope="module")
async def node(judged: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    url = judged.engine.url.render_as_string(hide_password=False)
    async with running(Node(tmp_path_factory.mktemp("node"), url)) as (node,):
        yield node


@pytest.fixture(scope="module")
async def alice(node: Node) -> Person:
    return await node.person("alice")


def end_of(token: str) -> int:
    """Seconds since 1970."""
    claims: Any = jwt.get_unverified_claims(token)
    return int(claims["exp"])


async def post(person: Person, channel: str, count: int) -> None:
    """Many messages, several in a request."""
    assert count % AT_ONCE == 0
    said = {"channelId": channel, "content": CONTENT}
    sending = " ".join(
        f"m{turn}: sendMessage(input: $input) {{ errors {{ code message }} }}" for turn in range(AT_ONCE)
    )
    for _ in range(count // AT_ONCE):
        body = await person.send(f"mutation ($input: SendMessageInput!) {{ {sending} }}", input=said)
        assert all(payload["errors"] == [] for payload in body["data"].values()), body


async def post_all(person: Person, channel: str, count: int) -> None:
    assert count % WRITERS == 0
    await asyncio.gather(*(post(person, channel, count // WRITERS) for _ in range(WRITERS)))


async def test_readers_that_are_stuck_cost_little_and_get_all_in_the_end(
    judged: Database, node: Node, alice: Person
) -> None:
    channel = await create_channel(alice, "stuck")
    await post_all(alice, channel, 240)  # what the server needs once, for so many requests at a time
    async with watching(other := Watcher(alice, node, channel=channel)), AsyncExitStack() as stack:
        opening = (stack.enter_async_context(reading(node.port, alice, channel)) for _ in range(READERS))
        readers = [await each for each in opening]
        before = most = node.resident_bytes
        writing = asyncio.create_task(post_all(alice, channel, MESSAGES))
        while not writing.done():
            await asyncio.wait([writing], timeout=0.1)
            most = max(most, node.resident_bytes)
        await writing
        await judge(judged, [other], seconds=BOUND)
        slowest = max(other.lags())
        tasks = [asyncio.create_task(reader.read_until(MESSAGES)) for reader in readers]
        _, late = await asyncio.wait(tasks, timeout=30)
        assert not late, [len(reader.events) for reader in readers]
        await asyncio.gather(*tasks)
        most = max(most, node.resident_bytes)
        await send(alice, channel)
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*(reader.read_until(MESSAGES + 1) for reader in readers))
        await judge(judged, [other], seconds=BOUND)
        for reader in readers:
            assert reader.kinds[:2] == ["READY", "SLOW_CONSUMER"]
            assert "RESYNC_REQUIRED" not in reader.kinds
            assert reader.events == [event.frame for event in other.events]
    assert most - before < 40 * MEGABYTE, most - before
    assert slowest < BOUND


async def test_a_reader_that_is_cut_off_while_it_is_stuck_stops_nobody(
    judged: Database, node: Node, alice: Person
) -> None:
    channel = await create_channel(alice, "cut off")
    short = replace(alice, token=LocalIssuer(node.folder).issue("alice", ttl=12))
    async with watching(other := Watcher(alice, node, channel=channel)), reading(node.port, short, channel) as reader:
        await post_all(alice, channel, 640)  # twice what all buffers on the way hold
        await judge(judged, [other], seconds=BOUND)
        await asyncio.sleep(end_of(short.token) - time.time() + 1)
        async with asyncio.timeout(10):
            await send(alice, channel)
        await judge(judged, [other], seconds=BOUND)
        with pytest.raises(EOFError):  # no close frame has room
            await reader.read_until(MESSAGES)


async def trim(database: Database, stream: str, to: int) -> None:
    """What is up to here was long ago."""
    async with database.engine.begin() as connection:
        aged = "UPDATE stream_events SET at = at - interval '8 days' WHERE stream_id = :stream AND seq <= :to"
        await connection.execute(text(aged), {"stream": stream, "to": to})
    await forget_old_events(database, DAYS)
    floor = await scalar(database, "SELECT floor_seq FROM stream_heads WHERE stream_id = :stream", stream=stream)
    assert floor == to


async def test_who_comes_back_below_the_floor_is_told_and_at_the_floor_gets_all(
    judged: Database, node: Node, alice: Person
) -> None:
    channel = await create_channel(alice, "retention")
    stream = f"c{number(channel)}"
    # Of all that alice follows, and of the channel alone.
    early = Watcher(alice, node), Watcher(alice, node, channel=channel)
    async with watching(*early):
        await send(alice, channel)
        await judge(judged, early, seconds=BOUND)
        below = [watcher.after for watcher in early]
        await send(alice, channel)
        await judge(judged, early, seconds=BOUND)
        at_floor = [watcher.after for watcher in early]
        floor = early[0].ends[stream]
        for _ in range(3):
            await send(alice, channel)
        await judge(judged, early, seconds=BOUND)
    await trim(judged, stream, floor)

    def back(cursors: list[list[str]]) -> list[Watcher]:
        return [
            Watcher(alice, node, channel=watcher.channel, after=after)
            for watcher, after in zip(early, cursors, strict=True)
        ]

    too_late, in_time = back(below), back(at_floor)
    async with watching(*too_late, *in_time):
        await judge(judged, in_time, seconds=BOUND)
        assert [watcher.kinds() for watcher in too_late] == [["READY", "RESYNC_REQUIRED"]] * 2
        assert [watcher.events for watcher in too_late] == [[], []], "a part of what was missed"
        assert [watcher.seqs()[stream] for watcher in in_time] == [[floor + 1, floor + 2, floor + 3]] * 2
        again = back([watcher.after for watcher in too_late])
        async with watching(*again):
            await send(alice, channel)
            await judge(judged, [*in_time, *again], seconds=BOUND)
        assert [watcher.seqs() for watcher in [*too_late, *again]] == [{stream: [floor + 4]}] * 4


async def test_a_token_that_ends_closes_the_socket_and_another_one_goes_on(
    judged: Database, node: Node, alice: Person
) -> None:
    channel = await create_channel(alice, "token")
    issuer = LocalIssuer(node.folder)
    person = replace(alice, token=issuer.issue("alice", ttl=3))
    watchers = [Watcher(person, node, channel=each, reconnects=True) for each in (channel, None)]
    ends = end_of(person.token)
    async with watching(*watchers):
        async with Load([alice] * 2, [channel], rate=20) as load:
            await eventually(lambda: all(watcher.closes for watcher in watchers))
            assert math.floor(time.time()) >= ends
            assert time.time() < ends + 5
            await load.run(0.5)  # it is lost on them
            person.token = issuer.issue("alice")
            await eventually(lambda: all(watcher.sockets == 2 for watcher in watchers))
            await load.run(0.5)
        await judge(judged, watchers, seconds=BOUND)
        await load.judge(judged)
    for watcher in watchers:
        assert {closed.code for closed in watcher.closes} == {4403}
        assert watcher.closes[0].reason == "Token expired"
        assert "SESSION_EXPIRING" in watcher.kinds()
