"""What was allowed a moment ago: in a channel's log nothing follows what forbids it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from starlette.applications import Starlette

from app.db import Database
from tests.conftest import Person
from tests.documents import (
    ADD_MEMBERS,
    ADD_REACTION,
    ARCHIVE,
    DELETE_CHANNEL,
    DELETE_MESSAGE,
    EDIT,
    JOIN_BY_CODE,
    REMOVE_MEMBER,
    SEND,
    SET_ROLE,
    at_new_address,
    create_channel,
    join_code,
    number,
    only,
    roles,
    scalar,
    select,
    send,
    set_role,
)

ROUNDS = 5
ENDINGS: dict[str, tuple[str, Callable[[str, str], dict[str, Any]]]] = {
    "MEMBER_LEFT": (REMOVE_MEMBER, lambda channel, user: {"channelId": channel, "userId": user}),
    "CHANNEL_ARCHIVED": (ARCHIVE, lambda channel, _: {"channelId": channel, "archived": True}),
    "CHANNEL_DELETED": (DELETE_CHANNEL, lambda channel, _: {"channelId": channel}),
}


async def log_of(database: Database, channel: str) -> list[tuple[str, int]]:
    """Types and actors of a channel's events, in order."""
    rows = await select(
        database,
        "SELECT type, actor_id FROM stream_events WHERE stream_id = :stream ORDER BY seq",
        stream=f"c{number(channel)}",
    )
    return [(row.type, row.actor_id) for row in rows]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_nothing_is_written_after_the_right_to_it_is_gone(
    alice: Person, bob: Person, database: Database, ending: str
) -> None:
    document, variables = ENDINGS[ending]
    for place in range(ROUNDS):
        channel = await create_channel(alice, f"round {place}", private=True, members=(bob,))
        messages = [await send(bob, channel) for _ in range(3)]
        given = {"channelId": channel, "content": "x"}
        await asyncio.gather(
            *(bob.send(only("cursor", SEND), input=given) for _ in range(3)),
            bob.send(only("cursor", EDIT), input={"messageId": messages[0], "content": "y"}),
            alice.ask(only("cursor", document), **variables(channel, bob.id)),
            bob.send(only("cursor", DELETE_MESSAGE), messageId=messages[1]),
            bob.send(only("cursor", ADD_REACTION), messageId=messages[2], code="tada"),
            *(bob.send(only("cursor", SEND), input=given) for _ in range(3)),
        )
        written = [type_ for type_, _ in await log_of(database, channel)]
        later = {*written[written.index(ending) + 1 :]}
        # Who is in an archived channel may still delete.
        assert later <= ({"MESSAGE_DELETED"} if ending == "CHANNEL_ARCHIVED" else set()), later


async def test_a_moderator_who_loses_the_role_does_nothing_with_it_after(
    alice: Person, bob: Person, carol: Person, database: Database
) -> None:
    for place in range(ROUNDS):
        channel = await create_channel(alice, f"round {place}", members=(bob,))
        await set_role(alice, channel, bob, "MODERATOR")
        messages = [await send(alice, channel) for _ in range(4)]
        deletions = [bob.send(only("cursor", DELETE_MESSAGE), messageId=message) for message in messages]
        add = {"channelId": channel, "userIds": [carol.id]}
        take = {"channelId": channel, "userId": bob.id, "role": "MEMBER"}
        await asyncio.gather(
            *deletions[:2],
            bob.send(only("cursor", ADD_MEMBERS), **add),
            alice.ask(only("cursor", SET_ROLE), **take),
            *deletions[2:],
        )
        assert (await log_of(database, channel))[-1] == ("MEMBER_ROLE_CHANGED", number(alice.id))


async def test_a_channel_has_one_owner_whoever_hands_it_over_at_the_same_time(
    alice: Person, bob: Person, carol: Person
) -> None:
    channel = await create_channel(alice, members=(bob, carol))
    targets = [bob, carol] * 4
    await asyncio.gather(
        *(alice.send(only("cursor", SET_ROLE), channelId=channel, userId=target.id, role="OWNER") for target in targets)
    )
    assert sorted((await roles(alice, channel)).values()) == ["ADMIN", "MEMBER", "OWNER"]


async def test_a_join_code_that_is_replaced_while_somebody_joins_lets_nobody_in(
    app: Starlette, alice: Person, bob: Person, database: Database
) -> None:
    channel = await create_channel(alice, private=True)
    code = await join_code(alice, channel)
    async with database.engine.begin() as connection:
        await connection.execute(text("SELECT FROM stream_heads FOR UPDATE"))
        joining = asyncio.create_task(at_new_address(bob, app).refused(JOIN_BY_CODE, joinCode=code))
        async with asyncio.timeout(5):
            while not await scalar(database, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
                pass
        await connection.execute(text("UPDATE channels SET join_code = 'another'"))
    assert await joining == "INVALID_JOIN_CODE"
    assert await roles(alice, channel) == {"alice": "OWNER"}
