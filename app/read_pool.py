"""Connections for reading, each of them in a transaction that has not begun to look.

PostgreSQL takes the snapshot of a REPEATABLE READ transaction at its first statement, not at BEGIN. So a connection
that comes back ends its transaction and begins the next one by one statement, while nobody waits for it, and whoever
takes it needs no round trip but those of the statements. Until then it holds no snapshot and no lock.

By the driver itself: SQLAlchemy writes the statements, but running one through it costs three times as much.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import asyncpg
import orjson
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.engine import make_url

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
AGAIN = "ROLLBACK AND CHAIN"  # the next transaction has the same characteristics
CONNECT_SECONDS = 5


class ReadPool:
    """At most `size` connections to the database at `url` (SQLAlchemy's asyncpg form)."""

    def __init__(self, url: str, *, size: int, wait_seconds: float, settings: Mapping[str, str]) -> None:
        driver: Any = dialect
        _, self._options = driver().create_connect_args(make_url(url))
        # Between two requests a transaction is open without a snapshot, for as long as nobody asks.
        self._settings = {**settings, "idle_in_transaction_session_timeout": "0"}
        self._free = asyncio.Semaphore(size)
        self._wait_seconds = wait_seconds
        self._idle: list[asyncpg.Connection] = []
        self._open: set[asyncpg.Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self) -> asyncpg.Connection:
        """Raises OSError or a database error if there is none to be had."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise exc.TimeoutError("Every connection for reading is in use.") from None
        try:
            while self._idle:
                connection = self._idle.pop()  # the one used last: others may grow old and be closed
                if not connection.is_closed():
                    return connection
                self._open.discard(connection)
            return await self._connect()
        except BaseException:
            self._free.release()
            raise

    def give_back(self, connection: asyncpg.Connection) -> None:
        task = asyncio.create_task(self._begin_again(connection), name="end of a read")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """All connections end, those in use too."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        for connection in self._open:
            connection.terminate()
        self._open.clear()
        self._idle.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self) -> asyncpg.Connection:
        try:
            connection = await asyncpg.connect(**self._options, server_settings=self._settings, timeout=CONNECT_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:  # it is starting up, or has no place left
            raise as_database_error(error, "", is_lost=True) from error
        try:
            await connection.set_type_codec(
                "jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
            )
            await connection.execute(BEGIN)
        except BaseException:
            connection.terminate()
            raise
        self._open.add(connection)
        return connection

    async def _begin_again(self, connection: asyncpg.Connection) -> None:
        try:
            if connection in self._open and not connection.is_closed():
                await connection.execute(AGAIN, timeout=CONNECT_SECONDS)
                self._idle.append(connection)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            # Whoever needs one makes one, and meets what is the matter.
            self._open.discard(connection)
            connection.terminate()
        finally:
            self._free.release()


@contextmanager
def driver_errors(connection: asyncpg.Connection, sql: str) -> Iterator[None]:
    """Have what the connection raises in the block look as if it came by SQLAlchemy."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise as_database_error(error, sql, is_lost=connection.is_closed()) from error


def as_database_error(error: Exception, sql: str, *, is_lost: bool) -> exc.DBAPIError:
    """The driver's error as SQLAlchemy would raise it, so that failures of reads and of writes look the same."""
    kind: Any = exc.DBAPIError
    if isinstance(error, asyncpg.InterfaceError):
        kind = exc.InterfaceError
    elif isinstance(error, asyncpg.IntegrityConstraintViolationError):
        kind = exc.IntegrityError
    made: exc.DBAPIError = kind(sql, None, error, connection_invalidated=is_lost)
    return made
