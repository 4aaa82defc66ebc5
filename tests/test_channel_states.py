"""What a channel can become: private or public, archived, deleted; and its join code meanwhile."""

import pytest

from app.db import Database
from tests.conftest import Person
from tests.documents import (
    ADD_MEMBERS,
    ADD_REACTION,
    ARCHIVE,
    CREATE_CHANNEL,
    DELETE_CHANNEL,
    DELETE_MESSAGE,
    EDIT,
    JOIN,
    LEAVE,
    READ_CHANNEL,
    READ_MESSAGE,
    REMOVE_REACTION,
    REPLY,
    ROTATE,
    SEND,
    SET_PRIVACY,
    create_channel,
    denial,
    denied,
    join_code,
    open_dm,
    scalar,
    send,
    set_role,
    snapshot,
)

STATE_CHANGES = [
    (SET_PRIVACY, {"isPrivate": True}),
    (SET_PRIVACY, {"isPrivate": False}),
    (ARCHIVE, {"archived": True}),
    (ROTATE, {}),
]


async def test_private_makes_a_join_code_and_public_drops_it(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice)
    hidden = (await alice.ask(SET_PRIVACY, channelId=channel, isPrivate=True))["channel"]
    assert (hidden["isPrivate"], hidden["joinCode"]) == (True, await scalar(database, "SELECT join_code FROM channels"))
    assert await bob.ask(READ_CHANNEL, id=channel) is None
    shown = (await alice.ask(SET_PRIVACY, channelId=channel, isPrivate=False))["channel"]
    assert (shown["isPrivate"], shown["joinCode"]) == (False, None)
    assert (await bob.ask(READ_CHANNEL, id=channel))["id"] == channel
    again = (await alice.ask(SET_PRIVACY, channelId=channel, isPrivate=True))["channel"]
    assert again["joinCode"] not in {None, hidden["joinCode"]}


async def test_a_channel_cannot_become_public_under_a_taken_name(
    alice: Person, bob: Person, database: Database
) -> None:
    channel = await create_channel(alice, "plans", private=True)
    await create_channel(bob, "Plans")
    assert await denied(database, alice, SET_PRIVACY, channelId=channel, isPrivate=False) == "NAME_TAKEN"


async def test_setting_a_state_again_writes_nothing(alice: Person, database: Database) -> None:
    channel = await create_channel(alice, private=True)
    code = await join_code(alice, channel)
    before = await snapshot(database)
    kept = await alice.ask(SET_PRIVACY, channelId=channel, isPrivate=True)
    assert (kept["channel"]["joinCode"], kept["cursor"]) == (code, None)
    assert (await alice.ask(ARCHIVE, channelId=channel, archived=False))["cursor"] is None
    assert await snapshot(database) == before


async def test_a_rotated_join_code_is_another(alice: Person, database: Database) -> None:
    channel = await create_channel(alice, private=True)
    codes = {await join_code(alice, channel)}
    codes.add((await alice.ask(ROTATE, channelId=channel))["channel"]["joinCode"])
    codes.add((await alice.ask(ROTATE, channelId=channel))["channel"]["joinCode"])
    assert len(codes) == 3
    assert await scalar(database, "SELECT join_code FROM channels") in codes


async def test_only_a_private_channel_has_a_join_code(alice: Person, bob: Person, database: Database) -> None:
    refused = await denial(database, alice, ROTATE, channelId=await create_channel(alice))
    assert (refused.code, refused.field) == ("JOIN_CODE_NOT_ALLOWED", ["channelId"])
    assert await denied(database, alice, ROTATE, channelId=await open_dm(alice, bob)) == "JOIN_CODE_NOT_ALLOWED"


async def test_a_direct_message_stays_private(alice: Person, bob: Person, database: Database) -> None:
    channel = await open_dm(alice, bob)
    for private in (True, False):
        answer = await denied(database, alice, SET_PRIVACY, channelId=channel, isPrivate=private)
        assert answer == "DM_MUST_BE_PRIVATE"
    assert await denied(database, alice, ARCHIVE, channelId=channel, archived=True) == "ROLE_TOO_LOW"
    assert await denied(database, alice, DELETE_CHANNEL, channelId=channel) == "ROLE_TOO_LOW"


@pytest.mark.parametrize("role", ["MEMBER", "MODERATOR"])
async def test_states_are_changed_by_admins(alice: Person, bob: Person, database: Database, role: str) -> None:
    channel = await create_channel(alice, private=True, members=(bob,))
    await set_role(alice, channel, bob, role)
    for document, variables in STATE_CHANGES:
        assert await denied(database, bob, document, channelId=channel, **variables) == "ROLE_TOO_LOW"
    await set_role(alice, channel, bob, "ADMIN")
    for document, variables in [(ROTATE, {}), *STATE_CHANGES[:3]]:
        assert (await bob.ask(document, channelId=channel, **variables))["channel"]["id"] == channel


