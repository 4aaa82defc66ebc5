"""Client keys: a retry returns the first result and writes nothing."""

import asyncio
from typing import Any

from app.db import Database
from tests.conftest import Person
from tests.documents import (
    ARCHIVE,
    CREATE_CHANNEL,
    DELETE_CHANNEL,
    DELETE_MESSAGE,
    EDIT,
    JOIN,
    LEAVE,
    READ_MESSAGE,
    REMOVE_MEMBER,
    REPLY,
    SEND,
    SET_ROLE,
    UPDATE_CHANNEL,
    create_channel,
    denial,
    denied,
    scalar,
    select,
    send,
    snapshot,
)

BAD_KEYS = ["", "  ", " k ", "a" * 129, "a\nb", "a\x00", "a\u202e"]


def message_in(channel: str, content: str = "once", key: str = "k") -> dict[str, Any]:
    return {"channelId": channel, "content": content, "clientKey": key}


async def test_a_retry_returns_the_first_message_and_writes_nothing(alice: Person, database: Database) -> None:
    given = message_in(await create_channel(alice))
    first = await alice.ask(SEND, input=given)
    assert (first["deduplicated"], bool(first["cursor"])) == (False, True)
    before = await snapshot(database)
    again = await alice.ask(SEND, input=given)
    assert (again["deduplicated"], again["message"]) == (True, first["message"])
    assert again["cursor"] == first["cursor"]  # a client waits for its stream to pass it, after a retry too
    assert await snapshot(database) == before


async def test_a_retry_may_select_other_fields(alice: Person) -> None:
    given = message_in(await create_channel(alice))
    first = await alice.ask(SEND, input=given)
    other = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id author { name } } } }"
    again = await alice.ask(other, input=given)
    assert again["message"] == {"id": first["message"]["id"], "author": {"name": "alice"}}


async def test_fifty_retries_at_the_same_time_make_one_message_and_one_event(alice: Person, database: Database) -> None:
    given = message_in(await create_channel(alice))
    document = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } deduplicated } }"
    sent = await asyncio.gather(*(alice.ask(document, input=given) for _ in range(50)))
    assert len({each["message"]["id"] for each in sent}) == 1
    assert sum(each["deduplicated"] for each in sent) == 49
    assert await scalar(database, "SELECT count(*) FROM messages") == 1
    assert await scalar(database, "SELECT count(*) FROM stream_events WHERE type = 'MESSAGE_CREATED'") == 1


async def test_the_same_key_with_other_input_is_refused(alice: Person, database: Database) -> None:
    channel, other = await create_channel(alice), await create_channel(alice, "other")
    parent = await send(alice, channel)
    await alice.ask(SEND, input=message_in(channel))
    for document, given in (
        (SEND, message_in(channel, "twice")),
        (SEND, message_in(channel, "once ")),
        (SEND, message_in(other)),
        (REPLY, {"parentId": parent, "content": "once", "clientKey": "k"}),
    ):
        refused = await denial(database, alice, document, input=given)
        assert (refused.code, refused.field) == ("KEY_REUSED", ["clientKey"])


