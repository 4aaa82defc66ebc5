"""Who is typing, as the members of a channel are told on two servers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Newcomer, Person
from tests.documents import (
    ARCHIVE,
    DELETE_CHANNEL,
    JOIN,
    LEAVE,
    REMOVE_MEMBER,
    SET_PRIVACY,
    create_channel,
    denied,
    open_dm,
    reply,
    send,
)
from tests.eventually import eventually
from tests.live_servers import QUICK, SET_TYPING, TYPING, Listening, LiveServer, Place, serving
from tests.redis_server import RedisServer

# For what ends by itself. Elsewhere it ends after the test.
SHORT = replace(QUICK, typing=1.5, renewal=0.5)


@dataclass(frozen=True, slots=True)
class Room:
    """A channel of these people, who are on the first server, and two servers."""

    one: LiveServer
    other: LiveServer
    id: str
    people: tuple[Person, ...]

    @asynccontextmanager
    async def listening(self, *places: tuple[LiveServer, Person]) -> AsyncGenerator[list[Listening], None]:
        async with AsyncExitStack() as stack:
            listeners = []
            for at, person in places:
                listeners.append(await stack.enter_async_context(at.listen(person.name, TYPING, channel=self.id)))
            for listener in listeners:
                await listener.begun(self.id)
            yield listeners


@pytest.fixture
async def room(one: LiveServer, other: LiveServer, request: pytest.FixtureRequest) -> Room:
    return await new_room(one, other, request.node.name)


async def new_room(one: LiveServer, other: LiveServer, name: str, *, private: bool = True) -> Room:
    people = tuple([await one.person(person) for person in ("ada", "ben", "cleo")])
    channel = await create_channel(people[0], name[:80], private=private, members=people[1:])
    return Room(one, other, channel, people)


async def set_typing(person: Person, channel: str, *, typing: bool = True) -> None:
    payload = await person.ask(SET_TYPING, channelId=channel, typing=typing)
    assert payload == {"channel": {"id": channel}, "deduplicated": False, "errors": [], "cursor": None}


def brief(event: dict[str, Any]) -> tuple[str, bool]:
    return event["user"]["name"], event["typing"]


async def all_told(listeners: list[Listening], name: str, *, typing: bool) -> None:
    """The next thing that each of them is told."""
    for listener in listeners:
        assert brief(await listener.next()) == (name, typing)


async def test_members_are_told_on_every_server_who_begins_and_ends(room: Room) -> None:
    ada, ben, cleo = room.people
    async with room.listening((room.one, ben), (room.other, cleo), (room.other, ada)) as listeners:
        begin = datetime.now(UTC)
        await set_typing(ada, room.id)
        for listener in listeners:
            event = await listener.next()
            assert (event["channelId"], brief(event)) == (room.id, ("ada", True)), "the typist's own devices too"
            lasts = datetime.fromisoformat(event["expiresAt"]) - begin
            assert timedelta(seconds=QUICK.typing - 0.001) <= lasts < timedelta(seconds=QUICK.typing + 10)
        await set_typing(ada, room.id, typing=False)
        await all_told(listeners, "ada", typing=False)


async def test_what_is_not_renewed_ends_by_itself_on_every_server(place: Place) -> None:
    async with serving(place, SHORT) as one, serving(place, SHORT) as other:
        room = await new_room(one, other, "expires")
        async with room.listening((one, room.people[1]), (other, room.people[1])) as listeners:
            await set_typing(room.people[0], room.id)
            await all_told(listeners, "ada", typing=True)
            await all_told(listeners, "ada", typing=False)
            # And from the beginning.
            await set_typing(room.people[0], room.id)
            await all_told(listeners, "ada", typing=True)


async def test_it_ends_though_the_typists_server_is_not_heard_any_more(place: Place, redis: RedisServer) -> None:
    place = replace(place, settings=replace(place.settings, redis_url=redis.url))
    async with serving(place, SHORT) as one, serving(place, SHORT) as other:
        room = await new_room(one, other, "unheard")
        async with room.listening((other, room.people[1])) as listeners:
            await set_typing(room.people[0], room.id)
            await all_told(listeners, "ada", typing=True)
            redis.kill()
            await all_told(listeners, "ada", typing=False)


async def test_saying_it_again_too_soon_tells_nobody(room: Room) -> None:
    ada, ben, _ = room.people
    ada_elsewhere = await room.other.person("ada")
    async with room.listening((room.one, ben), (room.other, ben)) as listeners:
        await set_typing(ada, room.id)
        await all_told(listeners, "ada", typing=True)
        for _ in range(5):
            await set_typing(ada, room.id)
            await set_typing(ada_elsewhere, room.id)
        await set_typing(ada, room.id, typing=False)
        await all_told(listeners, "ada", typing=False)
        await set_typing(ada, room.id, typing=False)
        await set_typing(ben, room.id)
        await all_told(listeners, "ben", typing=True)


async def test_going_on_is_told_once_it_is_time(place: Place) -> None:
    times = replace(QUICK, renewal=0.3)
    async with serving(place, times) as one, serving(place, times) as other:
        room = await new_room(one, other, "renewed")
        async with room.listening((one, room.people[1]), (other, room.people[1])) as listeners:
            await set_typing(room.people[0], room.id)
            first = [await listener.next() for listener in listeners]
            await asyncio.sleep(2 * times.renewal)
            await set_typing(room.people[0], room.id)
            for listener, before in zip(listeners, first, strict=True):
                event = await listener.next()
                assert brief(event) == ("ada", True)
                assert event["expiresAt"] > before["expiresAt"]


async def test_whoever_begins_again_at_once_is_not_forgotten(place: Place) -> None:
    times = replace(QUICK, renewal=2.0)
    async with serving(place, times) as one:
        room = await new_room(one, one, "begins again")
        async with room.listening((one, room.people[1])) as listeners:
            await set_typing(room.people[0], room.id)
            for typing in (False, True, False, True):
                await set_typing(room.people[0], room.id, typing=typing)
            for typing in (True, False, True):
                await all_told(listeners, "ada", typing=typing)
            # But not when it was over before it was told.
            for typing in (False, True, False):
                await set_typing(room.people[0], room.id, typing=typing)
            await all_told(listeners, "ada", typing=False)
            await asyncio.sleep(1.2 * times.renewal)
            await set_typing(room.people[1], room.id)
            await all_told(listeners, "ben", typing=True)


async def test_posting_ends_it_on_every_server(room: Room) -> None:
    ada, ben, cleo = room.people
    ada_elsewhere, cleo_elsewhere = await room.other.person("ada"), await room.other.person("cleo")
    async with room.listening((room.one, ben), (room.other, ben)) as listeners:
        for person in (ada, cleo):
            await set_typing(person, room.id)
            await all_told(listeners, person.name, typing=True)
        message = await send(ada_elsewhere, room.id)
        await all_told(listeners, "ada", typing=False)
        await reply(cleo_elsewhere, message)
        await all_told(listeners, "cleo", typing=False)


async def test_whoever_comes_late_is_told_who_types(room: Room) -> None:
    ada, ben, cleo = room.people
    async with room.listening((room.other, ben)) as listeners:
        for person in (ada, cleo):
            await set_typing(person, room.id)
            await all_told(listeners, person.name, typing=True)
        await set_typing(cleo, room.id, typing=False)
        await all_told(listeners, "cleo", typing=False)
    async with room.listening((room.one, cleo), (room.other, cleo)) as listeners:
        await all_told(listeners, "ada", typing=True)
        await set_typing(ada, room.id, typing=False)
        await all_told(listeners, "ada", typing=False)


async def test_channels_are_kept_apart(one: LiveServer, other: LiveServer) -> None:
    """Though the document is the same, so that the two share all but the channel."""
    here, there = await new_room(one, other, "here"), await new_room(one, other, "there")
    ada, ben, cleo = here.people
    async with here.listening((other, ben)) as in_here, there.listening((other, cleo)) as in_there:
        await set_typing(ada, here.id)
        await set_typing(ada, there.id)
        for room, (listener,) in ((here, in_here), (there, in_there)):
            event = await listener.next()
            assert (event["channelId"], brief(event)) == (room.id, ("ada", True))
        await set_typing(ben, here.id)
        await set_typing(cleo, there.id)
        await all_told(in_here, "ben", typing=True)
        await all_told(in_there, "cleo", typing=True)


async def test_a_direct_message_has_it_too(one: LiveServer, other: LiveServer) -> None:
    ada, ben = await one.person("ada"), await one.person("ben")
    room = Room(one, other, await open_dm(ada, ben), (ada, ben))
    async with room.listening((other, ben)) as listeners:
        await set_typing(ada, room.id)
        await all_told(listeners, "ada", typing=True)


async def test_an_event_is_executed_once_for_all(room: Room) -> None:
    ada, ben, cleo = room.people
    places = [(room.one, ben), (room.one, cleo), (room.one, ben), (room.one, cleo), (room.one, ada)]
    async with room.listening(*places) as listeners:
        (group,) = [group for key, group in room.one.services.groups.items() if key[0][0] == TYPING]
        before = group.executions
        await set_typing(ada, room.id)
        await all_told(listeners, "ada", typing=True)
        assert group.executions == before + 1


# Who may.


async def test_whoever_may_not_post_may_not_say_it(newcomer: Newcomer, database: Any) -> None:
    alice, bob, carol = [await newcomer(name) for name in ("alice", "bob", "carol")]
    secret = await create_channel(alice, "secret", private=True)
    public = await create_channel(alice, "public", members=(bob,))
    for typing in (True, False):
        assert await denied(database, carol, SET_TYPING, channelId=secret, typing=typing) == "NOT_FOUND"
        assert await denied(database, carol, SET_TYPING, channelId=public, typing=typing) == "NOT_MEMBER"
        assert await denied(database, carol, SET_TYPING, channelId="nonsense", typing=typing) == "NOT_FOUND"
    await alice.ask(ARCHIVE, channelId=public, archived=True)
    assert await denied(database, bob, SET_TYPING, channelId=public, typing=True) == "CHANNEL_ARCHIVED"


async def test_saying_it_writes_nothing(alice: Person, statements: list[str]) -> None:
    channel = await create_channel(alice)
    statements.clear()
    await set_typing(alice, channel)
    assert [text for text in statements if not text.startswith("SELECT")] == []


async def test_only_members_are_told(one: LiveServer, other: LiveServer) -> None:
    private = await new_room(one, other, "members only")
    public = await new_room(one, other, "public, but", private=False)
    await one.person("dora")
    for channel, code in ((private.id, "NOT_FOUND"), (public.id, "BAD_REQUEST"), ("nonsense", "NOT_FOUND")):
        async with one.listen("dora", TYPING, channel=channel) as listener:
            assert await listener.refused() == code


@pytest.mark.parametrize("private", [True, False])
async def test_whoever_leaves_is_told_no_more(one: LiveServer, other: LiveServer, *, private: bool) -> None:
    room = await new_room(one, other, f"leaving {private}", private=private)
    ada, ben, cleo = room.people
    async with room.listening((one, ben), (other, ben), (one, cleo), (other, cleo)) as listeners:
        gone, stay = listeners[:2], listeners[2:]
        await ben.ask(LEAVE, channelId=room.id)
        for listener in gone:
            await listener.completed()
        await set_typing(ada, room.id)
        await all_told(stay, "ada", typing=True)
        if not private:
            await ben.ask(JOIN, channelId=room.id)
            async with room.listening((other, ben)) as again:
                await all_told(again, "ada", typing=True)
                await set_typing(ada, room.id, typing=False)
                await all_told([*stay, *again], "ada", typing=False)
        assert [listener.after for listener in gone] == [[], []]


async def test_what_concerns_nobodys_membership_ends_nothing(room: Room) -> None:
    ada, ben, _ = room.people
    async with room.listening((room.other, ben)) as listeners:
        await ada.ask(SET_PRIVACY, channelId=room.id, isPrivate=False)
        await ada.ask(ARCHIVE, channelId=room.id, archived=True)
        await ada.ask(ARCHIVE, channelId=room.id, archived=False)
        await set_typing(ada, room.id)
        await all_told(listeners, "ada", typing=True)


async def test_a_channel_that_is_deleted_takes_it_along(room: Room) -> None:
    ada, ben, cleo = room.people
    async with room.listening((room.one, ben), (room.other, cleo), (room.other, ada)) as listeners:
        await set_typing(ben, room.id)
        await all_told(listeners, "ben", typing=True)
        await ada.ask(DELETE_CHANNEL, channelId=room.id)
        for listener in listeners:
            await listener.completed()


async def test_without_redis_whoever_was_removed_is_found_out_by_the_next_event(
    place: Place, redis: RedisServer
) -> None:
    place = replace(place, settings=replace(place.settings, redis_url=redis.url))
    async with serving(place) as one, serving(place) as other:
        room = await new_room(one, other, "out of touch")
        ada, ben, _ = room.people
        async with room.listening((one, ben)) as (gone,), room.listening((one, ada)) as stay:
            redis.kill()
            await eventually(lambda: not other.services.broker.is_up)
            ada_elsewhere = await other.person("ada")
            await ada_elsewhere.ask(REMOVE_MEMBER, channelId=room.id, userId=ben.id)
            await set_typing(ada, room.id)
            await all_told(stay, "ada", typing=True)
            await gone.completed()
            assert gone.left() == []


async def test_nothing_is_told_after_a_removal_whatever_happens_meanwhile(place: Place) -> None:
    """Everybody types all the time while ben is thrown out and let in again."""
    times = replace(QUICK, renewal=0.0)
    async with serving(place, times) as one, serving(place, times) as other:
        room = await new_room(one, other, "in and out", private=False)
        ada, ben, cleo = room.people
        is_over = False

        async def type_on(person: Person) -> None:
            while not is_over:
                await set_typing(person, room.id)

        async with asyncio.TaskGroup() as tasks:
            for server in (one, other):
                for person in (ada, cleo):
                    tasks.create_task(type_on(await server.person(person.name)))
            for _ in range(5):
                async with room.listening((one, ben), (other, ben)) as listeners:
                    for listener in listeners:
                        await listener.next()
                    await ada.ask(REMOVE_MEMBER, channelId=room.id, userId=ben.id)
                    # Rendered from a snapshot before the removal, it may still be on its way; not from a later one.
                    removed_at = datetime.now(UTC)
                    for listener in listeners:
                        await listener.completed()
                        assert all(begun_at(event, times.typing) <= removed_at for event in listener.left())
                        assert listener.after == []
                await ben.ask(JOIN, channelId=room.id)
            is_over = True


def begun_at(event: dict[str, Any], lasts: float) -> datetime:
    return datetime.fromisoformat(event["expiresAt"]) - timedelta(seconds=lasts)
