"""What happens to sockets when servers end: stopped one after the other, killed, one process of several."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app.auth import LocalIssuer
from app.db import Database
from tests.conftest import Person
from tests.documents import JOIN, create_channel, send
from tests.eventually import eventually
from tests.load import Load
from tests.nodes import Address, Node
from tests.oracle import judge
from tests.pair import BOUND, RATE, Pair, become, pair_of_nodes
from tests.processes import Served, serving
from tests.redis_server import RedisServer
from tests.test_workers import workers
from tests.watcher import Watcher, watching

pytestmark = pytest.mark.faults

USERS, SOCKETS_EACH = 60, 5
# 10 s is what is promised. The rest is for machines that do other things at the same time, as the clients here.
STORM_SECONDS = 20


@pytest.fixture(scope="module")
async def started(
    tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str]
) -> AsyncIterator[Pair[Node]]:
    folder = tmp_path_factory.mktemp("nodes")
    with RedisServer() as redis:
        async with pair_of_nodes(folder, new_database("faults_restarts"), redis) as pair:
            yield pair


@pytest.fixture
async def pair(started: Pair[Node]) -> Pair[Node]:
    await become(started, "ok", "ok")
    return started


async def test_a_rolling_restart_tells_everybody_and_loses_nothing(pair: Pair[Node]) -> None:
    channel = await pair.channel()
    watchers = [
        Watcher(person, *nodes, channel=each, reconnects=True)
        for person, *nodes in ((pair.alice, pair.first, pair.second), (pair.bob, pair.second, pair.first))
        for each in (channel, None)
    ]
    async with watching(*watchers):
        others = [pair.bob.http, pair.alice.http]
        async with Load([pair.alice, pair.bob] * 2, [channel], rate=RATE, elsewhere=others) as load:
            for node in (pair.first, pair.second):
                await load.run(0.5)
                assert await node.stop() == 0
                await load.run(0.5)
                await node.start()
                await become(pair, "ok", "ok")
            await load.run(0.5)
        await judge(pair.database, watchers, seconds=BOUND)
        await load.judge(pair.database)
    for watcher in watchers:
        assert watcher.closes != []
        assert {closed.code for closed in watcher.closes} == {1012}
        assert watcher.kinds().count("SERVER_DRAINING") == len(watcher.closes)
    assert load.unknown == set()


async def crowd(pair: Pair[Node], channel: str) -> list[Person]:
    """Members of the channel."""
    issuer = LocalIssuer(pair.first.folder)
    people = [Person(name, issuer.issue(name), pair.alice.http) for name in (f"user {turn}" for turn in range(USERS))]
    for person in people:
        person.id = (await person.ask("{ viewer { user { id } } }"))["user"]["id"]
        await person.ask(JOIN, channelId=channel)
    return people


async def test_all_who_were_on_a_killed_node_are_back_soon_on_the_other(pair: Pair[Node]) -> None:
    channel = await pair.channel()
    watchers = [
        Watcher(person, pair.first, pair.second, channel=each, reconnects=True)
        for person in await crowd(pair, channel)
        for each in [None] * (SOCKETS_EACH - 1) + [channel]
    ]
    async with watching(*watchers):
        await send(pair.bob, channel)
        await judge(pair.database, watchers, seconds=2 * BOUND)
        before = len(pair.second.log)
        async with Load([pair.bob], [channel], rate=2) as load:
            await pair.first.kill()
            killed = time.monotonic()
            # READY is behind the answers to all queries that a socket costs.
            await eventually(lambda: all(each.kinds().count("READY") > 1 for each in watchers), STORM_SECONDS)
            took = time.monotonic() - killed
            await load.run(1)
        await judge(pair.database, watchers, seconds=2 * BOUND)
        await load.judge(pair.database)
        await pair.first.start()
    assert took < STORM_SECONDS
    assert len(load.sent) > 0
    assert load.failures.total() == 0, load.failures
    assert {closed.code for each in watchers for closed in each.closes} == {1006}
    assert [each.sockets for each in watchers] == [2] * len(watchers), "once is enough"
    said = pair.second.log[before:]
    assert "ERROR" not in said, said
    assert "unavailable" not in said, said


class Front(Address):
    """The port that several processes share."""

    def __init__(self, server: Served) -> None:
        self.port = int(server.url.rpartition(":")[2])


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """New connections go to others, those that it has wait."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_events_cross_from_worker_to_worker_and_over_the_end_of_one(new_database: Callable[[str], str]) -> None:
    url = new_database("faults_workers")
    with tempfile.TemporaryDirectory(prefix="parley-workers-") as home, RedisServer() as redis:
        folder, plain_url = Path(home), url.replace("+asyncpg", "")
        with serving(folder, "--no-migrate", "--workers", "2", DB_URL=plain_url, REDIS_URL=redis.url) as server:
            front, database = Front(server), Database(url, pool_size=2)
            async with httpx.AsyncClient(base_url=front.url, timeout=30, trust_env=False) as http:
                people = [Person(name, LocalIssuer(folder).issue(name), http) for name in ("alice", "bob")]
                for person in people:
                    person.id = (await person.ask("{ viewer { user { id } } }"))["user"]["id"]
                alice, bob = people
                channel = await create_channel(alice, "workers", members=(bob,))
            pids = sorted(workers(server))
            groups = [
                [Watcher(person, front, channel=each, reconnects=True) for person in people for each in (channel, None)]
                for _ in pids
            ]
            try:
                await follow_workers(front, database, people, channel, dict(zip(pids, groups, strict=True)))
            finally:
                await database.dispose()


async def follow_workers(
    front: Address, database: Database, people: list[Person], channel: str, groups: dict[int, list[Watcher]]
) -> None:
    """`groups`: who is to be on which worker."""
    everybody = [watcher for group in groups.values() for watcher in group]
    (first, on_first), (second, on_second) = groups.items()
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=front.url, timeout=30, trust_env=False) as http:
        writers = [Person(person.name, person.token, http, person.id) for person in people] * 2
        with frozen(second):
            await asyncio.gather(*(watcher.start() for watcher in on_first))
        with frozen(first):
            await asyncio.gather(*(watcher.start() for watcher in on_second))
        try:
            async with Load(writers, [channel], rate=RATE) as load:
                await load.run(1)
                os.kill(first, signal.SIGKILL)
                await eventually(lambda: all(watcher.sockets == 2 for watcher in on_first))
                await load.run(1)
            await judge(database, everybody, seconds=BOUND)
            await load.judge(database)
        finally:
            await asyncio.gather(*(watcher.stop() for watcher in everybody))
    assert [watcher.sockets for watcher in on_second] == [1] * len(on_second), "they were not on the other worker"
    assert max(lag for watcher in on_second for lag in watcher.lags()) < BOUND
