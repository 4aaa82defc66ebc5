"""Rights that end while they are in use: after the event that ends a right, nothing in the log that needed it."""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pytest
from starlette.applications import Starlette

from app.db import Database
from app.limits import JoinCodeGuard
from app.models import StreamEvent
from tests import documents
from tests.at_once import Sent, at_once, crowd, events, number_of, outcomes
from tests.conftest import Newcomer, Person
from tests.documents import create_channel, join_code, roles, send, set_role
from tests.replay import check_log

ROUNDS = 5

Use = Callable[[int], Sent]


async def race(end: Callable[[], Sent], *uses: Use, after: int = 3) -> None:
    """Each of `uses` goes on until it is refused; `end` comes when `after` of them have been done."""
    begun = asyncio.Event()
    done = count(1)

    async def go_on(use: Use) -> None:
        for number in range(200):
            (payload,) = await at_once([use(number)])
            if payload["errors"]:
                assert begun.is_set(), payload
                return
            if next(done) >= after:
                begun.set()
        raise AssertionError("never refused")

    async def stop() -> None:
        await begun.wait()
        assert outcomes(await at_once([end()])) == {"done": 1}

    await asyncio.gather(stop(), *map(go_on, uses))


def posts(person: Person, channel: str) -> Use:
    return lambda number: person.send(documents.SEND, input={"channelId": channel, "content": f"{number}"})


def edits(author: Person, message: str) -> Use:
    return lambda number: author.send(documents.EDIT, input={"messageId": message, "content": f"{number}"})


def answers(person: Person, message: str) -> Use:
    given = {"parentId": message, "content": "yes", "onReplyExists": "APPEND_TO_TAIL"}
    return lambda _: person.send(documents.REPLY, input=given)


def reacts(person: Person, message: str) -> Use:
    turns = documents.ADD_REACTION, documents.REMOVE_REACTION
    return lambda number: person.send(turns[number % 2], messageId=message, code="heart")


def comes_and_goes(person: Person, channel: str, door: str, **key: str) -> Use:
    def use(number: int) -> Sent:
        return person.send(documents.LEAVE, channelId=channel) if number % 2 else person.send(door, **key)

    return use


def closed(log: list[StreamEvent], event_type: str, **payload: Any) -> list[StreamEvent]:
    """What follows an event of this kind, up to the next of its type with another payload, or its opposite."""
    opposites = {"MEMBER_LEFT": "MEMBER_JOINED", "CHANNEL_ARCHIVED": "CHANNEL_UNARCHIVED"}
    found: list[StreamEvent] = []
    closings, is_closed = 0, False
    for event in log:
        if event.type in {event_type, opposites.get(event_type)}:
            is_closed = event.type == event_type and payload.items() <= event.payload.items()
            closings += is_closed
        elif is_closed:
            found.append(event)
    assert closings == ROUNDS
    return found


@pytest.mark.parametrize("private", [False, True])
async def test_nothing_of_a_removed_member_comes_after_their_removal(
    alice: Person, bob: Person, database: Database, private: bool
) -> None:
    channel = await create_channel(alice, private=private)
    top = await send(alice, channel)
    for _ in range(ROUNDS):
        await alice.ask(documents.ADD_MEMBERS, channelId=channel, userIds=[bob.id])
        own = await send(bob, channel)
        end = partial(alice.send, documents.REMOVE_MEMBER, channelId=channel, userId=bob.id)
        await race(end, posts(bob, channel), posts(bob, channel), edits(bob, own), answers(bob, top), reacts(bob, top))
    late = closed(await events(database, channel), "MEMBER_LEFT", user=number_of(bob.id))
    assert [event.type for event in late if event.actor_id == number_of(bob.id)] == []
    await check_log(database)


async def test_nothing_is_written_to_an_archived_channel(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    top = await send(bob, channel)
    for _ in range(ROUNDS):
        await alice.ask(documents.ARCHIVE, channelId=channel, archived=False)
        end = partial(alice.send, documents.ARCHIVE, channelId=channel, archived=True)
        await race(
            end, posts(alice, channel), posts(bob, channel), edits(bob, top), answers(bob, top), reacts(bob, top)
        )
    assert closed(await events(database, channel), "CHANNEL_ARCHIVED") == []
    await check_log(database)


async def test_nobody_joins_a_channel_that_became_private(
    alice: Person, bob: Person, carol: Person, database: Database
) -> None:
    channel = await create_channel(alice)
    for _ in range(ROUNDS):
        await alice.ask(documents.SET_PRIVACY, channelId=channel, isPrivate=False)
        end = partial(alice.send, documents.SET_PRIVACY, channelId=channel, isPrivate=True)
        await race(end, *(comes_and_goes(who, channel, documents.JOIN, channelId=channel) for who in (bob, carol)))
    late = closed(await events(database, channel), "CHANNEL_PRIVACY_CHANGED", is_private=True)
    assert "MEMBER_JOINED" not in {event.type for event in late}
    await check_log(database)


@pytest.fixture
def unlimited_join_codes(app: Starlette) -> Iterator[None]:
    """A minute passes with every look at the clock."""
    before = app.state.services
    app.state.services = replace(before, join_codes=JoinCodeGuard(clock=count(0.0, 60.0).__next__))
    yield
    app.state.services = before


@pytest.mark.usefixtures("unlimited_join_codes")
async def test_nobody_joins_by_a_code_that_was_rotated(newcomer: Newcomer, database: Database) -> None:
    alice, *people = await crowd(newcomer, 7)
    channel = await create_channel(alice, private=True)
    for _ in range(ROUNDS):
        code = await join_code(alice, channel)
        end = partial(alice.send, documents.ROTATE, channelId=channel)
        await race(end, *(comes_and_goes(who, channel, documents.JOIN_BY_CODE, joinCode=code) for who in people))
        log = await events(database, channel, "CHANNEL_UPDATED", "MEMBER_JOINED")
        assert log[-1].type == "CHANNEL_UPDATED"
    await check_log(database)


async def test_a_demoted_moderator_deletes_nothing_more(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))

    def deletes(messages: list[str]) -> Use:
        return lambda number: bob.send(documents.DELETE_MESSAGE, messageId=messages[number % len(messages)])

    for _ in range(ROUNDS):
        await set_role(alice, channel, bob, "MODERATOR")
        messages = [await send(alice, channel) for _ in range(12)]
        end = partial(alice.send, documents.SET_ROLE, channelId=channel, userId=bob.id, role="MEMBER")
        await race(end, deletes(messages[:6]), deletes(messages[6:]))
    late = closed(await events(database, channel), "MEMBER_ROLE_CHANGED", role="MEMBER")
    assert "MESSAGE_DELETED" not in {event.type for event in late}
    await check_log(database)


