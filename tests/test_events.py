"""The event log: every mutation appends what it did, nothing more, in one unbroken count per stream."""

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette

from app.db import Database
from app.events.cursor import decode
from tests import documents as doc
from tests.conftest import Person
from tests.documents import at_new_address, create_channel, number, open_dm, reply, select, send, set_role

CURSOR = "query ($id: ID!) { channel(id: $id) { cursor } }"
Event = tuple[str, str, int, dict[str, Any]]  # stream, type, actor, payload


class Log:
    """What was appended since the last look."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.seen: dict[str, int] = {}

    async def new(self) -> list[Event]:
        """In stream order. Fails if a stream's numbers are not 1, 2, 3, ... up to its head."""
        heads = await self.heads()
        rows = await select(self.database, "SELECT * FROM stream_events ORDER BY stream_id, seq")
        for stream, head in heads.items():
            assert [row.seq for row in rows if row.stream_id == stream] == list(range(1, head + 1)), stream
        fresh = [row for row in rows if row.seq > self.seen.get(row.stream_id, 0)]
        self.seen = heads
        return [(row.stream_id, row.type, row.actor_id, row.payload) for row in fresh]

    async def heads(self) -> dict[str, int]:
        rows = await select(self.database, "SELECT stream_id, head_seq FROM stream_heads")
        return {row.stream_id: row.head_seq for row in rows}


@pytest.fixture
def log(database: Database) -> Log:
    return Log(database)


async def own(log: Log, person: Person, document: str, /, **variables: Any) -> list[Event]:
    """What a mutation appended. Its cursor must name the heads of those streams, but for other users' own ones."""
    await log.new()
    payload = await person.ask(document, **variables)
    events = await log.new()
    touched = {stream for stream, *_ in events if not stream.startswith("u") or stream == f"u{number(person.id)}"}
    shown = {stream: at.seq for stream, at in decode(payload["cursor"]).items()} if payload["cursor"] else {}
    assert shown == {stream: seq for stream, seq in (await log.heads()).items() if stream in touched}
    return events


async def test_a_new_channel_tells_the_channel_and_each_of_its_people(log: Log, alice: Person, bob: Person) -> None:
    events = await own(log, alice, doc.CREATE_CHANNEL, input={"name": "x", "memberIds": [bob.id]})
    a, b = number(alice.id), number(bob.id)
    channel = int(events[0][0][1:])
    first, second = {"user": a, "role": "OWNER"}, {"user": b, "role": "MEMBER"}
    assert events == [
        (f"c{channel}", "CHANNEL_CREATED", a, {}),
        (f"c{channel}", "MEMBER_JOINED", a, first),
        (f"c{channel}", "MEMBER_JOINED", a, second),
        (f"u{a}", "MEMBER_JOINED", a, {**first, "channel": channel, "joined_seq": 0}),
        (f"u{b}", "MEMBER_JOINED", a, {**second, "channel": channel, "joined_seq": 0}),
    ]


async def test_a_new_direct_message_tells_both(log: Log, alice: Person, bob: Person) -> None:
    events = await own(log, alice, doc.OPEN_DM, userIds=[bob.id])
    streams = [stream for stream, *_ in events]
    assert [type_ for _, type_, *_ in events] == ["CHANNEL_CREATED"] + ["MEMBER_JOINED"] * 4
    assert streams[3:] == [f"u{number(alice.id)}", f"u{number(bob.id)}"]
    assert {event[3].get("role", "MEMBER") for event in events} == {"MEMBER"}
    assert await own(log, alice, doc.OPEN_DM, userIds=[bob.id]) == []


async def test_changes_of_a_channel(log: Log, alice: Person) -> None:
    channel = await create_channel(alice)
    stream, by = f"c{number(channel)}", number(alice.id)
    update = {"channelId": channel, "name": "zebra", "description": "stripes"}
    privacy = {"was_private": False, "is_private": True}
    for document, variables, type_, payload in (
        (doc.UPDATE_CHANNEL, {"input": update}, "CHANNEL_UPDATED", {"changed": ["description", "name"]}),
        (doc.SET_PRIVACY, {"channelId": channel, "isPrivate": True}, "CHANNEL_PRIVACY_CHANGED", privacy),
        (doc.ROTATE, {"channelId": channel}, "CHANNEL_UPDATED", {"changed": ["join_code"]}),
        (doc.ARCHIVE, {"channelId": channel, "archived": True}, "CHANNEL_ARCHIVED", {}),
        (doc.ARCHIVE, {"channelId": channel, "archived": False}, "CHANNEL_UNARCHIVED", {}),
        (doc.DELETE_CHANNEL, {"channelId": channel}, "CHANNEL_DELETED", {}),
    ):
        assert await own(log, alice, document, **variables) == [(stream, type_, by, payload)]


