"""Objects leave the storage when nothing uses them any more, whatever goes wrong on the way."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from starlette.applications import Starlette

from app.db import Database
from app.errors import StorageUnavailable
from app.services.housekeeping import empty_deleted_channels, keep_house
from app.services.stored_objects import remove_due
from tests.conftest import Person
from tests.documents import DELETE_CHANNEL, SEND, create_channel, only, scalar, select, send
from tests.eventually import eventually
from tests.follower import following
from tests.uploads import DELETE_FILE, READ_FILE, UPLOAD, Sent, objects, send_file, send_form, upload, upload_several

TIME_PASSES = "UPDATE stored_objects SET remove_after = remove_after - interval '25 hours'"
LEFT = "SELECT failures, remove_after > now(), remove_after < now() + interval '5 minutes' FROM stored_objects"


async def run(database: Database, statement: str) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text(statement))


async def removed(app: Starlette, database: Database) -> int:
    found: int = await remove_due(database, app.state.services.storage)
    return found


@contextmanager
def broken(app: Starlette) -> Iterator[None]:
    """The local storage cannot be reached: something else stands in its folder's place."""
    folder: Path = app.state.services.settings.data_dir / "files"
    elsewhere = folder.rename(folder.with_name("files away"))
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        elsewhere.rename(folder)


async def test_a_deleted_file_leaves_the_storage(alice: Person, app: Starlette, database: Database) -> None:
    channel, there = await create_channel(alice), objects(app)
    kept, gone = await upload(alice, channel), await upload(alice, channel)
    assert await removed(app, database) == 0
    await alice.ask(DELETE_FILE, fileId=gone)
    assert len(objects(app) - there) == 2
    assert await removed(app, database) == 1
    assert objects(app) - there == {await scalar(database, "SELECT object_key FROM files")}
    assert await scalar(database, "SELECT count(*) FROM stored_objects") == 1
    assert (await alice.ask(READ_FILE, id=kept))["id"] == kept


async def test_what_no_message_carries_goes_after_a_day(alice: Person, app: Starlette, database: Database) -> None:
    channel, there = await create_channel(alice), objects(app)
    orphan, carried = await upload(alice, channel), await upload(alice, channel)
    await alice.ask(only("message { id }", SEND), input={"channelId": channel, "content": "", "fileIds": [carried]})
    follower = await following(alice)
    await run(database, TIME_PASSES)
    assert await removed(app, database) == 1
    [event] = await follower.events()
    assert (event["type"], event["actor"], event["fileId"], event["file"]) == ("FILE_DELETED", None, orphan, None)
    assert await alice.ask(READ_FILE, id=orphan) is None
    assert (await alice.ask(READ_FILE, id=carried))["id"] == carried
    assert len(objects(app) - there) == 1


async def test_a_file_is_carried_or_swept_never_both(alice: Person, app: Starlette, database: Database) -> None:
    """A message and the sweep, for the same file at the same time."""
    channel = await create_channel(alice)
    for _ in range(10):
        there = objects(app)
        file = await upload(alice, channel)
        await run(database, TIME_PASSES)
        given = {"channelId": channel, "content": "x", "fileIds": [file]}
        sent, _ = await asyncio.gather(alice.send(only("message { id }", SEND), input=given), removed(app, database))
        is_carried = sent["data"]["sendMessage"]["message"] is not None
        assert (await alice.ask(READ_FILE, id=file) is not None) is is_carried
        assert len(objects(app) - there) == int(is_carried)