async def test_states_are_not_changed_by_outsiders(
    alice: Person, bob: Person, root: Person, database: Database
) -> None:
    channel = await create_channel(alice)
    for document, variables in STATE_CHANGES:
        assert await denied(database, bob, document, channelId=channel, **variables) == "NOT_MEMBER"
        assert await denied(database, root, document, channelId=channel, **variables) == "NOT_MEMBER"


async def test_an_archived_channel_is_read_only(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, private=True)
    message = await send(alice, channel)
    await alice.ask(ADD_REACTION, messageId=message, code="tada")
    archived = await alice.ask(ARCHIVE, channelId=channel, archived=True)
    assert archived["channel"]["archivedAt"]
    for document, variables in (
        (SEND, {"input": {"channelId": channel, "content": "x"}}),
        (REPLY, {"input": {"parentId": message, "content": "x"}}),
        (EDIT, {"input": {"messageId": message, "content": "x"}}),
        (ADD_REACTION, {"messageId": message, "code": "heart"}),
        (REMOVE_REACTION, {"messageId": message, "code": "tada"}),
        (ADD_MEMBERS, {"channelId": channel, "userIds": [bob.id]}),
        (SET_PRIVACY, {"channelId": channel, "isPrivate": False}),
        (ROTATE, {"channelId": channel}),
    ):
        assert await denied(database, alice, document, **variables) == "CHANNEL_ARCHIVED", document
    assert (await alice.ask(READ_MESSAGE, id=message))["content"] == "hello"


async def test_nobody_joins_an_archived_channel(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice)
    await alice.ask(ARCHIVE, channelId=channel, archived=True)
    assert await denied(database, bob, JOIN, channelId=channel) == "CHANNEL_ARCHIVED"
    assert (await alice.ask(JOIN, channelId=channel))["cursor"] is None


async def test_in_an_archived_channel_one_can_moderate_and_leave(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    message = await send(bob, channel)
    await alice.ask(ARCHIVE, channelId=channel, archived=True)
    assert (await alice.ask(DELETE_MESSAGE, messageId=message))["message"]["content"] is None
    await set_role(alice, channel, bob, "MODERATOR")
    await bob.ask(LEAVE, channelId=channel)


async def test_an_archived_channel_can_come_back(alice: Person) -> None:
    channel = await create_channel(alice)
    await alice.ask(ARCHIVE, channelId=channel, archived=True)
    assert (await alice.ask(ARCHIVE, channelId=channel, archived=False))["channel"]["archivedAt"] is None
    assert await send(alice, channel)


async def test_a_deleted_channel_is_gone_for_everybody(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    message = await send(bob, channel)
    assert (await alice.ask(DELETE_CHANNEL, channelId=channel))["deletedId"] == channel
    for person in (alice, bob):
        assert await person.ask(READ_CHANNEL, id=channel) is None
        assert await person.ask(READ_MESSAGE, id=message) is None
        assert (await person.ask("{ viewer { channels { nodes { id } } } }"))["channels"]["nodes"] == []
        assert (await person.ask("{ channels { nodes { id } } }"))["nodes"] == []
    assert await denied(database, alice, DELETE_CHANNEL, channelId=channel) == "NOT_FOUND"
    assert await denied(database, bob, SEND, input={"channelId": channel, "content": "x"}) == "NOT_FOUND"
    assert await denied(database, bob, JOIN, channelId=channel) == "NOT_FOUND"


async def test_the_name_of_a_deleted_channel_is_free(alice: Person) -> None:
    await alice.ask(DELETE_CHANNEL, channelId=await create_channel(alice, "plans"))
    assert await create_channel(alice, "plans")


async def test_the_owner_or_a_workspace_admin_deletes(
    alice: Person, bob: Person, carol: Person, root: Person, database: Database
) -> None:
    public, private = await create_channel(alice, members=(bob,)), await create_channel(alice, private=True)
    await set_role(alice, public, bob, "ADMIN")
    assert await denied(database, bob, DELETE_CHANNEL, channelId=public) == "ROLE_TOO_LOW"
    assert await denied(database, carol, DELETE_CHANNEL, channelId=public) == "NOT_MEMBER"
    assert await denied(database, carol, DELETE_CHANNEL, channelId=private) == "NOT_FOUND"
    assert await root.ask(READ_CHANNEL, id=private) is None
    assert (await root.ask(DELETE_CHANNEL, channelId=private))["deletedId"] == private
    await alice.ask(DELETE_CHANNEL, channelId=public)


async def test_the_people_of_a_deleted_direct_message_can_open_another(
    alice: Person, bob: Person, root: Person
) -> None:
    deleted = await open_dm(alice, bob)
    await root.ask(DELETE_CHANNEL, channelId=deleted)
    assert await open_dm(alice, bob) != deleted


async def test_an_archived_channel_can_be_deleted(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    await alice.ask(ARCHIVE, channelId=channel, archived=True)
    await alice.ask(DELETE_CHANNEL, channelId=channel)
    assert await denied(database, alice, ARCHIVE, channelId=channel, archived=False) == "NOT_FOUND"
    assert (await alice.ask(CREATE_CHANNEL, input={"name": "general"}))["channel"]
