"""Every mutation is told to who follows, with the fields of its kind of event."""

from datetime import datetime
from typing import Any

from starlette.applications import Starlette

from app.events.log import EventType
from schema.events import EVENT_TYPES
from tests import documents as doc
from tests.conftest import Newcomer, Person
from tests.documents import at_new_address, create_channel, join_code, number, reply, send, set_role
from tests.follower import Follower, brief, following, positions, stream

Told = list[tuple[str, str, dict[str, Any]]]


async def told(follower: Follower) -> Told:
    """What is new: the channel's stream first, then the follower's own, then the workspace's."""
    events = sorted(await follower.events(), key=stream)
    for event in events:
        assert EVENT_TYPES[EventType(event["type"])][0] == event["__typename"]
    return [brief(event) for event in events]


async def check(follower: Follower, *steps: tuple[Person, str, dict[str, Any], Told]) -> None:
    """Each step is a mutation, and what the follower is told of it."""
    for person, document, variables, expected in steps:
        await person.ask(document, **variables)
        assert await told(follower) == expected, document


async def test_a_new_channel(alice: Person, bob: Person) -> None:
    follower = await following(alice)
    owner = {"channel": "x", "user": "alice", "role": "OWNER", "previousRole": None}
    member = {"channel": "x", "user": "bob", "role": "MEMBER", "previousRole": None}
    expected: Told = [
        ("CHANNEL_CREATED", "alice", {"channel": "x", "changedFields": []}),
        ("MEMBER_JOINED", "alice", owner),
        ("MEMBER_JOINED", "alice", member),
        ("MEMBER_JOINED", "alice", owner),
    ]
    await check(follower, (alice, doc.CREATE_CHANNEL, {"input": {"name": "x", "memberIds": [bob.id]}}, expected))


async def test_a_new_direct_message(alice: Person, bob: Person) -> None:
    follower = await following(bob)
    joined: Told = [
        ("MEMBER_JOINED", "alice", {"channel": None, "user": name, "role": "MEMBER", "previousRole": None})
        for name in ("alice", "bob", "bob")
    ]
    created: Told = [("CHANNEL_CREATED", "alice", {"channel": None, "changedFields": []})]
    await check(follower, (alice, doc.OPEN_DM, {"userIds": [bob.id]}, created + joined))


