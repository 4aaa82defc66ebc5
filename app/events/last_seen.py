"""`users.last_seen_at`: when somebody was last seen, written for many at once."""

import asyncio
import logging
from contextlib import suppress

from sqlalchemy import BigInteger, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.db import Database, Write
from app.events.stream import PASSING

GATHER_SECONDS = 0.5
RETRY_SECONDS = 5.0
STOP_SECONDS = 1.0

# In the order of the ids: two processes that write the same people in another order would wait for each other.
SEEN = text("""
UPDATE users SET last_seen_at = now()
FROM (SELECT id FROM users WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE) AS seen
WHERE users.id = seen.id
""").bindparams(bindparam("ids", type_=ARRAY(BigInteger)))

logger = logging.getLogger("parley.presence")


class LastSeen:
    """Writes soon who was noted. It is no event: nobody is told."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: set[int] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._write_again_and_again(), name="last seen")

    async def stop(self) -> None:
        """Write what is left, for a moment."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._write()
        except PASSING as error:
            logger.warning("when people were last seen is not written: %s", type(error).__name__)

    def note(self, user_id: int) -> None:
        """The user is there now."""
        self._noted.add(user_id)
        self._wake.set()

    async def _write_again_and_again(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(GATHER_SECONDS)
            # The log has outages of the database from those who cannot do without it.
            with suppress(*PASSING):
                await self._write()
                continue
            await asyncio.sleep(RETRY_SECONDS)

    async def _write(self) -> None:
        noted = self._noted
        if not noted:
            return
        self._noted = set()

        async def unit(write: Write) -> None:
            await write.run(SEEN, {"ids": sorted(noted)})

        try:
            await self._database.write(unit)
        except BaseException:
            self._noted |= noted
            self._wake.set()
            raise
