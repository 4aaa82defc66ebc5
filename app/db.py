"""Connections, snapshots and units of work.

Reads: one `Reader` is one read-only REPEATABLE READ snapshot, opened by its first statement. All of a GraphQL query
reads through one of them, so the answer is consistent in itself and a cursor in it is never ahead of the rest. The
statements of concurrent resolvers queue on a lock: two statements gathered on one fresh asyncpg connection fail
("provisioning a new connection; concurrent operations are not permitted"), so nothing but the lock's holder ever
touches it.

Writes: `Database.write(unit)` runs one unit of work in one transaction and starts it over where PostgreSQL or the event
log says so.

There are no ORM sessions. `select(Message)` on a plain connection gives rows that have the columns of `Message` as
attributes, at a third of the client cost of hydrated objects; `rows` and `first` type them as the model that they
look like.
"""

import asyncio
import random
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast, overload

import asyncpg
from sqlalchemy import BindParameter, ColumnElement, Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Row as SqlRow
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.selectable import TextualSelect, TypedReturnsRows
from typing_extensions import TypeVarTuple

from app.errors import Unavailable
from app.read_pool import ReadPool, driver_errors
from app.statements import Prepared, prepared

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Deadlock, serialization failure: nothing was written, another try may pass.
RETRIED_SQLSTATES = frozenset({"40P01", "40001"})
MAX_TRIES = 12
ROLL_BACK_SECONDS = 5
WAIT_SECONDS = 10  # for a connection, or for a turn to write
SERVER_SETTINGS = {
    "application_name": "parley",
    "statement_timeout": "10000",
    "lock_timeout": "8000",
    "idle_in_transaction_session_timeout": "30000",
    "jit": "off",  # statements here take milliseconds; compiling one takes longer
    # One plan per statement, the one that tests/test_plans.py looks at. Left to itself, PostgreSQL plans the first five
    # runs (and some statements for ever) for a channel of average size, and reads half of a big one to sort it.
    "plan_cache_mode": "force_generic_plan",
    "timezone": "UTC",
}


class Stale(Exception):
    """What the unit of work was allowed to do has changed while it ran. Starting it over decides anew."""


class ReaderClosed(Exception):
    """The answer is complete: nobody will see what would be read now."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream stands: `seq` of its newest event, in the numbering `epoch`."""

    epoch: int
    seq: int


