"""Messages: posting, editing, deleting."""

import asyncio

import pytest

from app.db import Database
from tests.conftest import Person
from tests.documents import (
    ADD_REACTION,
    DELETE_MESSAGE,
    EDIT,
    LEAVE,
    READ_MESSAGE,
    REPLY,
    SEND,
    create_channel,
    denial,
    denied,
    number,
    open_dm,
    request_error,
    scalar,
    select,
    send,
    set_role,
    snapshot,
)

TEXTS = [
    "plain",
    "  two\n\tlines  ",
    "\U0001f469\u200d\U0001f680 \U0001f1e9\U0001f1ea",
    "\u202eright to left\u202c عليّ",
    "<script>alert(1)</script> %_\\ '; DROP TABLE users; --",
    "\x01\x1b[31m\x7f",
    "\ufffe\uffff\U0010ffff",
    "a" * 8000,
    "\U0001f389" * 8000,
]
TOO_LONG = ["a" * 8001, "\U0001f389" * 8001, " " * 8001]


async def test_a_message_is_kept_as_it_was_written(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    for text in TEXTS:
        sent = (await alice.ask(SEND, input={"channelId": channel, "content": text}))["message"]
        assert sent["content"] == text
        assert (await bob.ask(READ_MESSAGE, id=sent["id"]))["content"] == text
        stored = await scalar(database, "SELECT content FROM messages WHERE id = :id", id=number(sent["id"]))
        assert stored == text


async def test_a_new_message_has_its_author_channel_and_place(alice: Person) -> None:
    channel = await create_channel(alice)
    sent = (await alice.ask(SEND, input={"channelId": channel, "content": "x"}))["message"]
    assert (sent["author"]["id"], sent["channel"]["id"], sent["revision"]) == (alice.id, channel, 1)
    assert (sent["updatedAt"], sent["deletedAt"], sent["parent"], sent["reply"]) == (None, None, None, None)
    assert (sent["replyCount"], sent["reactions"], sent["clientKey"]) == (0, [], None)
    later = (await alice.ask(SEND, input={"channelId": channel, "content": "y"}))["message"]
    assert later["seq"] > sent["seq"]


async def test_messages_posted_at_the_same_time_have_places_of_their_own(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    given = {"channelId": channel, "content": "x"}
    sent = await asyncio.gather(*(person.ask(SEND, input=given) for person in (alice, bob) * 8))
    assert len({each["message"]["seq"] for each in sent}) == 16


async def test_an_empty_message_is_none(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    message = await send(alice, channel)
    for text in ("", " ", "\n\t\u00a0\u2003"):
        for document, target in (
            (SEND, {"channelId": channel}),
            (REPLY, {"parentId": message}),
            (EDIT, {"messageId": message}),
        ):
            refused = await denial(database, alice, document, input={**target, "content": text})
            assert (refused.code, refused.field) == ("INVALID_INPUT", ["content"]), text


async def test_a_message_can_be_seen(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    assert (
        await denied(database, alice, SEND, input={"channelId": channel, "content": "\u200b\u2060"}) == "INVALID_INPUT"
    )


async def test_a_message_has_at_most_8000_characters(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    message = await send(alice, channel)
    for text in TOO_LONG:
        for document, target in (
            (SEND, {"channelId": channel}),
            (REPLY, {"parentId": message}),
            (EDIT, {"messageId": message}),
        ):
            refused = await denial(database, alice, document, input={**target, "content": text})
            assert (refused.code, refused.field) == ("MESSAGE_TOO_LONG", ["content"])
    assert await alice.ask("{ serverInfo { maxMessageLength } }") == {"maxMessageLength": 8000}


async def test_a_message_has_no_characters_that_cannot_be_stored(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    assert await denied(database, alice, SEND, input={"channelId": channel, "content": "a\x00"}) == "INVALID_INPUT"
    literal = f'mutation {{ sendMessage(input: {{ channelId: "{channel}", content: "%s" }}) {{ errors {{ code }} }} }}'
    assert (await alice.ask(literal % "\\u{1F389}\\uD83C\\uDF89"))["errors"] == []
    for escape in ("\\ud800", "\\udc00\\ud800", "\\u{D800}", "\\u{110000}", "\\x00"):
        assert await request_error(alice, literal % escape) == "PARSE_FAILED"
    body = b'{"query": "{ viewer { cursor } }", "variables": {"x": "\\ud800"}}'
    headers = {"authorization": f"Bearer {alice.token}", "content-type": "application/json"}
    refused = await alice.http.post("/graphql", content=body, headers=headers)
    assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")


async def test_posting_needs_a_member(alice: Person, bob: Person, root: Person, database: Database) -> None:
    public, private = await create_channel(alice), await create_channel(alice, private=True)
    dm = await open_dm(alice)
    for outsider in (bob, root):
        for channel, code in ((public, "NOT_MEMBER"), (private, "NOT_FOUND"), (dm, "NOT_FOUND")):
            assert await denied(database, outsider, SEND, input={"channelId": channel, "content": "x"}) == code


async def test_input_of_another_shape_is_a_bad_request(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    message = await send(alice, channel)
    before = await snapshot(database)
    for extra in ({"content": 5}, {"content": None}, {"content": ["x"]}, {"authorId": alice.id}, {"seq": 1}):
        assert await request_error(alice, SEND, input={"channelId": channel, "content": "x", **extra}) == "BAD_REQUEST"
    for revision in (2**31, -(2**31) - 1, "1", 1.5, True):
        given = {"messageId": message, "content": "x", "expectedRevision": revision}
        assert await request_error(alice, EDIT, input=given) == "BAD_REQUEST"
    assert await snapshot(database) == before


async def test_an_edit_replaces_the_text(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    message = await send(bob, channel, "teh text")
    edited = (await bob.ask(EDIT, input={"messageId": message, "content": "the text"}))["message"]
    assert (edited["content"], edited["revision"]) == ("the text", 2)
    assert edited["updatedAt"] >= edited["createdAt"]
    assert (await alice.ask(READ_MESSAGE, id=message))["content"] == "the text"


async def test_an_edit_to_the_same_text_writes_nothing(alice: Person, database: Database) -> None:
    message = await send(alice, await create_channel(alice), "same")
    before = await snapshot(database)
    kept = await alice.ask(EDIT, input={"messageId": message, "content": "same"})
    assert (kept["message"]["revision"], kept["message"]["updatedAt"], kept["cursor"]) == (1, None, None)
    assert await snapshot(database) == before


async def test_an_edit_that_was_begun_on_an_older_text_is_refused(alice: Person, database: Database) -> None:
    message = await send(alice, await create_channel(alice))
    first = {"messageId": message, "content": "first", "expectedRevision": 1}
    assert (await alice.ask(EDIT, input=first))["message"]["revision"] == 2
    for revision in (1, 3, 0, -1, 2**31 - 1):
        second = {"messageId": message, "content": "second", "expectedRevision": revision}
        refused = await denial(database, alice, EDIT, input=second)
        assert (refused.code, refused.field) == ("EDIT_CONFLICT", ["expectedRevision"])


async def test_of_edits_at_the_same_time_one_wins(alice: Person, database: Database) -> None:
    message = await send(alice, await create_channel(alice))
    edits = [{"messageId": message, "content": f"text {n}", "expectedRevision": 1} for n in range(8)]
    bodies = await asyncio.gather(*(alice.send(EDIT, input=edit) for edit in edits))
    codes = [error["code"] for body in bodies for error in body["data"]["editMessage"]["errors"]]
    assert codes == ["EDIT_CONFLICT"] * 7
    assert await scalar(database, "SELECT revision FROM messages") == 2


async def test_nobody_edits_the_words_of_another(alice: Person, bob: Person, root: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob, root))
    message = await send(bob, channel)
    for other in (alice, root):
        assert await denied(database, other, EDIT, input={"messageId": message, "content": "x"}) == "FORBIDDEN"


async def test_an_author_who_left_changes_nothing(alice: Person, bob: Person, database: Database) -> None:
    public = await create_channel(alice, members=(bob,))
    private = await create_channel(alice, private=True, members=(bob,))
    for channel, code in ((public, "NOT_MEMBER"), (private, "NOT_FOUND")):
        message = await send(bob, channel)
        await bob.ask(LEAVE, channelId=channel)
        assert await denied(database, bob, EDIT, input={"messageId": message, "content": "x"}) == code
        assert await denied(database, bob, DELETE_MESSAGE, messageId=message) == code


async def test_a_deleted_message_leaves_a_tombstone_without_text(
    alice: Person, bob: Person, database: Database
) -> None:
    channel = await create_channel(alice, members=(bob,))
    message = await send(bob, channel, "regret")
    await alice.ask(ADD_REACTION, messageId=message, code="eyes")
    gone = (await bob.ask(DELETE_MESSAGE, messageId=message))["message"]
    assert (gone["content"], bool(gone["deletedAt"]), gone["reactions"]) == (None, True, [])
    seen = await alice.ask(READ_MESSAGE, id=message)
    assert (seen["content"], seen["author"]["id"], seen["seq"]) == (None, bob.id, gone["seq"])
    assert await select(database, "SELECT content FROM messages") == [(None,)]
    assert await scalar(database, "SELECT count(*) FROM message_reactions") == 0


async def test_a_deleted_message_stays_deleted(alice: Person, database: Database) -> None:
    message = await send(alice, await create_channel(alice))
    await alice.ask(DELETE_MESSAGE, messageId=message)
    before = await snapshot(database)
    assert (await alice.ask(DELETE_MESSAGE, messageId=message))["cursor"] is None
    assert await snapshot(database) == before
    refused = await denial(database, alice, EDIT, input={"messageId": message, "content": "x"})
    assert (refused.code, refused.field) == ("MESSAGE_DELETED", ["messageId"])
    refused = await denial(database, alice, ADD_REACTION, messageId=message, code="eyes")
    assert (refused.code, refused.field) == ("MESSAGE_DELETED", ["messageId"])


@pytest.mark.parametrize("role", ["MODERATOR", "ADMIN"])
async def test_a_moderator_deletes_even_what_the_owner_wrote(alice: Person, bob: Person, role: str) -> None:
    channel = await create_channel(alice, members=(bob,))
    message = await send(alice, channel)
    await set_role(alice, channel, bob, role)
    assert (await bob.ask(DELETE_MESSAGE, messageId=message))["message"]["content"] is None


async def test_others_delete_nothing(
    alice: Person, bob: Person, carol: Person, root: Person, database: Database
) -> None:
    message = await send(alice, await create_channel(alice, members=(bob,)))
    assert await denied(database, bob, DELETE_MESSAGE, messageId=message) == "ROLE_TOO_LOW"
    assert await denied(database, carol, DELETE_MESSAGE, messageId=message) == "NOT_MEMBER"
    assert await denied(database, root, DELETE_MESSAGE, messageId=message) == "NOT_MEMBER"
    note = await send(alice, await open_dm(alice, bob))
    assert await denied(database, bob, DELETE_MESSAGE, messageId=note) == "ROLE_TOO_LOW"


async def test_mutations_of_one_document_run_in_their_order(alice: Person) -> None:
    message = await send(alice, await create_channel(alice))
    document = (
        'mutation ($id: ID!) { a: addReaction(messageId: $id, code: "tada") { message { reactions { count } } } '
        'b: addReaction(messageId: $id, code: "no such") { errors { code } } '
        "c: deleteMessage(messageId: $id) { message { content reactions { count } } } }"
    )
    data = (await alice.send(document, id=message))["data"]
    assert data["a"] == {"message": {"reactions": [{"count": 1}]}}
    assert data["b"] == {"errors": [{"code": "REACTION_UNKNOWN"}]}
    assert data["c"] == {"message": {"content": None, "reactions": []}}
