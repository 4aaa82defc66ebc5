"""What happens when PostgreSQL goes away under load, and when the server does before it could tell what it wrote."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from app.auth import LocalIssuer
from app.db import Database
from app.embedded import EmbeddedPostgres
from app.migrate import migrate
from tests.conftest import Person
from tests.documents import JOIN, SEND, create_channel, only, request_error, scalar, send
from tests.load import Load
from tests.nodes import Node, running
from tests.oracle import judge
from tests.pair import BOUND, fault
from tests.socket_client import opened
from tests.watcher import Watcher, watching

pytestmark = pytest.mark.faults

RATE = 30.0
KEYED = only("message { id } deduplicated", SEND)
FOLLOW = "subscription { viewerEvents { __typename } }"
MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Set:
    """A node with a PostgreSQL of its own, and the judge's connections to that."""

    postgres: EmbeddedPostgres
    database: Database
    node: Node
    alice: Person
    bob: Person

    def end(self, number: signal.Signals) -> None:
        """SIGINT: as a service manager does, with a checkpoint. SIGKILL: as the kernel does when memory is short."""
        os.kill(self.postgres.pid, number)
        self.postgres.stop()

    async def channel(self, name: str) -> str:
        return await create_channel(self.alice, name, members=(self.bob,))

    def watchers(self, channel: str) -> tuple[Watcher, ...]:
        return Watcher(self.alice, self.node, channel=channel), Watcher(self.bob, self.node)


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    # What was acknowledged is in the hands of the operating system, which outlives a killed PostgreSQL.
    options = {"fsync": "off"}
    with (
        tempfile.TemporaryDirectory(prefix="parley-test-") as folder,
        EmbeddedPostgres(Path(folder), options=options) as running_one,
    ):
        migrate(running_one.url())
        yield running_one


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory, postgres: EmbeddedPostgres) -> AsyncIterator[Set]:
    url = postgres.url()
    node, database = Node(tmp_path_factory.mktemp("node"), url), Database(url, pool_size=2)
    try:
        async with running(node):
            yield Set(postgres, database, node, await node.person("alice"), await node.person("bob"))
    finally:
        await database.dispose()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
async def test_a_restart_loses_nothing_acknowledged_and_no_socket(place: Set, how: signal.Signals) -> None:
    watchers = place.watchers(channel := await place.channel(f"restart by {how.name}"))
    async with watching(*watchers):
        async with Load([place.alice, place.bob] * 2, [channel], rate=RATE) as load:
            await load.run(1)
            with fault(partial(place.end, how), place.postgres.start):
                await load.run(1)
            # At once: more requests than there are connections, of which each is a dead one.
            await asyncio.gather(*(send(person, channel) for person in [place.alice, place.bob] * 10))
            await load.run(1)
        await judge(place.database, watchers, seconds=BOUND)
        await load.judge(place.database)
        assert [(watcher.closes, watcher.sockets) for watcher in watchers] == [([], 1)] * 2
    assert load.failures.total() > 0
    assert all("UNAVAILABLE" in failure for failure in load.failures), load.failures
    assert load.unknown == set()


async def knock(port: int, token: str) -> str | int:
    """What somebody who comes anew is told: the code of an error, or of the close frame."""
    async with opened(port) as client:
        await client.send({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
        await client.subscribe("1", FOLLOW)
        try:
            # The server remembers for a moment who is who, and then can let them in.
            while (answer := await client.receive())["type"] == "connection_ack":
                pass
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd is not None else 1006
        return str(answer["payload"][0]["extensions"]["code"])


async def test_ten_seconds_without_it_cost_no_socket_and_no_memory(place: Set) -> None:
    watchers = place.watchers(channel := await place.channel("ten seconds"))
    stranger = LocalIssuer(place.node.folder).issue("stranger")
    async with watching(*watchers):
        await send(place.alice, channel)
        await judge(place.database, watchers, seconds=BOUND)
        before = place.node.resident_bytes
        with fault(partial(place.end, signal.SIGINT), place.postgres.start):
            ends = time.monotonic() + 10
            assert await place.node.readiness() == "unavailable"
            knocks = 0
            while time.monotonic() < ends:
                assert await knock(place.node.port, stranger) == 1013
                assert await knock(place.node.port, place.bob.token) in {1013, "UNAVAILABLE"}
                said = {"channelId": channel, "content": "Is anybody there?"}
                assert await request_error(place.bob, KEYED, input=said) == "UNAVAILABLE"
                knocks += 1
            assert knocks > 10
            assert [(watcher.closes, watcher.sockets) for watcher in watchers] == [([], 1)] * 2
            grown = place.node.resident_bytes - before
        back = time.monotonic()
        carol = await place.node.person("carol")
        await carol.ask(JOIN, channelId=channel)
        async with watching(late := Watcher(carol, place.node)):
            await send(carol, channel)
            await judge(place.database, [*watchers, late], seconds=BOUND)
        assert time.monotonic() < back + 2 * BOUND
        assert [(watcher.closes, watcher.sockets) for watcher in watchers] == [([], 1)] * 2
    assert grown < 30 * MEGABYTE, grown


async def test_a_mutation_whose_answer_was_lost_can_be_sent_again(place: Set) -> None:
    watchers = [
        Watcher(person, place.node, channel=channel, reconnects=True)
        for channel in [await place.channel("lost answers")]
        for person in (place.alice, place.bob)
    ]
    channel = str(watchers[0].channel)

    async def post(key: str) -> bool:
        given = {"channelId": channel, "content": f"This is {key}.", "clientKey": key}
        return bool((await place.alice.ask(KEYED, input=given))["deduplicated"])

    async def stored() -> int:
        found: int = await scalar(place.database, "SELECT count(*) FROM messages WHERE client_key LIKE 'again-%'")
        return found

    keys = [f"again-{number}" for number in range(8)]
    async with watching(*watchers):
        async with Load([place.alice] * 4 + [place.bob] * 4, [channel], rate=200) as load:
            for turn in range(2):
                await load.run(1)
                asked = [asyncio.create_task(post(key)) for key in keys[turn * 4 : turn * 4 + 4]]
                async with asyncio.timeout(10):
                    while await stored() == turn * 4:
                        pass
                await place.node.kill()
                answers = await asyncio.gather(*asked, return_exceptions=True)
                assert all(isinstance(answer, bool | httpx.TransportError) for answer in answers), answers
                written = await stored()
                await place.node.start()
                again = [await post(key) for key in keys[turn * 4 : turn * 4 + 4]]
                assert again.count(True) == written - turn * 4 > 0
                assert await stored() == (turn + 1) * 4
            await load.run(0.5)
        await load.judge(place.database)
        await judge(place.database, watchers, seconds=2 * BOUND)
    assert any(sent.tries > 1 for sent in load.sent.values())
    assert load.unknown == set()