async def test_without_a_key_the_same_text_is_two_messages(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    assert await send(alice, channel) != await send(alice, channel)
    given = {"channelId": channel, "content": "x", "clientKey": None}
    assert (await alice.ask(SEND, input=given))["message"]["id"] != (await alice.ask(SEND, input=given))["message"][
        "id"
    ]
    assert await scalar(database, "SELECT count(*) FROM messages") == 4


async def test_keys_of_different_people_and_kinds_do_not_meet(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    for person in (alice, bob):
        sent = await person.ask(SEND, input=message_in(channel))
        assert (sent["deduplicated"], sent["message"]["clientKey"]) == (False, "k")
    made = await alice.ask(CREATE_CHANNEL, input={"name": "x", "clientKey": "k"})
    assert made["deduplicated"] is False


async def test_only_the_author_sees_the_key(alice: Person, bob: Person, root: Person) -> None:
    channel = await create_channel(alice, members=(bob, root))
    message = (await alice.ask(SEND, input=message_in(channel)))["message"]["id"]
    assert (await alice.ask(READ_MESSAGE, id=message))["clientKey"] == "k"
    for other in (bob, root):
        assert (await other.ask(READ_MESSAGE, id=message))["clientKey"] is None


async def test_a_key_is_one_line_of_128(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    parent = await send(alice, channel)
    for key in BAD_KEYS:
        for document, given in (
            (SEND, {"channelId": channel, "content": "x"}),
            (REPLY, {"parentId": parent, "content": "x"}),
            (CREATE_CHANNEL, {"name": "x"}),
        ):
            refused = await denial(database, alice, document, input={**given, "clientKey": key})
            assert (refused.code, refused.field) == ("INVALID_INPUT", ["clientKey"]), key
    assert (await alice.ask(SEND, input=message_in(channel, key="\U0001f511" * 128)))["message"]


async def test_a_key_comes_back_as_it_was_sent(alice: Person) -> None:
    channel = await create_channel(alice)
    for key in ("e\u0301", "a k"):
        assert (await alice.ask(SEND, input=message_in(channel, key=key)))["message"]["clientKey"] == key


async def test_a_retry_finds_the_message_whatever_happened_since(
    alice: Person, bob: Person, database: Database
) -> None:
    channel = await create_channel(bob, members=(alice,))
    first = (await alice.ask(SEND, input=message_in(channel)))["message"]["id"]
    await alice.ask(EDIT, input={"messageId": first, "content": "edited"})
    await bob.ask(ARCHIVE, channelId=channel, archived=True)
    again = await alice.ask(SEND, input=message_in(channel))
    assert (again["message"]["id"], again["message"]["content"], again["deduplicated"]) == (first, "edited", True)
    await alice.ask(DELETE_MESSAGE, messageId=first)
    await alice.ask(LEAVE, channelId=channel)
    again = await alice.ask(SEND, input=message_in(channel))
    assert (again["message"]["id"], again["message"]["content"], again["deduplicated"]) == (first, None, True)
    assert await denied(database, alice, SEND, input=message_in(channel, key="other")) == "NOT_MEMBER"


async def test_whoever_may_not_see_the_channel_any_more_finds_nothing_by_a_retry(
    alice: Person, bob: Person, database: Database
) -> None:
    channel = await create_channel(alice, private=True, members=(bob,))
    await bob.ask(SEND, input=message_in(channel))
    await alice.ask(REMOVE_MEMBER, channelId=channel, userId=bob.id)
    assert await denied(database, bob, SEND, input=message_in(channel)) == "NOT_FOUND"


async def test_a_key_used_in_a_channel_that_is_hidden_by_now_is_reused(
    alice: Person, bob: Person, database: Database
) -> None:
    hidden = await create_channel(alice, private=True, members=(bob,))
    public = await create_channel(alice, members=(bob,))
    await bob.ask(SEND, input=message_in(hidden))
    await alice.ask(REMOVE_MEMBER, channelId=hidden, userId=bob.id)
    assert await denied(database, bob, SEND, input=message_in(public)) == "KEY_REUSED"


async def test_a_retried_answer_is_the_first_although_the_parent_has_a_reply_now(
    alice: Person, database: Database
) -> None:
    parent = await send(alice, await create_channel(alice))
    for mode in ("FAIL", "APPEND_TO_TAIL"):
        given = {"parentId": parent, "content": "x", "clientKey": mode, "onReplyExists": mode}
        first = await alice.ask(REPLY, input=given)
        before = await snapshot(database)
        again = await alice.ask(REPLY, input=given)
        assert (again["message"]["id"], again["deduplicated"]) == (first["message"]["id"], True)
        assert await snapshot(database) == before


async def test_a_retried_channel_is_the_first_under_whatever_name(alice: Person, bob: Person) -> None:
    given = {"name": "plans", "memberIds": [bob.id], "clientKey": "k"}
    first = (await alice.ask(CREATE_CHANNEL, input=given))["channel"]["id"]
    await alice.ask(UPDATE_CHANNEL, input={"channelId": first, "name": "renamed"})
    again = await alice.ask(CREATE_CHANNEL, input=given)
    assert (again["channel"]["id"], again["channel"]["name"], again["deduplicated"]) == (first, "renamed", True)


async def test_retried_channels_at_the_same_time_are_one(alice: Person, database: Database) -> None:
    given = {"name": "plans", "isPrivate": True, "clientKey": "k"}
    made = await asyncio.gather(*(alice.ask(CREATE_CHANNEL, input=given) for _ in range(10)))
    assert len({each["channel"]["id"] for each in made}) == 1
    assert sorted(each["deduplicated"] for each in made) == [False] + [True] * 9
    assert [row.type for row in await select(database, "SELECT type FROM stream_events WHERE stream_id ^@ 'c'")] == [
        "CHANNEL_CREATED",
        "MEMBER_JOINED",
    ]


async def test_a_channel_key_with_other_input_is_refused(alice: Person, bob: Person, database: Database) -> None:
    await alice.ask(CREATE_CHANNEL, input={"name": "plans", "clientKey": "k"})
    for other in ({"name": "other"}, {"description": "x"}, {"isPrivate": True}, {"memberIds": [bob.id]}):
        given = {"name": "plans", "clientKey": "k", **other}
        assert await denied(database, alice, CREATE_CHANNEL, input=given) == "KEY_REUSED", other


async def test_the_key_of_a_deleted_channel_is_reused(alice: Person, database: Database) -> None:
    given = {"name": "plans", "clientKey": "k"}
    await alice.ask(DELETE_CHANNEL, channelId=(await alice.ask(CREATE_CHANNEL, input=given))["channel"]["id"])
    assert await denied(database, alice, CREATE_CHANNEL, input=given) == "KEY_REUSED"


async def test_the_key_of_a_channel_that_is_hidden_by_now_is_reused(
    alice: Person, bob: Person, database: Database
) -> None:
    given = {"name": "plans", "isPrivate": True, "memberIds": [bob.id], "clientKey": "k"}
    channel = (await alice.ask(CREATE_CHANNEL, input=given))["channel"]["id"]
    await alice.ask(SET_ROLE, channelId=channel, userId=bob.id, role="OWNER")
    await alice.ask(LEAVE, channelId=channel)
    assert await denied(database, alice, CREATE_CHANNEL, input=given) == "KEY_REUSED"


async def test_a_refused_try_leaves_the_key_free(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice)
    assert await denied(database, bob, SEND, input=message_in(channel)) == "NOT_MEMBER"
    await bob.ask(JOIN, channelId=channel)
    assert (await bob.ask(SEND, input=message_in(channel, "other")))["deduplicated"] is False


async def test_a_retry_carries_the_cursor_of_the_first(alice: Person) -> None:
    channel = await create_channel(alice)
    first, again = [await alice.ask(SEND, input=message_in(channel)) for _ in range(2)]
    assert again["cursor"] == first["cursor"] is not None
