"""Reactions: reacting to messages, and the catalogue."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.db import Database
from app.main import create_app
from app.settings import Settings
from tests.conftest import Person
from tests.documents import (
    ADD_REACTION,
    CREATE_REACTION,
    DELETE_REACTION,
    NODE,
    READ_MESSAGE,
    REMOVE_REACTION,
    create_channel,
    denial,
    denied,
    ids_of_nothing,
    number,
    only,
    open_dm,
    request_error,
    scalar,
    send,
    snapshot,
)

IMAGE = "https://images.example/parrot.gif"
BAD_CODES = ["", " ", "Parrot", "_a", "-a", "a b", "a:b", "é", "\U0001f389", "a" * 33, "a\x00", "a\n", "a\u202e"]
CATALOGUE = (
    "query ($kind: ReactionKind, $text: String) "
    "{ reactions(kind: $kind, codeContains: $text, first: 100) { nodes { code kind imageUrl } } }"
)


async def create(person: Person, code: str = "parrot") -> str:
    made = await person.ask(CREATE_REACTION, input={"code": code, "imageUrl": IMAGE})
    return str(made["reaction"]["id"])


async def groups(person: Person, message: str) -> list[tuple[str, int, bool, list[str]]]:
    found = (await person.ask(READ_MESSAGE, id=message))["reactions"]
    return [
        (
            group["reaction"]["code"],
            group["count"],
            group["viewerHasReacted"],
            [user["id"] for user in group["users"]["nodes"]],
        )
        for group in found
    ]


async def codes(person: Person, **variables: Any) -> list[str]:
    return [node["code"] for node in (await person.ask(CATALOGUE, **variables))["nodes"]]


async def test_reactions_are_grouped_in_the_order_of_their_first_use(alice: Person, bob: Person) -> None:
    message = await send(alice, await create_channel(alice, members=(bob,)))
    for person, code in ((bob, "tada"), (alice, "eyes"), (alice, "tada")):
        done = await person.ask(ADD_REACTION, messageId=message, code=code)
        assert (done["changed"], done["reaction"]["code"]) == (True, code)
    assert await groups(alice, message) == [("tada", 2, True, [bob.id, alice.id]), ("eyes", 1, True, [alice.id])]
    assert await groups(bob, message) == [("tada", 2, True, [bob.id, alice.id]), ("eyes", 1, False, [alice.id])]


async def test_a_repeated_reaction_changes_nothing(alice: Person, database: Database) -> None:
    message = await send(alice, await create_channel(alice))
    for document in (ADD_REACTION, REMOVE_REACTION):
        first = await alice.ask(document, messageId=message, code="tada")
        assert (first["changed"], bool(first["cursor"])) == (True, True)
        before = await snapshot(database)
        again = await alice.ask(document, messageId=message, code="tada")
        assert (again["changed"], again["cursor"], again["message"]["id"]) == (False, None, message)
        assert await snapshot(database) == before


async def test_the_same_reaction_many_times_at_once_counts_once(alice: Person, database: Database) -> None:
    message = await send(alice, await create_channel(alice))
    done = await asyncio.gather(*(alice.ask(ADD_REACTION, messageId=message, code="tada") for _ in range(10)))
    assert sum(each["changed"] for each in done) == 1
    assert await scalar(database, "SELECT count(*) FROM message_reactions") == 1
    assert await scalar(database, "SELECT count(*) FROM stream_events WHERE type = 'REACTION_ADDED'") == 1


async def test_one_takes_back_only_ones_own_reaction(alice: Person, bob: Person) -> None:
    message = await send(alice, await create_channel(alice, members=(bob,)))
    await bob.ask(ADD_REACTION, messageId=message, code="tada")
    assert (await alice.ask(REMOVE_REACTION, messageId=message, code="tada"))["changed"] is False
    assert await groups(alice, message) == [("tada", 1, False, [bob.id])]


async def test_a_code_outside_the_catalogue_is_unknown(alice: Person, database: Database) -> None:
    message = await send(alice, await create_channel(alice))
    for code in (*BAD_CODES, "nothing", "TADA", ":tada:", "tad%", "a" * 10_000):
        for document in (ADD_REACTION, REMOVE_REACTION):
            refused = await denial(database, alice, document, messageId=message, code=code)
            assert (refused.code, refused.field) == ("REACTION_UNKNOWN", ["code"]), code


async def test_reacting_needs_a_member(alice: Person, bob: Person, root: Person, database: Database) -> None:
    public, private, dm = await create_channel(alice), await create_channel(alice, private=True), await open_dm(alice)
    for channel, code in ((public, "NOT_MEMBER"), (private, "NOT_FOUND"), (dm, "NOT_FOUND")):
        message = await send(alice, channel)
        for outsider in (bob, root):
            for document in (ADD_REACTION, REMOVE_REACTION):
                assert await denied(database, outsider, document, messageId=message, code="tada") == code


async def test_a_message_has_at_most_50_different_reactions(alice: Person, bob: Person, database: Database) -> None:
    message = await send(alice, await create_channel(alice, members=(bob,)))
    all_codes = await codes(alice, kind="SYSTEM")
    async with database.engine.begin() as connection:
        fill = (
            "INSERT INTO message_reactions (message_id, reaction_id, user_id) SELECT :message, id, :user FROM reactions"
        )
        fill += " WHERE code = ANY(:codes)"
        given = {"message": number(message), "user": number(bob.id), "codes": all_codes[:49]}
        await connection.execute(text(fill), given)
    await alice.ask(ADD_REACTION, messageId=message, code=all_codes[49])
    refused = await denial(database, alice, ADD_REACTION, messageId=message, code=all_codes[50])
    assert (refused.code, refused.field) == ("INVALID_INPUT", ["code"])
    assert (await alice.ask(ADD_REACTION, messageId=message, code=all_codes[0]))["changed"] is True


async def test_a_deleted_reaction_makes_room_for_another(alice: Person, root: Person) -> None:
    message = await send(alice, await create_channel(alice))
    parrot = await create(root)
    await alice.ask(ADD_REACTION, messageId=message, code="parrot")
    for code in (await codes(alice, kind="SYSTEM"))[:49]:
        await alice.ask(only("changed", ADD_REACTION), messageId=message, code=code)
    await root.ask(DELETE_REACTION, reactionId=parrot)
    assert len(await groups(alice, message)) == 49
    assert (await alice.ask(ADD_REACTION, messageId=message, code="wave"))["changed"] is True


async def test_the_catalogue_is_listed_by_code(alice: Person, root: Person) -> None:
    await create(root, "a_b")
    await create(root, "zz+1-x")
    listed = await codes(alice)
    assert listed == sorted(listed)
    assert await codes(alice, kind="CUSTOM") == ["a_b", "zz+1-x"]
    assert "a_b" not in await codes(alice, kind="SYSTEM")
    for part, found in (("_B", ["a_b"]), ("+1", ["zz+1-x"]), ("%", []), ("\\", []), ("TAD", ["tada"])):
        assert await codes(alice, text=part) == found, part
    assert await request_error(alice, CATALOGUE, text="\x00") == "BAD_REQUEST"
    assert await request_error(alice, CATALOGUE, kind="OTHER") == "BAD_REQUEST"


async def test_a_workspace_admin_makes_a_reaction_for_everybody(alice: Person, root: Person) -> None:
    given = {"code": "0-parrot_+", "imageUrl": IMAGE}
    made = (await root.ask(CREATE_REACTION, input=given))["reaction"]
    assert (made["code"], made["kind"], made["imageUrl"]) == ("0-parrot_+", "CUSTOM", IMAGE)
    message = await send(alice, await create_channel(alice))
    assert (await alice.ask(ADD_REACTION, messageId=message, code="0-parrot_+"))["changed"] is True


async def test_nobody_else_makes_a_reaction(alice: Person, database: Database) -> None:
    assert await denied(database, alice, CREATE_REACTION, input={"code": "parrot", "imageUrl": IMAGE}) == "FORBIDDEN"


async def test_a_reaction_has_a_plain_code_and_an_https_image(root: Person, database: Database) -> None:
    for code in BAD_CODES:
        refused = await denial(database, root, CREATE_REACTION, input={"code": code, "imageUrl": IMAGE})
        assert (refused.code, refused.field) == ("INVALID_INPUT", ["code"]), code
    for image in (None, "", "http://images.example/a", "file:///etc/passwd", "javascript:1", "https://169.254.1.1 /"):
        refused = await denial(database, root, CREATE_REACTION, input={"code": "parrot", "imageUrl": image})
        assert (refused.code, refused.field) == ("INVALID_INPUT", ["imageUrl"]), image


async def test_a_code_is_taken_once(root: Person, database: Database) -> None:
    await create(root)
    for code in ("parrot", "tada"):
        refused = await denial(database, root, CREATE_REACTION, input={"code": code, "imageUrl": IMAGE})
        assert (refused.code, refused.field) == ("REACTION_CODE_TAKEN", ["code"])


async def test_a_deleted_reaction_is_gone_from_the_catalogue_and_from_messages(
    alice: Person, root: Person, database: Database
) -> None:
    reaction = await create(root)
    message = await send(alice, await create_channel(alice))
    await alice.ask(ADD_REACTION, messageId=message, code="parrot")
    assert (await root.ask(DELETE_REACTION, reactionId=reaction))["deletedId"] == reaction
    assert (await groups(alice, message), await codes(alice, kind="CUSTOM")) == ([], [])
    assert await alice.ask(NODE, id=reaction) is None
    assert await denied(database, alice, ADD_REACTION, messageId=message, code="parrot") == "REACTION_UNKNOWN"
    assert await denied(database, root, DELETE_REACTION, reactionId=reaction) == "NOT_FOUND"
    assert await create(root) != reaction
    assert await groups(alice, message) == []


async def test_only_its_creator_or_a_workspace_admin_deletes_a_reaction(
    alice: Person, root: Person, database: Database
) -> None:
    refused = await denial(database, alice, DELETE_REACTION, reactionId=await create(root))
    assert (refused.code, refused.field) == ("FORBIDDEN", ["reactionId"])


async def test_the_systems_reactions_stay(alice: Person, root: Person, database: Database) -> None:
    found = await alice.ask('{ reactions(codeContains: "tada") { nodes { id } } }')
    for person in (alice, root):
        refused = await denial(database, person, DELETE_REACTION, reactionId=found["nodes"][0]["id"])
        assert (refused.code, refused.field) == ("SYSTEM_REACTION_IMMUTABLE", ["reactionId"])


async def test_a_reaction_that_is_none_cannot_be_deleted(alice: Person, root: Person, database: Database) -> None:
    for reaction in ids_of_nothing("Reaction", alice):
        assert await denied(database, root, DELETE_REACTION, reactionId=reaction) == "NOT_FOUND", reaction


@pytest.fixture
async def open_catalogue(settings: Settings, new_database: Callable[[str], str]) -> AsyncIterator[httpx.AsyncClient]:
    """Another server, with REACTION_CREATION=anyone."""
    app = create_app(replace(settings, reaction_creation="anyone"), new_database("open_catalogue"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://parley.test") as client,
    ):
        yield client


async def test_with_the_setting_everybody_makes_and_deletes_own_reactions(
    alice: Person, bob: Person, open_catalogue: httpx.AsyncClient
) -> None:
    alice, bob = replace(alice, http=open_catalogue), replace(bob, http=open_catalogue)
    reaction = await create(alice)
    assert await bob.refused(DELETE_REACTION, reactionId=reaction) == "FORBIDDEN"
    assert (await alice.ask(DELETE_REACTION, reactionId=reaction))["deletedId"] == reaction