async def test_coming_and_going_tells_the_channel_and_the_person(
    log: Log, app: Starlette, alice: Person, bob: Person
) -> None:
    channel = await create_channel(alice, private=True)
    code = await doc.join_code(alice, channel)
    key, b = number(channel), number(bob.id)
    joined, left = {"user": b, "role": "MEMBER"}, {"user": b, "previous_role": "MEMBER"}

    def came(after: int) -> list[tuple[str, str, dict[str, Any]]]:
        """With the place in the channel's stream after which they may read it."""
        own_payload = {**joined, "channel": key, "joined_seq": after}
        return [(f"c{key}", "MEMBER_JOINED", joined), (f"u{b}", "MEMBER_JOINED", own_payload)]

    went = [(f"c{key}", "MEMBER_LEFT", left), (f"u{b}", "MEMBER_LEFT", {**left, "channel": key})]
    people = {"channelId": channel, "userIds": [bob.id, alice.id]}
    for person, document, variables, expected in (
        (at_new_address(bob, app), doc.JOIN_BY_CODE, {"joinCode": code}, came(2)),
        (bob, doc.LEAVE, {"channelId": channel}, went),
        (alice, doc.ADD_MEMBERS, people, came(4)),
        (alice, doc.REMOVE_MEMBER, {"channelId": channel, "userId": bob.id}, went),
    ):
        events = await own(log, person, document, **variables)
        assert [(stream, type_, payload) for stream, type_, _, payload in events] == expected
        assert {actor for _, _, actor, _ in events} == {number(person.id)}


