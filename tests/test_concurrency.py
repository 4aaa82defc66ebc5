"""Many requests at the same time, through the app: nothing is lost, doubled or torn, and nobody gets a 500."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from app.auth import LocalIssuer
from app.db import Database
from app.events import cursor
from app.settings import Settings
from tests import documents
from tests.at_once import at_once, crowd, events, outcomes
from tests.conftest import Newcomer, Person
from tests.documents import create_channel, roles, send
from tests.replay import check_log

TIMELINE = """query ($id: ID!, $after: String) { channel(id: $id) { messages(first: 100, after: $after) {
  pageInfo { hasNextPage endCursor } nodes { id seq content author { id } }
} } }"""
# What many send at once asks for little, so that it is the writing that takes the time.
SEND = documents.SEND.replace(documents.MESSAGE, "message { id seq }")
REPLY = documents.REPLY.replace(documents.MESSAGE, "message { id seq }")
ADD_REACTION = documents.ADD_REACTION.replace(documents.MESSAGE, "message { id }")
REMOVE_REACTION = documents.REMOVE_REACTION.replace(documents.MESSAGE, "message { id }")
CHAIN = "query ($id: ID!) { message(id: $id) { replyCount replyChain(first: 100) { nodes { id parent { id } } } } }"
NEWEST = "query ($id: ID!) { channel(id: $id) { cursor messages(last: 1) { nodes { seq } } } }"
WHO = "{ viewer { user { id name } } }"


async def timeline(viewer: Person, channel: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page: dict[str, Any] = {"pageInfo": {"hasNextPage": True, "endCursor": None}}
    while page["pageInfo"]["hasNextPage"]:
        shown = await viewer.ask(TIMELINE, id=channel, after=page["pageInfo"]["endCursor"])
        page = shown["messages"]
        found += page["nodes"]
    return found


async def check_chain(viewer: Person, top: str, replies: Iterable[str]) -> None:
    """Below `top` there are just these replies, each answering the one before it."""
    shown = await viewer.ask(CHAIN, id=top)
    chain = shown["replyChain"]["nodes"]
    ids = [message["id"] for message in chain]
    assert [message["parent"]["id"] for message in chain] == [top, *ids][:-1]
    assert sorted(ids) == sorted(replies)
    assert shown["replyCount"] == len(ids)


async def test_fifty_writers_at_once_lose_no_message(newcomer: Newcomer, database: Database) -> None:
    writers = await crowd(newcomer, 50)
    channel = await create_channel(writers[0], members=tuple(writers))

    async def write(writer: Person) -> list[dict[str, Any]]:
        posts = [{"channelId": channel, "content": f"{writer.name}, {number}"} for number in range(3)]
        return [(await at_once([writer.send(SEND, input=post)]))[0] for post in posts]

    written = [payload for payloads in await asyncio.gather(*map(write, writers)) for payload in payloads]
    assert outcomes(written) == {"done": 150}
    shown = await timeline(writers[-1], channel)
    numbers = [message["seq"] for message in shown]
    assert numbers == sorted(set(numbers))
    told = {(payload["message"]["id"], payload["message"]["seq"]) for payload in written}
    assert told == {(message["id"], message["seq"]) for message in shown}
    for writer in writers:
        own = [message["content"] for message in shown if message["author"]["id"] == writer.id]
        assert own == [f"{writer.name}, {number}" for number in range(3)]
    await check_log(database)


async def test_twenty_who_append_to_one_chain_make_one_unbroken_chain(newcomer: Newcomer, database: Database) -> None:
    people = await crowd(newcomer, 20)
    channel = await create_channel(people[0], members=tuple(people))
    top = await send(people[0], channel)
    first = await documents.reply(people[1], top)
    second = await documents.reply(people[2], first)
    given = [
        {"parentId": (top, first, second)[number % 3], "content": "yes", "onReplyExists": "APPEND_TO_TAIL"}
        for number in range(20)
    ]
    answered = await at_once(person.send(REPLY, input=one) for person, one in zip(people, given, strict=True))
    assert outcomes(answered) == {"done": 20}
    await check_chain(people[0], top, [first, second, *(payload["message"]["id"] for payload in answered)])
    await check_log(database)


async def test_of_twenty_direct_replies_one_stands_and_the_others_are_told_which(newcomer: Newcomer) -> None:
    people = await crowd(newcomer, 20)
    channel = await create_channel(people[0], members=tuple(people))
    top = await send(people[0], channel)
    answered = await at_once(person.send(REPLY, input={"parentId": top, "content": person.name}) for person in people)
    assert outcomes(answered) == {"done": 1, "REPLY_EXISTS": 19}
    standing = {payload["message"]["id"] for payload in answered if payload["message"]}
    assert {payload["existingReply"]["id"] for payload in answered if payload["existingReply"]} == standing
    await check_chain(people[0], top, standing)


async def test_fifty_retries_of_one_client_key_make_one_message(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    top = await send(alice, channel)
    same = {"channelId": channel, "content": "hello", "clientKey": "once"}
    reply = {"parentId": top, "content": "hello", "onReplyExists": "APPEND_TO_TAIL", "clientKey": "once more"}
    for document, given in ((SEND, same), (REPLY, reply)):
        payloads = await at_once(alice.send(document, input=given) for _ in range(50))
        assert outcomes(payloads) == {"done": 50}
        assert len({payload["message"]["id"] for payload in payloads}) == 1
        assert Counter(payload["deduplicated"] for payload in payloads) == {False: 1, True: 49}
        assert len({payload["cursor"] for payload in payloads}) == 1
    assert len(await timeline(alice, channel)) == 3
    await check_log(database)


async def test_one_client_key_with_many_inputs_makes_one_message(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    given = [{"channelId": channel, "content": f"{number}", "clientKey": "once"} for number in range(20)]
    payloads = await at_once(alice.send(SEND, input=one) for one in given)
    assert outcomes(payloads) == {"done": 1, "KEY_REUSED": 19}
    await check_log(database)


async def test_retries_of_one_client_key_make_one_channel(alice: Person, bob: Person, database: Database) -> None:
    given = {"name": "general", "memberIds": [bob.id], "clientKey": "once"}
    payloads = await at_once(alice.send(documents.CREATE_CHANNEL, input=given) for _ in range(20))
    assert outcomes(payloads) == {"done": 20}
    assert len({payload["channel"]["id"] for payload in payloads}) == 1
    assert Counter(payload["deduplicated"] for payload in payloads) == {False: 1, True: 19}
    await check_log(database)


async def test_of_channels_made_with_one_name_at_once_one_stands(newcomer: Newcomer, database: Database) -> None:
    people = await crowd(newcomer, 12)
    names = ("general", "General", "GENERAL")
    payloads = await at_once(
        person.send(documents.CREATE_CHANNEL, input={"name": names[number % 3]}) for number, person in enumerate(people)
    )
    assert outcomes(payloads) == {"done": 1, "NAME_TAKEN": 11}
    await check_log(database)


async def test_an_edit_at_the_expected_revision_wins_once(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    message = await send(alice, channel)
    careful = [{"messageId": message, "content": f"{number}", "expectedRevision": 1} for number in range(15)]
    payloads = await at_once(alice.send(documents.EDIT, input=given) for given in careful)
    assert outcomes(payloads) == {"done": 1, "EDIT_CONFLICT": 14}
    careless = [{"messageId": message, "content": f"again {number}"} for number in range(15)]
    payloads = await at_once(alice.send(documents.EDIT, input=given) for given in careless)
    assert outcomes(payloads) == {"done": 15}
    shown = await alice.ask(documents.READ_MESSAGE, id=message)
    assert shown["revision"] == 17
    assert shown["content"].startswith("again")
    assert len(await events(database, channel, "MESSAGE_UPDATED")) == 16
    await check_log(database)


async def test_twenty_who_join_at_once_all_join_once(newcomer: Newcomer, database: Database) -> None:
    people = await crowd(newcomer, 20)
    owner, *others = people
    channel = await create_channel(owner)
    payloads = await at_once(person.send(documents.JOIN, channelId=channel) for person in [*people, *others])
    assert outcomes(payloads) == {"done": 39}
    assert sum(payload["cursor"] is not None for payload in payloads) == 19
    assert len(await roles(owner, channel)) == 20
    assert len(await events(database, channel, "MEMBER_JOINED")) == 20
    await check_log(database)


async def test_thirty_who_react_at_once_count_once_each(newcomer: Newcomer, database: Database) -> None:
    people = await crowd(newcomer, 30)
    channel = await create_channel(people[0], members=tuple(people))
    message = await send(people[0], channel)
    crowded = [*people, *[people[0]] * 10]
    for document, left in ((ADD_REACTION, 30), (REMOVE_REACTION, 0)):
        payloads = await at_once(person.send(document, messageId=message, code="heart") for person in crowded)
        assert outcomes(payloads) == {"done": 40}
        assert sum(payload["changed"] for payload in payloads) == 30
        shown = await people[1].ask(documents.READ_MESSAGE, id=message)
        assert [group["count"] for group in shown["reactions"]] == ([left] if left else [])
        await check_log(database)


async def test_a_direct_message_opened_by_all_of_its_people_at_once_is_one(
    newcomer: Newcomer, database: Database
) -> None:
    people = await crowd(newcomer, 5)
    ids = [person.id for person in people]
    payloads = await at_once(
        person.send(documents.OPEN_DM, userIds=[*ids[turn:], *ids[:turn]]) for person in people for turn in range(3)
    )
    assert outcomes(payloads) == {"done": 15}
    (channel,) = {payload["channel"]["id"] for payload in payloads}
    assert Counter(payload["deduplicated"] for payload in payloads) == {False: 1, True: 14}
    assert len(await events(database, channel, "CHANNEL_CREATED")) == 1
    await check_log(database)


async def test_a_channel_handed_over_twice_at_once_has_one_owner(
    alice: Person, bob: Person, carol: Person, database: Database
) -> None:
    for number in range(5):
        channel = await create_channel(alice, f"channel {number}", members=(bob, carol))
        payloads = await at_once(
            alice.send(documents.SET_ROLE, channelId=channel, userId=heir.id, role="OWNER") for heir in (bob, carol)
        )
        assert outcomes(payloads) == {"done": 1, "ROLE_TOO_LOW": 1}
        found = await roles(alice, channel)
        assert found.pop("alice") == "ADMIN"
        assert sorted(found.values()) == ["MEMBER", "OWNER"]
    await check_log(database)


async def first_requests(settings: Settings, person: Person, names: Sequence[str]) -> list[dict[str, Any]]:
    issuer = LocalIssuer(settings.data_dir)
    people = [Person(name, issuer.issue(name), person.http) for name in names]
    return [viewer["user"] for viewer in await at_once(newcomer.send(WHO) for newcomer in people)]


async def test_first_requests_of_one_subject_at_once_make_one_user(
    settings: Settings, alice: Person, database: Database
) -> None:
    users = await first_requests(settings, alice, ["dave"] * 30)
    assert len({user["id"] for user in users}) == 1
    shown = await alice.ask("{ users { nodes { name } } }")
    assert [user["name"] for user in shown["nodes"]] == ["alice", "dave"]
    await check_log(database)


async def test_fifty_people_can_come_at_once(settings: Settings, alice: Person) -> None:
    """More than there are database connections: nobody may hold one while waiting for another."""
    names = [f"person {number}" for number in range(50)]
    users = await first_requests(settings, alice, names)
    assert [user["name"] for user in users] == names


async def test_a_direct_message_deleted_while_it_is_opened_leaves_one_or_none(
    newcomer: Newcomer, root: Person, database: Database
) -> None:
    people = await crowd(newcomer, 3)
    ids = [person.id for person in people]

    async def open_and_delete(person: Person) -> list[dict[str, Any]]:
        done: list[dict[str, Any]] = []
        for _ in range(4):
            done += await at_once([person.send(documents.OPEN_DM, userIds=ids)])
            opened = done[-1]["channel"]
            if opened is not None:  # another has had it deleted already
                done += await at_once([root.send(documents.DELETE_CHANNEL, channelId=opened["id"])])
        return done

    payloads = [payload for done in await asyncio.gather(*map(open_and_delete, people)) for payload in done]
    assert outcomes(payloads).keys() <= {"done", "NOT_FOUND"}
    last = await people[0].ask(documents.OPEN_DM, userIds=ids)
    for person in people:
        shown = await person.ask("{ viewer { channels { nodes { id } } } }")
        assert shown["channels"]["nodes"] == [{"id": last["channel"]["id"]}]
    await check_log(database)


async def test_a_cursor_read_with_messages_is_that_of_the_last_one(newcomer: Newcomer) -> None:
    """Ahead of them, a client that resumes from it would miss one."""
    people = await crowd(newcomer, 6)
    channel = await create_channel(people[0], members=tuple(people))
    await send(people[0], channel)
    writers, readers = people[:3], people[3:]

    async def write(writer: Person) -> None:
        for number in range(10):
            await writer.ask(SEND, input={"channelId": channel, "content": f"{number}"})

    async def read(reader: Person) -> None:
        for _ in range(10):
            shown = await reader.ask(NEWEST, id=channel)
            (position,) = cursor.decode(shown["cursor"]).values()
            assert position.seq == shown["messages"]["nodes"][0]["seq"]

    await asyncio.gather(*map(write, writers), *map(read, readers))