async def test_the_files_of_a_deleted_channel_go(alice: Person, app: Starlette, database: Database) -> None:
    channel, there = await create_channel(alice), objects(app)
    carried = await upload(alice, channel)
    await alice.ask(only("message { id }", SEND), input={"channelId": channel, "content": "", "fileIds": [carried]})
    await upload(alice, channel)
    await send(alice, channel)
    await alice.ask(DELETE_CHANNEL, channelId=channel)
    events = await scalar(database, "SELECT count(*) FROM stream_events")
    await run(database, TIME_PASSES)
    assert await removed(app, database) == 1  # what was free, in silence: the stream has ended
    await database.write(empty_deleted_channels)
    assert await select(database, "SELECT id FROM messages UNION ALL SELECT id FROM files") == []
    assert await removed(app, database) == 1
    assert objects(app) == there
    assert await scalar(database, "SELECT count(*) FROM stored_objects") == 0
    assert await scalar(database, "SELECT count(*) FROM stream_events") == events


async def test_a_storage_that_is_away_is_tried_again(alice: Person, app: Starlette, database: Database) -> None:
    channel, there = await create_channel(alice), objects(app)
    await alice.ask(DELETE_FILE, fileId=await upload(alice, channel))
    with broken(app):
        with pytest.raises(StorageUnavailable):
            await removed(app, database)
        assert await select(database, LEFT) == [(1, True, True)]
        assert await removed(app, database) == 0  # not at once
    await run(database, TIME_PASSES)
    assert await removed(app, database) == 1
    assert objects(app) == there


async def test_the_pauses_between_tries_grow_to_an_hour(alice: Person, app: Starlette, database: Database) -> None:
    await alice.ask(DELETE_FILE, fileId=await upload(alice, await create_channel(alice)))
    pauses = []
    with broken(app):
        for _ in range(9):
            with pytest.raises(StorageUnavailable):
                await removed(app, database)
            left = "SELECT round(extract(epoch FROM remove_after - now()) / 60) FROM stored_objects"
            pauses.append(int(await scalar(database, left)))
            await run(database, TIME_PASSES)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_an_upload_to_a_storage_that_is_away(alice: Person, app: Starlette, database: Database) -> None:
    channel = await create_channel(alice)
    with broken(app):
        payload = await send_file(alice, channel, Sent())
        several = await upload_several(alice, channel, Sent(), Sent())
        assert await send(alice, channel)  # everything else goes on
    for found in (payload, several):
        assert [error["code"] for error in found["errors"]] == ["STORAGE_UNAVAILABLE"]
    assert await scalar(database, "SELECT count(*) FROM files") == 0
    # Not at once: a storage that hangs may store what was given up.
    assert await removed(app, database) == 0
    within = "SELECT count(*) FROM stored_objects WHERE remove_after < now() + interval '1 minute'"
    assert await scalar(database, within) == 3
    await run(database, TIME_PASSES)
    assert await removed(app, database) == 3
    assert await scalar(database, "SELECT count(*) FROM stored_objects") == 0


async def test_an_upload_that_took_too_long_starts_over(alice: Person, app: Starlette, database: Database) -> None:
    """Its object is being removed when it arrives: a trigger makes that so."""
    channel = await create_channel(alice)
    await run(
        database,
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.failures := 1; NEW.remove_after := now(); RETURN NEW; END $$",
    )
    await run(database, "CREATE TRIGGER late BEFORE INSERT ON stored_objects FOR EACH ROW EXECUTE FUNCTION late()")
    try:
        given = {"channelId": channel, "file": None}
        body = await send_form(alice, UPLOAD, {"input.file": Sent()}, input=given)
    finally:
        await run(database, "DROP FUNCTION late CASCADE")
    assert [error["extensions"]["code"] for error in body["errors"]] == ["UNAVAILABLE"]
    assert await scalar(database, "SELECT count(*) FROM files") == 0
    assert await removed(app, database) == 1


async def test_the_house_is_kept(alice: Person, app: Starlette, database: Database) -> None:
    channel, there = await create_channel(alice), objects(app)
    await alice.ask(DELETE_FILE, fileId=await upload(alice, channel))
    keeping = asyncio.create_task(keep_house(database, app.state.services.storage, 7))
    try:
        await eventually(lambda: objects(app) == there)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
