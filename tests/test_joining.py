"""A channel that somebody joins is followed from there on, even if the database fails at that very moment."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from app.db import Database, Write
from app.services.access import Actor
from app.services.memberships import add_members
from app.settings import Settings
from tests.conftest import Person
from tests.documents import DELETE_CHANNEL, create_channel, number, select, send
from tests.live import Listener, Live, live

EVENTS = "subscription { viewerEvents { ... on StreamNotice { kind channelId } ... on Event { type channelId } } }"
WAITING = "SELECT pid FROM pg_locks WHERE relation = 'memberships'::regclass AND NOT granted"


@pytest.fixture(scope="module")
async def database(new_database: Callable[[str], str]) -> AsyncIterator[Database]:
    """The test's own connections: those of the server are of another loop."""
    found = Database(new_database("parley_joining"), pool_size=2)
    yield found
    await found.dispose()


@pytest.fixture(scope="module")
async def server(settings: Settings, database: Database) -> AsyncIterator[Live]:
    async with live(settings, database.engine.url.render_as_string(hide_password=False)) as running:
        yield running


async def waiting(database: Database, count: int) -> list[int]:
    """The processes of PostgreSQL that wait for the memberships, as soon as they are so many."""
    async with asyncio.timeout(10):
        while len(found := [row.pid for row in await select(database, WAITING)]) != count:  # noqa: ASYNC110 - no event of ours
            await asyncio.sleep(0.01)
    return found


async def join(server: Live, database: Database, adder: Person, added: Person, channel: str) -> None:
    """Add somebody. When their subscription then asks what it follows from now on, that fails."""
    is_added, is_locked = asyncio.Event(), asyncio.Event()

    async def unit(write: Write) -> None:
        await add_members(write, Actor(number(adder.id)), number(channel), [number(added.id)])
        is_added.set()
        await is_locked.wait()

    writing = server.services.database.write(unit)
    written = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(writing, server.served.loop))
    while not await server.call(is_added.is_set):  # noqa: ASYNC110 - set on another loop
        await asyncio.sleep(0.01)
    async with database.engine.begin() as connection:
        # Waits for the writer, and is there before anybody who reads what that has written.
        locking = asyncio.create_task(connection.execute(text("LOCK TABLE memberships IN ACCESS EXCLUSIVE MODE")))
        await waiting(database, 1)
        await server.call(is_locked.set)
        await written
        await locking
        [reader] = await waiting(database, 1)
        await select(database, "SELECT pg_cancel_backend(:pid)", pid=reader)
        await waiting(database, 0)


@asynccontextmanager
async def following(server: Live, person: Person) -> AsyncGenerator[Listener, None]:
    async with server.listener(person) as listener:
        await listener.subscribe("all", EVENTS)
        yield listener


def told(listener: Listener, channel: str) -> list[str]:
    """What about this channel."""
    return [item.get("type") or item["kind"] for item in listener.items("all") if item["channelId"] == channel]


async def test_a_channel_is_followed_even_if_that_fails_at_first(server: Live, database: Database) -> None:
    alice, bob = await server.person("alice"), await server.person("bob")
    channel = await create_channel(alice, "followed")
    async with following(server, bob) as listener:
        await join(server, database, alice, bob, channel)
        await send(alice, channel)
        await listener.until(lambda: "MESSAGE_CREATED" in told(listener, channel))
        assert told(listener, channel) == ["MEMBER_JOINED", "MEMBER_JOINED", "MESSAGE_CREATED"], (
            "their own, the channel's"
        )


async def test_a_channel_that_is_deleted_before_it_is_followed_is_told_to_be(server: Live, database: Database) -> None:
    alice, bob = await server.person("alice"), await server.person("bob")
    channel = await create_channel(alice, "deleted")
    async with following(server, bob) as listener:
        await join(server, database, alice, bob, channel)
        await alice.ask(DELETE_CHANNEL, channelId=channel)
        await listener.until(lambda: "ACCESS_REVOKED" in told(listener, channel))
        assert told(listener, channel)[-2:] == ["CHANNEL_DELETED", "ACCESS_REVOKED"]