async def test_changes_of_a_channel(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    here = {"channelId": channel}

    def changed(type_: str, *fields: str) -> Told:
        return [(type_, "alice", {"channel": "zebra", "changedFields": [*fields]})]

    def privacy(*, was: bool) -> Told:
        own = {"channel": "zebra", "wasPrivate": was, "isPrivate": not was}
        return [("CHANNEL_PRIVACY_CHANGED", "alice", own)]

    gone: Told = [("CHANNEL_DELETED", "alice", {"channel": None, "changedFields": []})]
    update = {"input": {**here, "name": "zebra", "description": "stripes"}}
    follower = await following(bob)
    await check(
        follower,
        (alice, doc.UPDATE_CHANNEL, update, changed("CHANNEL_UPDATED", "description", "name")),
        (alice, doc.SET_PRIVACY, {**here, "isPrivate": True}, privacy(was=False)),
        (alice, doc.ROTATE, here, changed("CHANNEL_UPDATED", "joinCode")),
        (alice, doc.SET_PRIVACY, {**here, "isPrivate": False}, privacy(was=True)),
        (alice, doc.ARCHIVE, {**here, "archived": True}, changed("CHANNEL_ARCHIVED")),
        (alice, doc.ARCHIVE, {**here, "archived": False}, changed("CHANNEL_UNARCHIVED")),
        (alice, doc.DELETE_CHANNEL, here, gone),
    )


async def test_messages(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    top = await send(alice, channel, "one")
    follower = await following(alice)
    await check(
        follower,
        (
            bob,
            doc.SEND,
            {"input": {"channelId": channel, "content": "two"}},
            [("MESSAGE_CREATED", "bob", {"message": "two"})],
        ),
        (
            bob,
            doc.REPLY,
            {"input": {"parentId": top, "content": "so"}},
            [("MESSAGE_CREATED", "bob", {"message": "so"})],
        ),
        (
            alice,
            doc.EDIT,
            {"input": {"messageId": top, "content": "1"}},
            [("MESSAGE_UPDATED", "alice", {"message": "1"})],
        ),
        (alice, doc.DELETE_MESSAGE, {"messageId": top}, [("MESSAGE_DELETED", "alice", {"message": None})]),
        (alice, doc.DELETE_MESSAGE, {"messageId": top}, []),
    )


async def test_a_message_is_shown_as_it_is_now(alice: Person) -> None:
    channel = await create_channel(alice)
    follower = await following(alice)
    top = await send(alice, channel, "one")
    await alice.ask(doc.EDIT, input={"messageId": top, "content": "two"})
    assert [event["message"]["content"] for event in await Follower(alice, follower.after).events()] == ["two", "two"]
    await alice.ask(doc.DELETE_MESSAGE, messageId=top)
    created, updated, deleted = [event["message"] for event in await follower.events()]
    assert created == updated == deleted
    assert (created["id"], created["content"], created["author"]) == (top, None, {"name": "alice"})
    assert created["deletedAt"] is not None


async def test_reactions(alice: Person, bob: Person, root: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    top = await send(alice, channel, "one")
    image = {"code": "zebra", "imageUrl": "https://x.example/"}
    reacted = {"message": "one", "reaction": "zebra", "user": "bob"}
    follower = await following(alice)
    await check(
        follower,
        (root, doc.CREATE_REACTION, {"input": image}, [("REACTION_CATALOGUE_CHANGED", "root", {"reaction": "zebra"})]),
        (bob, doc.ADD_REACTION, {"messageId": top, "code": "zebra"}, [("REACTION_ADDED", "bob", reacted)]),
        (bob, doc.ADD_REACTION, {"messageId": top, "code": "zebra"}, []),
        (bob, doc.REMOVE_REACTION, {"messageId": top, "code": "zebra"}, [("REACTION_REMOVED", "bob", reacted)]),
    )


async def test_a_deleted_reaction_stays_readable_in_its_events(alice: Person, root: Person) -> None:
    top = await send(alice, await create_channel(alice))
    follower = await following(alice)
    made = await root.ask(doc.CREATE_REACTION, input={"code": "zebra", "imageUrl": "https://x.example/"})
    await alice.ask(doc.ADD_REACTION, messageId=top, code="zebra")
    await root.ask(doc.DELETE_REACTION, reactionId=made["reaction"]["id"])
    events = await follower.events()
    assert [event["type"] for event in events] == [
        "REACTION_CATALOGUE_CHANGED",
        "REACTION_ADDED",
        "REACTION_CATALOGUE_CHANGED",
    ]
    assert {event["reaction"]["code"] for event in events} == {"zebra"}
    assert (await alice.ask('{ reactions(codeContains: "zebra") { nodes { id } } }'))["nodes"] == []


async def test_coming_and_going(app: Starlette, alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, "x", private=True)
    code = await join_code(alice, channel)
    here, person = {"channelId": channel}, {"channelId": channel, "userId": bob.id}

    def came(by: str) -> Told:
        return [("MEMBER_JOINED", by, {"channel": "x", "user": "bob", "role": "MEMBER", "previousRole": None})]

    def went(by: str, role: str = "MEMBER") -> Told:
        return [("MEMBER_LEFT", by, {"channel": "x", "user": "bob", "role": None, "previousRole": role})]

    def role(user: str, role: str, before: str) -> Told:
        own = {"channel": "x", "user": user, "role": role, "previousRole": before}
        return [("MEMBER_ROLE_CHANGED", "alice", own)]

    handed = [
        *role("alice", "ADMIN", "OWNER"),
        ("CHANNEL_UPDATED", "alice", {"channel": "x", "changedFields": ["owner"]}),
        *role("bob", "OWNER", "ADMIN"),
    ]
    follower = await following(alice)
    await check(
        follower,
        (at_new_address(bob, app), doc.JOIN_BY_CODE, {"joinCode": code}, came("bob")),
        (bob, doc.LEAVE, here, went("bob")),
        (alice, doc.ADD_MEMBERS, {**here, "userIds": [bob.id, alice.id]}, came("alice")),
        (alice, doc.SET_ROLE, {**person, "role": "MODERATOR"}, role("bob", "MODERATOR", "MEMBER")),
        (alice, doc.REMOVE_MEMBER, person, went("alice", "MODERATOR")),
        (
            alice,
            doc.SET_PRIVACY,
            {**here, "isPrivate": False},
            [("CHANNEL_PRIVACY_CHANGED", "alice", {"channel": "x", "wasPrivate": True, "isPrivate": False})],
        ),
        (bob, doc.JOIN, here, came("bob")),
        (bob, doc.JOIN, here, []),
        (alice, doc.SET_ROLE, {**person, "role": "ADMIN"}, role("bob", "ADMIN", "MEMBER")),
        (alice, doc.SET_ROLE, {**person, "role": "OWNER"}, handed),
    )


async def test_people(newcomer: Newcomer, alice: Person, bob: Person, root: Person) -> None:
    follower = await following(bob)
    await newcomer("carol")
    assert await told(follower) == [("USER_UPDATED", "carol", {"user": "carol"})]
    switched = [("USER_UPDATED", "root", {"user": "alison"})]
    await check(
        follower,
        (alice, doc.UPDATE_PROFILE, {"input": {"name": "alison"}}, [("USER_UPDATED", "alison", {"user": "alison"})]),
        (root, doc.SET_USER_ACTIVE, {"userId": alice.id, "active": False}, switched),
        (root, doc.SET_USER_ACTIVE, {"userId": alice.id, "active": True}, switched),
    )


async def test_what_all_events_have(alice: Person, bob: Person) -> None:
    follower = await following(bob)
    channel = await create_channel(alice, "x", members=(bob,))
    await reply(bob, await send(alice, channel))
    await set_role(alice, channel, bob, "ADMIN")
    await alice.ask(doc.UPDATE_PROFILE, input={"bio": "zebra"})
    events = await follower.events()
    for event in events:
        ((place, seq),) = positions(event["cursor"]).items()
        assert (place, seq > 0) == (stream(event), True)
        # Of both streams that tell of somebody who came: in their own it is the only thing that says where.
        assert event["channelId"] == (channel if place != "w" else None)
        assert datetime.fromisoformat(event["at"]).tzinfo is not None
    assert len({event["id"] for event in events}) == len(events) == 8
    assert {stream(event) for event in events} == {f"c{number(channel)}", f"u{number(bob.id)}", "w"}
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert (await alice.ask(doc.NODE, id=events[0]["id"])) is None