class Statements(ABC):
    """What a reader and a writer have in common: running statements on one connection."""

    @abstractmethod
    async def rows(self, statement: TypedReturnsRows[T], parameters: Mapping[str, Any] | None = None) -> Sequence[T]:
        """All rows of a select of one model (as rows with its columns), or of one column (as plain values)."""

    async def first(self, statement: TypedReturnsRows[T], parameters: Mapping[str, Any] | None = None) -> T | None:
        """The first row, likewise, or None."""
        found = await self.rows(statement, parameters)
        return found[0] if found else None

    @overload
    async def tuples(
        self, statement: TypedReturnsRows[*Ts], parameters: Mapping[str, Any] | None = None
    ) -> Sequence[SqlRow[*Ts]]: ...

    @overload
    async def tuples(self, statement: TextualSelect, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]: ...

    async def tuples(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """All rows of a select of several columns."""
        return await self._tuples(statement, parameters)

    @abstractmethod
    async def _tuples(self, statement: Any, parameters: Mapping[str, Any] | None) -> Sequence[Any]: ...

    @abstractmethod
    async def constant(self, statement: Any, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """The same for a statement that is made once, and has no JSON: by the driver itself, which is much faster."""


async def _fetch(driver: asyncpg.Connection, known: Prepared, values: Sequence[Any]) -> Sequence[Any]:
    with driver_errors(driver, known.sql):
        found: Sequence[Any] = await driver.fetch(known.sql, *values, record_class=known.record_class)
    if found:
        known.learn(found[0])
    return found


class Reader(Statements):
    """One snapshot, until it is renewed. Close it when the answer is complete."""

    def __init__(self, pool: ReadPool, sent: Callable[[str, Sequence[Any]], None]) -> None:
        self._pool = pool
        self._sent = sent
        self._lock = asyncio.Lock()
        self._connection: Any = None
        self._is_closed = False
        self._failure: DBAPIError | None = None

    async def rows(self, statement: TypedReturnsRows[T], parameters: Mapping[str, Any] | None = None) -> Sequence[T]:
        found = await self._tuples(statement, parameters)
        if found and len(found[0]) == 1:
            return [row[0] for row in found]
        return found

    async def constant(self, statement: Any, parameters: Mapping[str, Any]) -> Sequence[Any]:
        return await self._tuples(statement, parameters)

    async def _tuples(self, statement: Any, parameters: Mapping[str, Any] | None) -> Sequence[Any]:
        known = prepared(statement)
        values = known.values(parameters)
        async with self._lock:
            if self._failure is not None:
                # PostgreSQL refuses all that follows in the transaction; what went wrong is what failed first.
                raise self._failure
            if self._is_closed:
                # A sibling's error ends an operation while other resolvers still run: they must not take a connection
                # that nobody gives back.
                raise ReaderClosed
            if self._connection is None:
                self._connection = await self._pool.take()
            self._sent(known.sql, values)
            try:
                return await _fetch(self._connection, known, values)
            except DBAPIError as error:
                self._failure = error
                raise

    async def renew(self) -> None:
        """What is read from here on is what is there from here on."""
        async with self._lock:
            self._failure = None
            connection, self._connection = self._connection, None
            if connection is not None:
                self._pool.give_back(connection)

    async def close(self) -> None:
        self._is_closed = True
        await self.renew()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Write(Statements):
    """One transaction. `at_end` registers what must be its last statements; `positions` is what they report."""

    def __init__(
        self,
        connection: AsyncConnection,
        driver: Any = None,
        sent: Callable[[str, Sequence[Any]], None] = lambda _sql, _values: None,
    ) -> None:
        """`driver` is the driver's connection beneath, if the transaction was begun by that."""
        self._connection = connection
        self._driver = driver
        self._sent = sent
        self._endings: list[Callable[[], Awaitable[None]]] = []
        self.positions: dict[str, Position] = {}
        self.attached: dict[type, object] = {}  # what a layer above keeps with this transaction, by its type

    async def _execute(self, statement: Any, parameters: Any = None) -> Any:
        return await self._connection.execute(statement, parameters)

    async def rows(self, statement: TypedReturnsRows[T], parameters: Mapping[str, Any] | None = None) -> Sequence[T]:
        result = await self._execute(statement, parameters)
        if len(result.keys()) == 1:
            return cast("Sequence[T]", result.scalars().all())
        return cast("Sequence[T]", result.all())

    async def _tuples(self, statement: Any, parameters: Mapping[str, Any] | None) -> Sequence[Any]:
        return cast("Sequence[Any]", (await self._execute(statement, parameters)).all())

    async def constant(self, statement: Any, parameters: Mapping[str, Any]) -> Sequence[Any]:
        if self._driver is None:
            return await self._tuples(statement, parameters)
        known = prepared(statement)
        values = known.values(parameters)
        self._sent(known.sql, values)
        return await _fetch(self._driver, known, values)

    async def run(self, statement: Any, parameters: Any = None) -> int:
        """Run a statement that returns no rows. The number of rows it touched."""
        return cast("int", (await self._execute(statement, parameters)).rowcount)

    def at_end(self, ending: Callable[[], Awaitable[None]]) -> None:
        self._endings.append(ending)

    async def finish(self) -> None:
        endings, self._endings = self._endings, []  # they lead back here: a cycle
        for ending in endings:
            await ending()


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """What a committed unit of work returned, and where the streams that it appended to stand now."""

    value: T
    positions: Mapping[str, Position]


class Database:
    """The pool. `url` is in SQLAlchemy's asyncpg form."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        # Half of the connections are for reads alone, above all for delivery. With a write on each, the 99th percentile
        # of delivery at 200 messages/s was 1,090 ms; so it is 200 to 600.
        self._engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=WAIT_SECONDS,
            connect_args={"server_settings": SERVER_SETTINGS, "timeout": 5},
        )
        listen(self._engine.sync_engine, "checkout", _refuse_closed)
        self._writing = self._engine.execution_options(isolation_level="AUTOCOMMIT")  # `_transaction` does it
        self._pool = ReadPool(url, size=pool_size, wait_seconds=WAIT_SECONDS, settings=SERVER_SETTINGS)
        self._turns = asyncio.Semaphore(max(1, pool_size // 2))
        # Called with each committed unit of work. It must not raise, nor take long: the answer waits for it.
        self.after_commit: Callable[[Write], None] = lambda _: None

    @property
    def engine(self) -> AsyncEngine:
        return self._engine

    def read(self) -> Reader:
        return Reader(self._pool, self._note)

    def _note(self, sql: str, values: Sequence[Any]) -> None:
        """Tell whoever listens to SQLAlchemy's engine for statements, of those too that go past it."""
        for listener in self._engine.sync_engine.dispatch.before_cursor_execute:
            listener(None, None, sql, values, None, False)  # noqa: FBT003 - SQLAlchemy's

    async def write(self, unit: Callable[[Write], Awaitable[T]]) -> Written[T]:
        """Run `unit` in a transaction and commit. It may run several times, so its only effects are its statements."""
        for attempt in range(1, MAX_TRIES + 1):
            try:
                async with self._turn(), self._transaction() as write:
                    value = await unit(write)
                    await write.finish()
                self.after_commit(write)
                return Written(value, write.positions)
            except Stale:
                if attempt == MAX_TRIES:
                    raise Unavailable("Too many changes at the same time. Try again.") from None
            except DBAPIError as error:
                if attempt == MAX_TRIES or sqlstate(error) not in RETRIED_SQLSTATES:
                    raise
            # Spread the competitors, or they meet again.
            await asyncio.sleep(random.uniform(0, 0.004 * attempt))  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Write, None]:
        """Begun and ended by the driver, so that statements may go by it as well as by SQLAlchemy."""
        async with self._writing.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            try:
                with driver_errors(driver, "BEGIN"):
                    await driver.execute("BEGIN")
                yield Write(connection, driver, self._note)
                with driver_errors(driver, "COMMIT"):
                    await driver.execute("COMMIT")
            except BaseException:
                await _roll_back(connection, driver)
                raise

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise Unavailable("The server is busy. Try again.") from None
        try:
            yield
        finally:
            self._turns.release()

    async def ping(self) -> None:
        """Raise Unavailable unless the database answers."""
        try:
            async with self._engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (OSError, DBAPIError, TimeoutError) as error:
            raise Unavailable from error

    async def dispose(self) -> None:
        await self._pool.close()
        with suppress(OSError):
            await self._engine.dispose()


async def _roll_back(connection: AsyncConnection, driver: Any) -> None:
    """A connection of which it is not known that its transaction is over does not go back to the pool."""
    try:
        if not driver.is_closed():
            await driver.execute("ROLLBACK", timeout=ROLL_BACK_SECONDS)
            return
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        driver.terminate()
    except BaseException:
        driver.terminate()
        await connection.invalidate()
        raise
    await connection.invalidate()


def _refuse_closed(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """Have the pool replace connections that PostgreSQL has closed: after a restart, all of them.

    The driver learns of it by itself. SQLAlchemy's `pool_pre_ping` asks instead, by three round trips per use: more
    than most units of work need themselves.
    """
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError


def among(column: Any, values: Iterable[Any] | BindParameter[Any]) -> ColumnElement[bool]:
    """Whether the column has one of these values, as `column = ANY(array)`. The values may be a parameter.

    One text, and so one prepared statement, whatever the number of values; IN has one per number.
    """
    if not isinstance(values, BindParameter):
        values = bindparam(None, list(values), type_=ARRAY(column.type))
    return cast("ColumnElement[bool]", column == func.any(values))


def has_text(lowered: Any) -> ColumnElement[bool]:
    """Whether a lower-case column has the text of `search` in it. PostgreSQL lowers both: Python's idea differs."""
    needle = func.lower(bindparam("needle", type_=Text), type_=Text)
    return cast("ColumnElement[bool]", lowered.like("%" + needle + "%", escape="/"))


CUSTOM_PLANS = select(func.set_config("plan_cache_mode", "force_custom_plan", True))  # noqa: FBT003 - SQL's
GENERIC_PLANS = select(func.set_config("plan_cache_mode", "force_generic_plan", True))  # noqa: FBT003 - SQL's


async def search(
    session: Statements, statement: Any, parameters: Mapping[str, Any], needle: str | None
) -> Sequence[Any]:
    """The rows of a list, or of a search in it, by a statement with `has_text`.

    That is planned for the text that it carries: the best way depends on how common it is.
    """
    found: Sequence[Any]
    if not needle:
        found = await session.tuples(statement, parameters)
        return found
    escaped = re.sub(r"([/%_])", r"/\1", unicodedata.normalize("NFC", needle))  # as names are stored
    await session.rows(CUSTOM_PLANS)
    found = await session.tuples(statement, {**parameters, "needle": escaped})
    await session.rows(GENERIC_PLANS)
    return found


def sqlstate(error: DBAPIError) -> str | None:
    """PostgreSQL's five-character code of a failed statement."""
    return getattr(error.orig, "sqlstate", None)


def violated(error: DBAPIError) -> str | None:
    """The name of the constraint or unique index that a statement ran into, or None."""
    # By SQLAlchemy the driver's error is what caused `orig`, by the driver it is `orig` itself.
    causes = error.orig, getattr(error.orig, "__cause__", None)
    return next((cause.constraint_name for cause in causes if isinstance(cause, asyncpg.PostgresError)), None)
