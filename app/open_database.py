"""The database that a command works on: the one of DB_URL, or the embedded one."""

import asyncio
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from app.data_folder import DataFolderInUse
from app.db import Database, sqlstate
from app.embedded import EmbeddedPostgres
from app.errors import Unavailable
from app.migrate import migrate
from app.postmaster import running_url
from app.seed import seed_demo
from app.settings import Settings, StartError

REACH_SECONDS = 5.0
MIN_CONNECTIONS = 100  # PostgreSQL's own default
SPARE_CONNECTIONS = 20  # for `parley migrate`, `parley seed`, psql
# Classes of errors that waiting does not cure: a wrong user or password, no such database.
FINAL_SQLSTATES = ("28", "3D")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDatabase:
    """`alive` tells whether an embedded PostgreSQL of this process still runs."""

    url: str
    embedded: bool
    alive: Callable[[], bool] = lambda: True


@contextmanager
def open_database(
    settings: Settings, *, report: Callable[[str], None], shared: bool = False, servers: int = 1
) -> Generator[OpenDatabase, None, None]:
    """The database of DB_URL, waited for, else the embedded one, started, or with `shared` that of a running server.

    The embedded one takes as many connections as `servers` processes may open.
    Raises StartError when there is none to be had.
    """
    if settings.db_url is not None:
        asyncio.run(_reach(settings.db_url))
        yield OpenDatabase(url=settings.db_url, embedded=False)
        return
    connections = max(MIN_CONNECTIONS, SPARE_CONNECTIONS + servers * 2 * settings.db_pool_size)
    options = {"max_connections": str(connections)}
    cluster = EmbeddedPostgres(settings.data_dir, options=options, report=report)
    try:
        cluster.start()
    except DataFolderInUse:
        if not shared:
            raise
        yield OpenDatabase(url=running_url(settings.data_dir), embedded=True)
        return
    try:
        yield OpenDatabase(url=cluster.url(), embedded=True, alive=lambda: not cluster.exited())
    finally:
        cluster.stop()


def prepare(url: str, *, demo: bool = False) -> bool:
    """Migrate, then with `demo` write the demo workspace; True if that was written. Raises StartError."""
    try:
        migrate(url)
        return demo and asyncio.run(_seed(url))
    except CommandError as error:
        raise StartError(f"Cannot migrate the database: {error}. A newer Parley may have used it.") from error
    except DBAPIError as error:
        raise StartError(f"Cannot migrate the database: {_reason(error)}.") from error


async def _seed(url: str) -> bool:
    database = Database(url, pool_size=1)
    try:
        return await seed_demo(database)
    finally:
        await database.dispose()


async def _reach(url: str) -> None:
    # A database that starts together with this server gets some seconds.
    database = Database(url, pool_size=1)
    reason: BaseException = TimeoutError("no answer")
    try:
        async with asyncio.timeout(REACH_SECONDS):
            while True:
                try:
                    return await database.ping()
                except Unavailable as error:
                    reason = error.__cause__ or error
                if isinstance(reason, DBAPIError) and (sqlstate(reason) or "").startswith(FINAL_SQLSTATES):
                    break
                await asyncio.sleep(0.25)
    except TimeoutError:
        pass
    finally:
        await database.dispose()
    where = urlsplit(url)
    place = where.netloc.rpartition("@")[2] + where.path  # never the user's name and password
    raise StartError(f"Cannot reach the database of DB_URL ({place}): {_reason(reason)}.")


def _reason(error: BaseException) -> str:
    if isinstance(error, DBAPIError) and error.orig is not None:
        # After the class of the driver's error in brackets: PostgreSQL's own words, in one line.
        return str(error.orig).rpartition(">: ")[2].splitlines()[0]
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(getattr(error, "strerror", None) or error)