async def test_roles_tell_what_they_were_and_are(log: Log, alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    stream, a, b = f"c{number(channel)}", number(alice.id), number(bob.id)
    given = {"user": b, "role": "ADMIN", "previous_role": "MEMBER"}
    variables = {"channelId": channel, "userId": bob.id}
    assert await own(log, alice, doc.SET_ROLE, **variables, role="ADMIN") == [(stream, "MEMBER_ROLE_CHANGED", a, given)]
    assert await own(log, alice, doc.SET_ROLE, **variables, role="OWNER") == [
        (stream, "MEMBER_ROLE_CHANGED", a, {"user": a, "role": "ADMIN", "previous_role": "OWNER"}),
        (stream, "CHANNEL_UPDATED", a, {"changed": ["owner"]}),
        (stream, "MEMBER_ROLE_CHANGED", a, {"user": b, "role": "OWNER", "previous_role": "ADMIN"}),
    ]


async def test_messages_and_reactions_tell_the_channel(log: Log, alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    top = await send(alice, channel)
    stream, b, key = f"c{number(channel)}", number(bob.id), number(top)
    (created,) = await own(log, bob, doc.REPLY, input={"parentId": top, "content": "zebra"})
    assert created[:3] == (stream, "MESSAGE_CREATED", b)
    (created,) = await own(log, bob, doc.SEND, input={"channelId": channel, "content": "zebra"})
    assert (created[:3], [*created[3]]) == ((stream, "MESSAGE_CREATED", b), ["message"])
    edit = {"messageId": top, "content": "zebra"}
    assert await own(log, alice, doc.EDIT, input=edit) == [
        (stream, "MESSAGE_UPDATED", number(alice.id), {"message": key})
    ]
    for document, type_ in ((doc.ADD_REACTION, "REACTION_ADDED"), (doc.REMOVE_REACTION, "REACTION_REMOVED")):
        (reacted,) = await own(log, bob, document, messageId=top, code="tada")
        assert (reacted[:3], reacted[3]["message"], reacted[3]["user"]) == ((stream, type_, b), key, b)
        assert reacted[3].keys() == {"message", "reaction", "user"}
    (deleted,) = await own(log, alice, doc.DELETE_MESSAGE, messageId=top)
    assert deleted == (stream, "MESSAGE_DELETED", number(alice.id), {"message": key})


async def test_profiles_and_the_catalogue_tell_the_workspace(log: Log, alice: Person, root: Person) -> None:
    a, r = number(alice.id), number(root.id)
    changed = await own(log, alice, doc.UPDATE_PROFILE, input={"bio": "zebra", "name": "zebra"})
    assert changed == [("w", "USER_UPDATED", a, {"user": a, "changed": ["bio", "name"]})]
    changed = await own(log, root, doc.SET_USER_ACTIVE, userId=alice.id, active=False)
    assert changed == [("w", "USER_UPDATED", r, {"user": a, "changed": ["is_active"]})]
    image = {"code": "zebra", "imageUrl": "https://x.example/"}
    (made,) = await own(log, root, doc.CREATE_REACTION, input=image)
    assert (made[:3], [*made[3]]) == (("w", "REACTION_CATALOGUE_CHANGED", r), ["reaction"])
    found = await root.ask('{ reactions(codeContains: "zebra") { nodes { id } } }')
    assert await own(log, root, doc.DELETE_REACTION, reactionId=found["nodes"][0]["id"]) == [made]


async def test_joining_a_public_channel_is_told_once(log: Log, alice: Person, bob: Person) -> None:
    channel = await create_channel(alice)
    assert len(await own(log, bob, doc.JOIN, channelId=channel)) == 2
    assert await own(log, bob, doc.JOIN, channelId=channel) == []


async def test_the_log_holds_no_texts_and_no_join_codes(alice: Person, database: Database) -> None:
    given = {"name": "zebra", "description": "zebra", "isPrivate": True, "clientKey": "zebra"}
    channel = (await alice.ask(doc.CREATE_CHANNEL, input=given))["channel"]["id"]
    codes = [await doc.join_code(alice, channel)]
    codes.append((await alice.ask(doc.ROTATE, channelId=channel))["channel"]["joinCode"])
    message = await send(alice, channel, "zebra")
    await reply(alice, message, "zebra")
    await alice.ask(doc.EDIT, input={"messageId": message, "content": "zebra!"})
    await alice.ask(doc.UPDATE_CHANNEL, input={"channelId": channel, "name": "zebra 2", "description": "zebra 2"})
    await alice.ask(doc.UPDATE_PROFILE, input={"name": "zebra", "bio": "zebra", "picture": "https://zebra.example/"})
    written = str(await select(database, "SELECT * FROM stream_events"))
    assert [secret for secret in ("zebra", *codes) if secret in written] == []


async def test_the_cursor_of_a_write_is_the_head_that_the_channel_then_shows(alice: Person) -> None:
    channel = await create_channel(alice)
    message = await send(alice, channel)
    for document, variables in (
        (doc.SEND, {"input": {"channelId": channel, "content": "x"}}),
        (doc.REPLY, {"input": {"parentId": message, "content": "x"}}),
        (doc.ADD_REACTION, {"messageId": message, "code": "tada"}),
        (doc.ROTATE, {"channelId": channel}),
        (doc.DELETE_MESSAGE, {"messageId": message}),
    ):
        if document == doc.ROTATE:
            await alice.ask(doc.SET_PRIVACY, channelId=channel, isPrivate=True)
        written = await alice.ask(document, **variables)
        assert (await alice.ask(CURSOR, id=channel))["cursor"] == written["cursor"]


async def test_the_place_of_a_message_is_the_number_of_its_event(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    top = await send(alice, channel)
    await alice.ask(doc.ADD_REACTION, messageId=top, code="tada")
    await reply(alice, top)
    places = "SELECT seq, (payload->>'message')::int AS id FROM stream_events WHERE type = 'MESSAGE_CREATED'"
    assert await select(database, f"{places} ORDER BY 1") == await select(
        database, "SELECT seq, id FROM messages ORDER BY 1"
    )


async def test_the_viewers_cursor_names_every_stream_of_theirs(log: Log, alice: Person, bob: Person) -> None:
    mine, dm = await create_channel(alice), await open_dm(alice, bob)
    await create_channel(bob, "other")
    positions = decode((await alice.ask("{ viewer { cursor } }"))["cursor"])
    heads = await log.heads()
    expected = {"w", f"u{number(alice.id)}", f"c{number(mine)}", f"c{number(dm)}"}
    assert {stream: at.seq for stream, at in positions.items()} == {stream: heads[stream] for stream in expected}


async def test_a_cursor_is_never_ahead_of_the_rest_of_the_answer(alice: Person) -> None:
    channel = await create_channel(alice)
    document = "query ($id: ID!) { channel(id: $id) { messages(last: 1) { nodes { seq } } cursor } }"

    async def read() -> None:
        found = await alice.ask(document, id=channel)
        (head,) = decode(found["cursor"]).values()
        assert [node["seq"] for node in found["messages"]["nodes"]] in ([head.seq], [])

    await asyncio.gather(*(step for _ in range(15) for step in (send(alice, channel), read())))


async def test_writes_of_all_kinds_at_the_same_time_leave_no_gap(
    log: Log, alice: Person, bob: Person, carol: Person
) -> None:
    channel = await create_channel(alice, members=(bob,))
    top = await send(alice, channel)
    steps = [step for _ in range(6) for step in (send(bob, channel), reply(alice, top), reply(bob, top))]
    changes = [set_role(alice, channel, bob, role) for role in ("ADMIN", "MODERATOR", "ADMIN")]
    roles = [carol.ask(doc.JOIN, channelId=channel), alice.ask(doc.ADD_REACTION, messageId=top, code="tada")]
    await asyncio.gather(*steps, *changes, *roles)
    assert len([event for event in await log.new() if event[1] == "MESSAGE_CREATED"]) == 19
