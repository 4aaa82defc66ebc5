"""What the server does by itself: emptying deleted channels, a little at a time."""

import asyncio
import logging
from datetime import timedelta

from sqlalchemy import delete, func, select, true
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database, Write, among
from app.errors import Unavailable
from app.models import Channel, Message

BATCH = 1000  # messages per transaction: some 20 ms each, so that nobody waits for it
# A channel's shell, and who was in it, stay this long: clients that were away can still be told that it is gone.
SHELL_DAYS = 7
PAUSE_SECONDS = 30.0

logger = logging.getLogger("parley.housekeeping")


async def empty_deleted_channels(write: Write) -> int:
    """Delete a batch of messages of deleted channels, newest first: a reply goes before what it answers. How many."""
    newest = select(Message.id).where(Message.channel_id == Channel.id).order_by(Message.seq.desc()).limit(BATCH)
    each = newest.lateral("newest")
    deleted = select(each.c.id).join_from(Channel, each, true()).where(Channel.deleted_at.is_not(None))
    doomed = deleted.limit(BATCH)
    return await write.run(delete(Message).where(among(Message.id, await write.rows(doomed))))


async def drop_shells(write: Write) -> int:
    """Delete the channels that have been empty long enough. How many."""
    old = Channel.deleted_at < func.now() - timedelta(days=SHELL_DAYS)
    has_messages = select(Message.id).where(Message.channel_id == Channel.id).exists()
    return await write.run(delete(Channel).where(old, ~has_messages))


async def keep_house(database: Database) -> None:
    """Run until cancelled."""
    while True:
        try:
            emptied = (await database.write(empty_deleted_channels)).value
            if emptied == BATCH:
                await asyncio.sleep(0.1)
                continue
            await database.write(drop_shells)
        except (OSError, SQLAlchemyError, Unavailable) as error:
            # Whatever it is, the next round may pass; a house that nobody keeps would not be noticed.
            logger.warning("housekeeping tries again later: %s", type(error).__name__)
        await asyncio.sleep(PAUSE_SECONDS)
