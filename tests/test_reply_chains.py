"""Reply chains: one direct reply per message, and everything below a message in one line."""

import asyncio
from typing import Any

from app.db import Database
from tests.conftest import Person
from tests.documents import (
    DELETE_MESSAGE,
    READ_MESSAGE,
    REPLY,
    create_channel,
    denial,
    denied,
    number,
    open_dm,
    reply,
    request_error,
    scalar,
    select,
    send,
    snapshot,
)

CHAIN = (
    "query ($id: ID!) { message(id: $id) "
    "{ replyCount reply { content } replyChain { nodes { content replyCount parent { content } } } } }"
)
TWICE = "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Message { replyChain { nodes { content } } } } }"


def contents(message: dict[str, Any]) -> list[str | None]:
    return [node["content"] for node in message["replyChain"]["nodes"]]


async def answer(person: Person, parent: str, content: str = "indeed") -> dict[str, Any]:
    answered: dict[str, Any] = await person.ask(REPLY, input={"parentId": parent, "content": content})
    return answered


async def test_an_answer_stands_below_its_parent_in_the_same_channel(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    top = await send(alice, channel, "top")
    answered = (await answer(bob, top))["message"]
    assert (answered["parent"]["id"], answered["channel"]["id"], answered["author"]["id"]) == (top, channel, bob.id)
    assert (await alice.ask(READ_MESSAGE, id=top))["reply"]["id"] == answered["id"]


async def test_a_message_has_one_direct_reply(alice: Person, bob: Person, database: Database) -> None:
    top = await send(alice, await create_channel(alice, members=(bob,)))
    first = (await answer(bob, top, "first"))["message"]["id"]
    refused = await denial(database, alice, REPLY, input={"parentId": top, "content": "second"})
    assert (refused.code, refused.field) == ("REPLY_EXISTS", ["parentId"])
    assert refused.payload["existingReply"] == {"id": first, "content": "first"}


async def test_of_answers_at_the_same_time_one_wins_and_the_others_learn_which(
    alice: Person, bob: Person, database: Database
) -> None:
    top = await send(alice, await create_channel(alice, members=(bob,)))
    given = {"parentId": top, "content": "me"}
    bodies = await asyncio.gather(*(person.send(REPLY, input=given) for person in (alice, bob) * 5))
    payloads = [body["data"]["replyToMessage"] for body in bodies]
    (winner,) = (payload["message"]["id"] for payload in payloads if payload["message"])
    lost = [payload for payload in payloads if payload["message"] is None]
    assert {payload["errors"][0]["code"] for payload in lost} == {"REPLY_EXISTS"}
    assert {payload["existingReply"]["id"] for payload in lost} == {winner}
    assert await scalar(database, "SELECT count(*) FROM messages") == 2


async def test_appending_goes_to_the_end_wherever_in_the_chain_it_is_aimed(alice: Person) -> None:
    top = await send(alice, await create_channel(alice), "top")
    second = await reply(alice, top, "1")
    for parent, content in ((top, "2"), (second, "3"), (top, "4")):
        await reply(alice, parent, content)
    chain = await alice.ask(CHAIN, id=top)
    assert contents(chain) == ["1", "2", "3", "4"]
    assert [node["parent"]["content"] for node in chain["replyChain"]["nodes"]] == ["top", "1", "2", "3"]
    assert [node["replyCount"] for node in chain["replyChain"]["nodes"]] == [3, 2, 1, 0]


async def test_the_chain_of_a_message_is_what_stands_below_it(alice: Person) -> None:
    top = await send(alice, await create_channel(alice), "top")
    ids = [top] + [await reply(alice, top, str(place)) for place in range(1, 4)]
    for place, message in enumerate(ids):
        chain = await alice.ask(CHAIN, id=message)
        expected = [str(below) for below in range(place + 1, 4)]
        assert (contents(chain), chain["replyCount"]) == (expected, len(expected))
        assert chain["reply"] == ({"content": expected[0]} if expected else None)


async def test_twenty_people_can_append_at_the_same_time(alice: Person, bob: Person, database: Database) -> None:
    top = await send(alice, await create_channel(alice, members=(bob,)))
    appended = await asyncio.gather(*(reply(person, top) for person in (alice, bob) * 10))
    assert len(set(appended)) == 20
    chain = await alice.ask(CHAIN, id=top)
    assert chain["replyCount"] == len(chain["replyChain"]["nodes"]) == 20
    rows = await select(database, "SELECT chain_pos FROM messages WHERE chain_id = :id ORDER BY 1", id=number(top))
    assert [row.chain_pos for row in rows] == list(range(1, 21))


async def test_chains_stay_apart(alice: Person) -> None:
    channel = await create_channel(alice)
    one, other = await send(alice, channel, "one"), await send(alice, channel, "other")
    await reply(alice, one, "below one")
    await reply(alice, other, "below other")
    assert contents(await alice.ask(CHAIN, id=one)) == ["below one"]
    assert contents(await alice.ask(CHAIN, id=other)) == ["below other"]


async def test_a_message_without_answers_has_an_empty_chain(alice: Person) -> None:
    top = await send(alice, await create_channel(alice))
    assert await alice.ask(CHAIN, id=top) == {"replyCount": 0, "reply": None, "replyChain": {"nodes": []}}


async def test_a_message_asked_for_twice_has_the_same_chain(alice: Person) -> None:
    top = await send(alice, await create_channel(alice))
    await reply(alice, top, "1")
    found = await alice.ask(TWICE, ids=[top, top])
    assert [contents(message) for message in found] == [["1"], ["1"]]


async def test_a_deleted_message_in_the_middle_keeps_the_chain_whole(alice: Person) -> None:
    top = await send(alice, await create_channel(alice), "top")
    middle = await reply(alice, top, "middle")
    await reply(alice, top, "end")
    await alice.ask(DELETE_MESSAGE, messageId=middle)
    chain = await alice.ask(CHAIN, id=top)
    assert (contents(chain), chain["replyCount"]) == ([None, "end"], 2)
    assert contents(await alice.ask(CHAIN, id=middle)) == ["end"]


async def test_a_deleted_message_gets_no_answer(alice: Person, database: Database) -> None:
    top = await send(alice, await create_channel(alice))
    await alice.ask(DELETE_MESSAGE, messageId=top)
    for mode in ("FAIL", "APPEND_TO_TAIL"):
        given = {"parentId": top, "content": "x", "onReplyExists": mode}
        refused = await denial(database, alice, REPLY, input=given)
        assert (refused.code, refused.field) == ("PARENT_DELETED", ["parentId"])


async def test_appending_goes_below_a_deleted_tail(alice: Person) -> None:
    top = await send(alice, await create_channel(alice), "top")
    await alice.ask(DELETE_MESSAGE, messageId=await reply(alice, top, "tail"))
    await reply(alice, top, "after")
    assert contents(await alice.ask(CHAIN, id=top)) == [None, "after"]


async def test_answering_needs_a_member(alice: Person, bob: Person, root: Person, database: Database) -> None:
    public, private, dm = await create_channel(alice), await create_channel(alice, private=True), await open_dm(alice)
    for channel, code in ((public, "NOT_MEMBER"), (private, "NOT_FOUND"), (dm, "NOT_FOUND")):
        given = {"parentId": await send(alice, channel), "content": "x"}
        for outsider in (bob, root):
            assert await denied(database, outsider, REPLY, input=given) == code


async def test_an_outsider_does_not_learn_of_a_hidden_reply(alice: Person, bob: Person, database: Database) -> None:
    top = await send(alice, await create_channel(alice, private=True))
    await reply(alice, top)
    refused = await denial(database, bob, REPLY, input={"parentId": top, "content": "x"})
    assert (refused.code, refused.payload["existingReply"]) == ("NOT_FOUND", None)


async def test_what_to_do_about_a_reply_is_one_of_two_words(alice: Person, database: Database) -> None:
    top = await send(alice, await create_channel(alice))
    before = await snapshot(database)
    for mode in ("APPEND", "fail", None, 1):
        given = {"parentId": top, "content": "x", "onReplyExists": mode}
        assert await request_error(alice, REPLY, input=given) == "BAD_REQUEST"
    assert await snapshot(database) == before


async def test_an_answer_is_part_of_the_timeline(alice: Person) -> None:
    channel = await create_channel(alice)
    await reply(alice, await send(alice, channel, "top"), "answer")
    timeline = await alice.ask("query ($id: ID!) { channel(id: $id) { messages { nodes { content } } } }", id=channel)
    assert [node["content"] for node in timeline["messages"]["nodes"]] == ["top", "answer"]
