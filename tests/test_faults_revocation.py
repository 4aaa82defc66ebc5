"""Rights that end while events are on their way: on two nodes, with Redis, and with one that is frozen.

Writers write, a right ends at a random moment, and whoever had it must see nothing that was written after that. Of an
event's content too, since results show things as they are when they are made, not as they were at the event.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from sqlalchemy import text

from app.db import Database, Write
from app.services.access import Actor
from app.services.users import set_user_active
from app.settings import Settings
from tests.conftest import Person
from tests.documents import (
    ADD_MEMBERS,
    DELETE_CHANNEL,
    REMOVE_MEMBER,
    SET_PRIVACY,
    SET_USER_ACTIVE,
    number,
    only,
    scalar,
)
from tests.follower import positions
from tests.live import live
from tests.nodes import Node, running
from tests.oracle import check, judge
from tests.redis_server import RedisServer
from tests.rights_race import SENT, TOLD_SECONDS, Stage, is_told, is_told_of, races, until
from tests.socket_client import Closed, SocketClient, opened
from tests.watcher import Seen, Watcher, watching

pytestmark = pytest.mark.faults

# In each of them all OTHERS are removed, at different moments, one of them twice: 120 removals, and as many without
# Redis.
CHANNELS = 15
OTHERS = 7
COMERS = 20  # who connect while they are switched off
REMOVE, HIDE = only("cursor", REMOVE_MEMBER), only("cursor", SET_PRIVACY)
DELETE, ADD, SWITCH = only("cursor", DELETE_CHANNEL), only("cursor", ADD_MEMBERS), only("cursor", SET_USER_ACTIVE)


@pytest.fixture(scope="module", params=["redis", "frozen redis"])
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str]
) -> AsyncIterator[Stage]:
    is_frozen = request.param == "frozen redis"
    url, folder = new_database(f"faults_revocation_{int(is_frozen)}"), tmp_path_factory.mktemp("nodes")
    database = Database(url, pool_size=2)
    with RedisServer() as redis:
        async with running(Node(folder, url, REDIS_URL=redis.url), Node(folder, url, REDIS_URL=redis.url)) as nodes:
            first, second = nodes
            owners = await first.person("alice", admin=True), await second.person("alice", admin=True)
            writers = [await nodes[place % 2].person(f"writer {place}") for place in range(4)]
            others = [await nodes[place % 2].person(f"other {place}") for place in range(OTHERS)]
            if is_frozen:
                redis.freeze()
            yield Stage(database, (first, second), owners, writers, others)
            if is_frozen:
                redis.thaw()
    await database.dispose()


async def bounce(stage: Stage, channel: str, person: Person) -> None:
    """Out and in again, faster than a node may hear of it."""
    for _ in range(2):
        await stage.end(REMOVE, channel, userId=person.id)
        await stage.owner.ask(ADD, channelId=channel, userIds=[person.id])


async def remove_all(stage: Stage) -> tuple[list[Watcher], dict[int, tuple[str, int]]]:
    """Remove all others, one by one, from a new channel; then let them in again.

    Its watchers, and where each user was removed.
    """
    private = stage.chance.random() < 0.7
    channel, stream = await stage.channel(*stage.writers, *stage.others, private=private)
    *others, bouncing = stage.others
    watchers = [
        stage.watcher(person, channel, is_members_only=private, reconnects=place % 2 == 0)
        for place, person in enumerate(others)
    ]
    async with watching(*watchers):
        ends, *_ = await asyncio.gather(
            asyncio.gather(*(stage.end(REMOVE, channel, userId=each.id) for each in others)),
            bounce(stage, channel, bouncing),
            stage.write(channel),
            stage.disturb(watchers[::2]),
        )
        if private:
            await until(watchers, is_told)
        await stage.owner.ask(ADD, channelId=channel, userIds=[each.id for each in others])
        welcome = await stage.owner.ask(SENT, input={"channelId": channel, "content": "Welcome back!"})
        if not private:
            last = positions(welcome["cursor"])[stream]
            await until(watchers, lambda watcher: watcher.ends.get(stream) == last)
    return watchers, {number(person.id): (stream, end) for person, end in zip(others, ends, strict=True)}


async def test_who_is_removed_sees_nothing_written_after_that(stage: Stage) -> None:
    steady = [Watcher(person, node) for person in stage.others for node in stage.nodes]
    moved = [stage.watcher(person, reconnects=True) for person in stage.others]

    async def move() -> None:
        while True:
            await stage.disturb(moved)

    async with watching(*steady, *moved):
        moving = asyncio.create_task(move())
        found = await races(lambda: remove_all(stage), CHANNELS)
        moving.cancel()
        log = await judge(stage.database, (*steady, *moved), seconds=TOLD_SECONDS)
    for watchers, ends in found:
        for watcher in watchers:
            watcher.errors.clear()
            check(watcher, log)
        for watcher in (*steady, *moved, *watchers):
            if watcher.is_members_only and watcher.user_id in ends:
                stage.check_contents(watcher, *ends[watcher.user_id])
        for watcher in steady:
            stream, end = ends.get(watcher.user_id, ("", 0))
            # Others were in and out again before their node heard of it.
            if any(event.stream == stream and event.seq < end for event in watcher.events):
                assert is_told_of(stream)(watcher)


async def hide(stage: Stage) -> None:
    """Make a public channel private, while people who are not in it watch."""
    channel, stream = await stage.channel(*stage.writers)
    outside = [stage.watcher(each, channel, reconnects=place % 2 == 0) for place, each in enumerate(stage.others)]
    inside = Watcher(stage.writers[0], stage.nodes[0], channel=channel)
    async with watching(inside, *outside):
        end, *_ = await asyncio.gather(
            stage.end(HIDE, channel, isPrivate=True), stage.write(channel), stage.disturb(outside[::2])
        )
        await until(outside, is_told)
        await judge(stage.database, [inside], seconds=TOLD_SECONDS)
    for watcher in outside:
        begin, seqs = watcher.begins[stream].seq, watcher.seqs()[stream]
        assert seqs == [*range(begin + 1, begin + 1 + len(seqs))]
        assert max(seqs, default=0) < end
        stage.check_contents(watcher, stream, end)


async def test_who_is_outside_sees_nothing_written_since_the_channel_became_private(stage: Stage) -> None:
    await races(lambda: hide(stage), CHANNELS // 2)


async def delete(stage: Stage, everything: Sequence[Watcher]) -> None:
    """Delete a channel, while people in it and outside of it watch."""
    channel, stream = await stage.channel(*stage.writers, *stage.others[:2])
    alone = [stage.watcher(each, channel, reconnects=place % 2 == 0) for place, each in enumerate(stage.others)]
    watchers = *alone, *everything
    async with watching(*alone):
        end, *_ = await asyncio.gather(stage.end(DELETE, channel), stage.write(channel), stage.disturb(alone[::2]))
        await until(watchers, is_told_of(stream))
    for watcher in watchers:
        seqs = watcher.seqs()[stream]
        assert (seqs, watcher.errors) == (sorted({*seqs, end}), [])
        last = [item.type if isinstance(item, Seen) else item.kind for item in watcher.items if item.stream == stream]
        assert last[-2:] == ["CHANNEL_DELETED", "ACCESS_REVOKED"]
        stage.check_contents(watcher, stream, end)


async def test_the_deletion_of_a_channel_is_the_last_that_is_told_of_it(stage: Stage) -> None:
    everything = [Watcher(person, node) for person in stage.others[:2] for node in stage.nodes]
    async with watching(*everything):
        await races(lambda: delete(stage, everything), CHANNELS // 2)


async def knock(client: SocketClient, person: Person) -> None:
    await client.send({"type": "connection_init", "payload": {"Authorization": f"Bearer {person.token}"}})


async def come(stage: Stage, person: Person) -> Closed:
    """Connect, sometime. How the server ends it."""
    await stage.sometime()
    async with opened(stage.chance.choice(stage.nodes).port) as client:
        await knock(client, person)
        return await client.closed()


async def switch_off(stage: Stage, person: Person) -> None:
    await stage.sometime()
    await stage.owner.ask(SWITCH, userId=person.id, active=False)


async def test_who_is_switched_off_is_out_until_switched_on_again(stage: Stage) -> None:
    channel, _ = await stage.channel(*stage.writers, *stage.others)
    for person in stage.others[:4]:
        watchers = [Watcher(person, node, reconnects=True) for node in stage.nodes]
        watchers += [Watcher(person, node, channel=channel, reconnects=True) for node in stage.nodes]
        async with watching(*watchers):
            coming = asyncio.gather(*(come(stage, person) for _ in range(COMERS)))
            await asyncio.gather(switch_off(stage, person), stage.write(channel))
            assert {end.code for end in await coming} <= {4403, 1013}
            await until(watchers, lambda watcher: "deactivated" in str(watcher.closes[-1:]))
            seen = [len(watcher.items) for watcher in watchers]
            await stage.write(channel)
            assert [len(watcher.items) for watcher in watchers] == seen
            await stage.owner.ask(SWITCH, userId=person.id, active=True)
            await judge(stage.database, watchers, seconds=TOLD_SECONDS)
        assert {close.code for watcher in watchers for close in watcher.closes} <= {4403, 1013}


async def test_who_is_switched_off_while_being_looked_up_does_not_get_in(
    settings: Settings, new_database: Callable[[str], str]
) -> None:
    database = Database(url := new_database("faults_switched"), pool_size=1)
    async with live(settings, url) as server:
        root, bob = await server.person("root", admin=True), await server.person("bob")
        locked, is_asked = asyncio.Event(), asyncio.Event()

        async def unit(write: Write) -> None:
            # Who is looked up now waits, in a snapshot from before.
            await write.run(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
            locked.set()
            await is_asked.wait()
            await set_user_active(write, Actor(number(root.id), is_workspace_admin=True), number(bob.id), active=False)

        writing = server.services.database.write(unit)
        switching = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(writing, server.served.loop))
        while not await server.call(locked.is_set):  # noqa: ASYNC110 - elsewhere
            await asyncio.sleep(0.01)
        async with opened(server.served.port) as client:
            await knock(client, bob)
            while await scalar(database, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 0:  # noqa: ASYNC110 - elsewhere
                await asyncio.sleep(0.01)
            await server.call(is_asked.set)
            await switching
            # Told to try again where the server heard of the commit first, cut off where the look-up was faster.
            assert (await client.closed()).code in {1013, 4403}
        async with opened(server.served.port) as client:
            await knock(client, bob)
            assert (await client.closed()).code == 4403
    await database.dispose()