async def test_a_deleted_channel_has_no_more_events(alice: Person, bob: Person, database: Database) -> None:
    for number in range(ROUNDS):
        channel = await create_channel(alice, f"channel {number}", members=(bob,))
        top = await send(bob, channel)
        end = partial(alice.send, documents.DELETE_CHANNEL, channelId=channel)
        await race(end, posts(alice, channel), edits(bob, top), answers(bob, top), reacts(bob, top), reacts(alice, top))
        assert (await events(database, channel))[-1].type == "CHANNEL_DELETED"
    await check_log(database)


async def test_a_deleted_message_gets_no_edit_answer_or_reaction(
    alice: Person, bob: Person, database: Database
) -> None:
    channel = await create_channel(alice, members=(bob,))
    for _ in range(ROUNDS):
        message = await send(bob, channel)
        end = partial(alice.send, documents.DELETE_MESSAGE, messageId=message)
        uses = [edits(bob, message), *(kind(who, message) for kind in (answers, reacts) for who in (alice, bob))]
        await race(end, *uses)
        assert (await events(database, channel))[-1].type == "MESSAGE_DELETED"
        shown = await bob.ask(documents.READ_MESSAGE, id=message)
        assert (shown["content"], shown["reactions"]) == (None, [])
    await check_log(database)


async def test_leaving_removal_and_a_new_role_at_once_agree(alice: Person, bob: Person, database: Database) -> None:
    """Whoever is gone has no role, and an owner is never gone."""
    ends = set()
    for number in range(4 * ROUNDS):
        channel = await create_channel(alice, f"channel {number}", members=(bob,))
        role = ("OWNER", "ADMIN")[number % 2]
        sent = [
            bob.send(documents.LEAVE, channelId=channel),
            alice.send(documents.REMOVE_MEMBER, channelId=channel, userId=bob.id),
            alice.send(documents.SET_ROLE, channelId=channel, userId=bob.id, role=role),
        ]
        random.Random(number).shuffle(sent)  # noqa: S311 - the same orders in every run
        assert outcomes(await at_once(sent)).keys() <= {"done", "NOT_MEMBER", "LAST_OWNER", "ROLE_TOO_LOW"}
        found = await roles(alice, channel)
        assert list(found.values()).count("OWNER") == 1
        ends.add(found.get("bob"))
    assert ends == {None, "OWNER"}
    await check_log(database)


async def test_governing_two_channels_at_once_meets_no_deadlock(newcomer: Newcomer, database: Database) -> None:
    people = await crowd(newcomer, 8)
    owner = people[0]
    channels = [await create_channel(owner, name, members=tuple(people)) for name in ("one", "two")]
    messages = [await send(owner, channel) for channel in channels]
    for channel in channels:
        for person in people[1:5]:
            await set_role(owner, channel, person, "ADMIN")

    def anything(person: Person, chance: random.Random) -> Sent:
        channel, message, other = chance.choice(channels), chance.choice(messages), chance.choice(people).id
        yes, name, role = chance.random() < 0.6, chance.choice(["one", "two"]), chance.choice(["OWNER", "ADMIN"])
        wanted = [someone.id for someone in chance.sample(people, 3)]
        uses: list[Callable[[], Sent]] = [
            partial(person.send, documents.JOIN, channelId=channel),
            partial(person.send, documents.LEAVE, channelId=channel),
            partial(person.send, documents.ADD_MEMBERS, channelId=channel, userIds=wanted),
            partial(person.send, documents.REMOVE_MEMBER, channelId=channel, userId=other),
            partial(person.send, documents.SET_ROLE, channelId=channel, userId=other, role=role),
            partial(person.send, documents.ARCHIVE, channelId=channel, archived=not yes),
            partial(person.send, documents.SET_PRIVACY, channelId=channel, isPrivate=not yes),
            partial(person.send, documents.UPDATE_CHANNEL, input={"channelId": channel, "name": name}),
            partial(person.send, documents.OPEN_DM, userIds=wanted),
            partial(person.send, documents.UPDATE_PROFILE, input={"bio": name}),
            partial(posts(person, channel), 0),
            partial(answers(person, message), 0),
            partial(reacts(person, message), int(yes)),
        ]
        return chance.choice(uses)()

    async def govern(person: Person) -> list[dict[str, Any]]:
        chance = random.Random(person.name)  # noqa: S311 - the same wishes in every run
        return [payload for _ in range(20) for payload in await at_once([anything(person, chance)])]

    payloads = [payload for found in await asyncio.gather(*map(govern, people)) for payload in found]
    assert outcomes(payloads)["done"] > len(payloads) / 4
    await check_log(database)
