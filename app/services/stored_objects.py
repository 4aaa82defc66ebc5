"""Objects in the storage: putting them there so that none is forgotten, and removing what is in no use any more.

An object's row is committed before its first byte is sent, and goes after its last: wherever a process ends, the row
knows of the object, and says from when on it may be removed. Locks are taken in the order of files, then objects.
"""

import asyncio
import logging
import secrets
import string
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, BinaryIO, Protocol

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database, Write, among
from app.errors import StorageUnavailable, Unavailable
from app.events.log import EventType, channel_stream, emit, rely_on
from app.models import Channel, File, StoredObject, StreamHead
from app.storage import Storage

UPLOADING = timedelta(hours=1)  # from the row to the end of the upload, at most
LATE = timedelta(minutes=1)  # for a storage that hangs, and yet stores what was given up
ORPHAN = timedelta(days=1)  # for how long a file waits for the message that carries it
BATCH = 20
POLL_SECONDS = 2.0  # a look into an index that is mostly empty
PAUSE_SECONDS = 30.0  # where that failed
KEY_LENGTH = 32
KEY_LETTERS = string.ascii_lowercase + string.digits

# A try is counted before it is made: whoever ends in the middle of it has left nothing to do, and an upload that has
# taken too long finds that its object is being removed. 1 minute, then 2, 4, ... up to an hour.
CLAIM = text("""
UPDATE stored_objects
SET failures = failures + 1, remove_after = now() + least(interval '1 minute' * 2 ^ least(failures, 6), '1 hour')
WHERE key = ANY(:keys)
  AND NOT EXISTS (SELECT FROM files WHERE object_key = key)
  AND NOT EXISTS (SELECT FROM reactions WHERE image_key = key)
RETURNING key
""").columns(StoredObject.key)

NOW = func.now()  # of the database: the clocks of several servers differ

logger = logging.getLogger("parley.files")
# What is let go of outlives the request that failed; the loop itself holds tasks weakly.
_ending: set[asyncio.Task[None]] = set()


class Item(Protocol):
    """What goes into an object."""

    @property
    def content(self) -> BinaryIO: ...
    @property
    def size(self) -> int: ...
    @property
    def content_type(self) -> str: ...


def new_key() -> str:
    """165 random bits, in letters that any storage takes."""
    return "".join(secrets.choice(KEY_LETTERS) for _ in range(KEY_LENGTH))


@asynccontextmanager
async def stored(database: Database, storage: Storage, items: Sequence[Item]) -> AsyncGenerator[list[str], None]:
    """Store these, under new keys. The block must `keep` them; whatever it raises lets go of them."""
    keys = [new_key() for _ in items]

    async def reserve(write: Write) -> None:
        await write.run(insert(StoredObject).values([{"key": key, "remove_after": NOW + UPLOADING} for key in keys]))

    await database.write(reserve)
    late = LATE
    try:
        for key, item in zip(keys, items, strict=True):
            await storage.put(key, item.content, size=item.size, content_type=item.content_type)
        late = timedelta()
        yield keys
    except BaseException:
        await let_go(database, keys, after=late)
        raise


async def let_go(database: Database, keys: Sequence[str], *, after: timedelta = timedelta()) -> None:
    """These were not kept: remove them soon. Without a database that is an hour later."""

    async def forget(write: Write) -> None:
        # What was kept, though nobody knows it, because only the answer was lost, has longer than that.
        is_reserved = StoredObject.remove_after <= NOW + UPLOADING
        await write.run(
            update(StoredObject).where(among(StoredObject.key, keys), is_reserved).values(remove_after=NOW + after)
        )

    async def end() -> None:
        try:
            await database.write(forget)
        except (OSError, SQLAlchemyError, Unavailable) as error:
            logger.warning("what is left of an upload is removed in an hour: %s", type(error).__name__)

    # Also where the request was cancelled, and is cancelled once more.
    task = asyncio.create_task(end(), name="letting go of an upload")
    _ending.add(task)
    task.add_done_callback(_ending.discard)
    await asyncio.shield(task)


async def keep(write: Write, keys: Sequence[str], *, waits: timedelta | None) -> None:
    """They are in use from this commit on, or for so long. Raises Unavailable where they have been removed already."""
    remove_after = NOW + waits if waits is not None else None
    # Each object is its upload's own, so nobody else locks these in another order.
    kept = update(StoredObject).where(among(StoredObject.key, keys), StoredObject.failures == 0)
    if await write.run(kept.values(remove_after=remove_after)) != len(keys):
        raise Unavailable("The upload took too long. Try again.")


async def release(write: Write, keys: Sequence[str]) -> None:
    """Nothing uses them any more."""
    if keys:
        await write.run(update(StoredObject).where(among(StoredObject.key, keys)).values(remove_after=NOW))


async def claim_due(write: Write) -> Sequence[str]:
    """Objects whose time has come, with the files whose time that was; nobody else tries them for a minute.

    What is locked is in use, or being dealt with: nobody is waited for.
    """
    due = select(StoredObject.key).where(StoredObject.remove_after <= NOW).order_by(StoredObject.remove_after)
    keys = await write.rows(due.limit(BATCH).with_for_update(skip_locked=True))
    if not keys:
        return []
    await delete_unused(write, keys)
    return [key for (key,) in await write.tuples(CLAIM, {"keys": list(keys)})]


async def delete_unused(write: Write, keys: Sequence[str]) -> None:
    """Delete the files that no message has carried in time."""
    statement = (
        select(File.id, File.channel_id, Channel.deleted_at, StreamHead.rights_revision)
        .join(Channel, Channel.id == File.channel_id)
        .join(StreamHead, StreamHead.stream_id == func.concat("c", Channel.id))
        .where(among(File.object_key, keys), File.message_id.is_(None))
        .order_by(File.id)
        .with_for_update(of=File, skip_locked=True)
    )
    files: Sequence[Any] = await write.tuples(statement)
    if not files:
        return
    await write.run(delete(File).where(among(File.id, [file.id for file in files])))
    for file in files:
        if file.deleted_at is not None:
            continue  # its stream has ended
        rely_on(write, channel_stream(file.channel_id), file.rights_revision)
        emit(write, channel_stream(file.channel_id), EventType.FILE_DELETED, None, {"file": file.id})


async def remove_due(database: Database, storage: Storage) -> int:
    """Remove a batch of objects whose time has come. How many. At StorageUnavailable the rest is tried later."""
    keys = (await database.write(claim_due)).value
    removed: list[str] = []
    try:
        for key in keys:
            await storage.remove(key)
            removed.append(key)
    finally:
        if removed:
            gone = delete(StoredObject).where(among(StoredObject.key, removed))
            await database.write(lambda write: write.run(gone))
    return len(removed)


async def keep_storage(database: Database, storage: Storage) -> None:
    """Remove what is in no use any more, within seconds. Run until cancelled."""
    while True:
        pause = POLL_SECONDS
        try:
            if await remove_due(database, storage) == BATCH:
                continue
        except StorageUnavailable:
            pause = PAUSE_SECONDS  # the storage has logged it
        except (OSError, SQLAlchemyError, Unavailable) as error:
            logger.warning("objects are removed later: %s", type(error).__name__)
            pause = PAUSE_SECONDS
        await asyncio.sleep(pause)
