"""What the server does by itself, bit by bit: emptying deleted channels, forgetting old events, removing files."""

import asyncio
import logging
import time
from functools import partial

from sqlalchemy import delete, select, true
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database, Write, among
from app.errors import Unavailable
from app.models import Channel, Message
from app.services.files import delete_files_of_deleted_channels
from app.services.retention import drop_shells, forget_old_events
from app.services.stored_objects import keep_storage
from app.storage import Storage

BATCH = 1000  # messages per transaction: some 20 ms each, so that nobody waits for it
PAUSE_SECONDS = 30.0
RETENTION_SECONDS = 3600.0  # retention is counted in days

logger = logging.getLogger("parley.housekeeping")


async def empty_deleted_channels(write: Write) -> int:
    """Delete a batch of what is in deleted channels. How many.

    Files go before messages; these newest first: a reply goes before what it answers.
    """
    files = await delete_files_of_deleted_channels(write, BATCH)
    if files == BATCH:
        return files
    newest = select(Message.id).where(Message.channel_id == Channel.id).order_by(Message.seq.desc()).limit(BATCH)
    each = newest.lateral("newest")
    deleted = select(each.c.id).join_from(Channel, each, true()).where(Channel.deleted_at.is_not(None))
    doomed = deleted.limit(BATCH)
    return await write.run(delete(Message).where(among(Message.id, await write.rows(doomed))))


async def keep_house(database: Database, storage: Storage, retention_days: int) -> None:
    """Run until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(keep_database(database, retention_days), name="keeping the database")
        group.create_task(keep_storage(database, storage), name="keeping the storage")


async def keep_database(database: Database, retention_days: int) -> None:
    forgets_at = time.monotonic()
    while True:
        try:
            emptied = (await database.write(empty_deleted_channels)).value
            if emptied == BATCH:
                await asyncio.sleep(0.1)
                continue
            if time.monotonic() >= forgets_at:
                await forget_old_events(database, retention_days)
                await database.write(partial(drop_shells, days=retention_days))
                forgets_at = time.monotonic() + RETENTION_SECONDS
        except (OSError, SQLAlchemyError, Unavailable) as error:
            # Whatever it is, the next round may pass; a house that nobody keeps would not be noticed.
            logger.warning("housekeeping tries again later: %s", type(error).__name__)
        await asyncio.sleep(PAUSE_SECONDS)
