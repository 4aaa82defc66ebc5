"""What the server does by itself."""

import asyncio

from app.db import Database
from app.services.housekeeping import empty_deleted_channels
from tests.conftest import Person
from tests.documents import DELETE_CHANNEL, REPLY, create_channel, scalar, send

MESSAGES = "SELECT count(*) FROM messages"


async def test_a_deleted_channel_is_emptied_with_its_chains_and_others_are_not(
    alice: Person, bob: Person, database: Database
) -> None:
    kept, deleted = await create_channel(alice, "kept"), await create_channel(alice, "deleted", members=(bob,))
    await send(alice, kept)
    top = await send(alice, deleted)
    for person in (bob, alice, bob):
        given = {"parentId": top, "content": "and", "onReplyExists": "APPEND_TO_TAIL"}
        await person.ask(REPLY, input=given)
    await alice.ask(DELETE_CHANNEL, channelId=deleted)
    assert await scalar(database, MESSAGES) == 5
    assert (await database.write(empty_deleted_channels)).value == 4
    assert await scalar(database, MESSAGES) == 1
    assert (await database.write(empty_deleted_channels)).value == 0


async def test_two_housekeepers_empty_a_channel_together(alice: Person, database: Database) -> None:
    channel = await create_channel(alice, "deleted")
    for _ in range(20):
        await send(alice, channel)
    await alice.ask(DELETE_CHANNEL, channelId=channel)
    emptied = await asyncio.gather(*(database.write(empty_deleted_channels) for _ in range(4)))
    assert sum(written.value for written in emptied) == 20
    assert await scalar(database, MESSAGES) == 0
