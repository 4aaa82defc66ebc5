"""What the server does by itself."""

from sqlalchemy import text

from app.db import Database
from app.services.housekeeping import drop_shells, empty_deleted_channels
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


async def test_the_shell_of_a_deleted_channel_goes_after_a_week(alice: Person, database: Database) -> None:
    await create_channel(alice, "kept")
    channel = await create_channel(alice, "deleted")
    await alice.ask(DELETE_CHANNEL, channelId=channel)
    assert (await database.write(drop_shells)).value == 0
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE channels SET deleted_at = deleted_at - interval '8 days'"))
    assert (await database.write(drop_shells)).value == 1
    assert await scalar(database, "SELECT count(*) FROM memberships") == 1
