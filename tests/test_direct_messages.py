"""Direct messages: one per set of people, private, found by whoever is in it."""

import asyncio

import pytest

from app.db import Database
from tests.conftest import Newcomer, Person
from tests.documents import (
    OPEN_DM,
    READ_CHANNEL,
    SEND,
    SET_USER_ACTIVE,
    denial,
    ids_of_nothing,
    open_dm,
    request_error,
    roles,
    scalar,
    snapshot,
)

FIND = "query ($userIds: [ID!]!) { directMessage(userIds: $userIds) { id } }"


async def find(person: Person, *others: Person) -> str | None:
    found = await person.ask(FIND, userIds=[other.id for other in others])
    return found["id"] if found else None


async def test_a_direct_message_is_a_private_channel_without_name_and_owner(
    alice: Person, bob: Person, database: Database
) -> None:
    opened = await alice.ask(OPEN_DM, userIds=[bob.id])
    channel = opened["channel"]
    assert (channel["isDm"], channel["isPrivate"], opened["deduplicated"]) == (True, True, False)
    assert (channel["name"], channel["owner"], channel["joinCode"]) == (None, None, None)
    assert await roles(bob, channel["id"]) == {"alice": "MEMBER", "bob": "MEMBER"}
    assert await scalar(database, "SELECT is_private AND is_dm FROM channels")


async def test_the_same_people_have_one_direct_message(
    alice: Person, bob: Person, carol: Person, database: Database
) -> None:
    three = await open_dm(alice, bob, carol)
    before = await snapshot(database)
    for people in ([carol.id, bob.id], [alice.id, bob.id, carol.id], [bob.id, carol.id, bob.id]):
        again = await alice.ask(OPEN_DM, userIds=people)
        assert (again["channel"]["id"], again["deduplicated"], again["cursor"]) == (three, True, None)
    assert await open_dm(carol, alice, bob) == three
    assert await snapshot(database) == before
    assert await open_dm(alice, bob) != three


async def test_opened_by_all_at_once_it_is_one(alice: Person, bob: Person, carol: Person, database: Database) -> None:
    people = (alice, bob, carol)
    opened = await asyncio.gather(*(open_dm(person, *people) for person in people * 4))
    assert len(set(opened)) == 1
    assert await scalar(database, "SELECT count(*) FROM channels") == 1
    assert await scalar(database, "SELECT count(*) FROM stream_events WHERE type = 'CHANNEL_CREATED'") == 1
    assert await scalar(database, "SELECT count(*) FROM memberships") == 3


async def test_a_direct_message_to_oneself_is_a_notebook(alice: Person, bob: Person) -> None:
    own = await open_dm(alice)
    assert await open_dm(alice, alice) == own
    assert await roles(alice, own) == {"alice": "MEMBER"}
    assert (await find(alice), await find(bob)) == (own, None)
    assert await bob.ask(READ_CHANNEL, id=own) is None


async def test_only_its_people_find_a_direct_message(alice: Person, bob: Person, carol: Person) -> None:
    channel = await open_dm(alice, bob)
    assert (await find(alice, bob), await find(bob, alice)) == (channel, channel)
    assert (await find(carol, alice, bob), await find(carol, bob)) == (None, None)
    assert await carol.ask(READ_CHANNEL, id=channel) is None
    assert "channels" in await carol.ask("{ viewer { channels { nodes { id } } } }")
    assert (await carol.ask("{ channels { nodes { id } } }"))["nodes"] == []


async def test_nine_people_are_the_most(newcomer: Newcomer, database: Database) -> None:
    people = [await newcomer(f"person {place}") for place in range(10)]
    assert await open_dm(people[0], *people[:9])
    refused = await denial(database, people[0], OPEN_DM, userIds=[person.id for person in people[1:]])
    assert (refused.code, refused.field) == ("INVALID_INPUT", ["userIds"])
    assert await request_error(people[0], FIND, userIds=[person.id for person in people]) == "BAD_REQUEST"


async def test_everybody_in_it_must_exist(alice: Person, bob: Person, database: Database) -> None:
    for user_id in ids_of_nothing("User", alice):
        refused = await denial(database, alice, OPEN_DM, userIds=[bob.id, user_id])
        assert (refused.code, refused.field) == ("NOT_FOUND", ["userIds"]), user_id
        assert await alice.ask(FIND, userIds=[user_id]) is None


async def test_a_deactivated_user_gets_no_new_direct_message_but_the_old_one_stays(
    alice: Person, bob: Person, carol: Person, root: Person, database: Database
) -> None:
    old = await open_dm(alice, bob)
    await root.ask(SET_USER_ACTIVE, userId=bob.id, active=False)
    refused = await denial(database, carol, OPEN_DM, userIds=[bob.id])
    assert (refused.code, refused.field) == ("USER_INACTIVE", ["userIds"])
    assert await open_dm(alice, bob) == old
    assert (await alice.ask(SEND, input={"channelId": old, "content": "still here"}))["message"]


@pytest.mark.parametrize("user_ids", [None, [None], {"a": 1}, [["x"]], [1.5], [True]])
async def test_user_ids_of_another_shape_are_a_bad_request(alice: Person, user_ids: object) -> None:
    assert await request_error(alice, OPEN_DM, userIds=user_ids) == "BAD_REQUEST"
