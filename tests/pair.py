"""Two nodes with a Redis, the second one behind a faulty network, and traffic on both: what the fault tests break."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Generic, TypeVar

from redis import Redis

from app.db import Database
from app.events.redis_backend import channels
from tests.conftest import Person
from tests.documents import create_channel
from tests.load import Load
from tests.local_node import LocalNode, local_nodes
from tests.nodes import Address, Node, running
from tests.oracle import judge, same_frames
from tests.redis_server import RedisServer
from tests.tcp_proxy import RedisProxy
from tests.watcher import Watcher, watching

N = TypeVar("N", bound=Address)
RATE = 30.0  # messages a second
# 2 s is what is promised. The rest is for machines that do other things at the same time.
BOUND = 4.0
NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Pair(Generic[N]):
    """alice talks to the `first`, bob to the `second`, which is behind the `proxy`."""

    database: Database
    redis: RedisServer
    proxy: RedisProxy
    first: N
    second: N
    alice: Person
    bob: Person

    async def channel(self) -> str:
        """The id of a new public channel of theirs."""
        return await create_channel(self.alice, f"channel {next(NUMBERS)}", members=(self.bob,))

    def watchers(self, channel: str) -> tuple[Watcher, ...]:
        """On both nodes, of this channel and of everything."""
        return (
            Watcher(self.alice, self.first, channel=channel),
            Watcher(self.alice, self.first),
            Watcher(self.bob, self.second, channel=channel),
            Watcher(self.bob, self.second),
        )


@asynccontextmanager
async def pair_of_nodes(folder: Path, url: str, redis: RedisServer) -> AsyncGenerator[Pair[Node], None]:
    """In processes of their own, on the migrated database at `url`."""
    async with _database(url) as database, RedisProxy(redis.port) as proxy:
        first, second = Node(folder, url, REDIS_URL=redis.url), Node(folder, url, REDIS_URL=proxy.url)
        async with running(first, second):
            alice, bob = await first.person("alice"), await second.person("bob")
            yield Pair(database, redis, proxy, first, second, alice, bob)


@asynccontextmanager
async def local_pair(folder: Path, url: str, redis: RedisServer) -> AsyncGenerator[Pair[LocalNode], None]:
    """In this process, with counters to look at."""
    async with (
        _database(url) as database,
        RedisProxy(redis.port) as proxy,
        local_nodes(folder, url, redis.url, proxy.url) as (first, second),
    ):
        alice, bob = await first.person("alice"), await second.person("bob")
        yield Pair(database, redis, proxy, first, second, alice, bob)


@asynccontextmanager
async def _database(url: str) -> AsyncGenerator[Database, None]:
    """The judge's own connections."""
    database = Database(url, pool_size=2)
    try:
        yield database
    finally:
        await database.dispose()


async def become(pair: Pair[N], *statuses: str) -> None:
    """Wait until this is the readiness of the first and the second node."""
    nodes = pair.first, pair.second
    await asyncio.gather(*(node.becomes(status) for node, status in zip(nodes, statuses, strict=True)))


@asynccontextmanager
async def busy(pair: Pair[N]) -> AsyncGenerator[Load, None]:
    """People write on both nodes, and on both everything is watched, before, during and after what happens inside.

    Each watcher must have, soon after, everything that the log has, each event soon after it was written, as the same
    bytes, over the socket that it began with. The load is that of a channel to which both write. To another one only
    alice writes: nothing that bob's node hears from itself tells it that it missed something there.
    """
    both, hers = await pair.channel(), await pair.channel()
    watchers = pair.watchers(both)
    async with watching(*watchers):
        async with (
            Load([pair.alice, pair.bob] * 2, [both], rate=RATE) as load,
            Load([pair.alice], [hers], rate=5) as own,
        ):
            await load.run(1)
            yield load
            await load.run(0.5)
        await judge(pair.database, watchers, seconds=BOUND)
        for each in (load, own):
            await each.judge(pair.database)
        ends = [(watcher.closes, watcher.sockets) for watcher in watchers]
        assert ends == [([], 1)] * len(watchers), f"sockets closed: {ends}"
        slowest = max(lag for watcher in watchers for lag in watcher.lags())
        assert slowest < BOUND, f"an event came {slowest} s after it was written"
        assert same_frames(*watchers) >= len(load.sent) + len(own.sent)


@contextmanager
def fault(begin: Callable[[], None], end: Callable[[], None]) -> Generator[None, None, None]:
    """It ends whatever happens, so that the next test begins without it."""
    begin()
    try:
        yield
    finally:
        end()


@contextmanager
def hearing(redis: RedisServer) -> Generator[Callable[[], list[bytes]], None, None]:
    """A function that returns what was published since."""
    with Redis.from_url(redis.url) as client, client.pubsub() as subscriber:
        subscriber.subscribe(*channels(0))

        def heard() -> list[bytes]:
            messages = iter(partial(subscriber.get_message, timeout=0.2), None)
            return [message["data"] for message in messages if message["type"] == "message"]

        heard()  # the confirmations
        yield heard
