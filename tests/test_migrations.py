"""The migrations make what app/models says, run down as well as up on a database in use, and may run side by side."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.db import Database
from app.embedded import EmbeddedPostgres
from app.migrate import ALEMBIC_INI, migrate
from app.models import Base
from app.seed import seed_demo

WAIT_SECONDS = 30.0

# Everything that a model can say about a table, one row per thing.
CATALOGUE = {
    "columns": """
        SELECT attrelid::regclass::text, row_number() OVER (PARTITION BY attrelid ORDER BY attnum), attname,
            format_type(atttypid, atttypmod), attnotnull, attidentity::text, attgenerated::text,
            pg_get_expr(adbin, adrelid)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), condeferrable, condeferred, convalidated
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "storage": "SELECT relname, relkind::text, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace",
    "functions": """
        SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    """,
    "triggers": "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
}
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
ROWS = "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM users), (SELECT count(*) FROM stream_events)"


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[AsyncEngine, None]:
    engine = create_async_engine(url)
    try:
        yield engine
    finally:
        await engine.dispose()


async def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    async with opened(url) as engine, engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


async def catalogue(url: str) -> dict[str, set[tuple[str, ...]]]:
    return {
        kind: {tuple(map(str, row)) for row in await query(url, statement) if "alembic_version" not in str(row)}
        for kind, statement in CATALOGUE.items()
    }


async def put_data(url: str) -> None:
    database = Database(url, pool_size=1)
    try:
        assert await seed_demo(database)
    finally:
        await database.dispose()


@pytest.fixture
def empty_database(cluster: EmbeddedPostgres, request: pytest.FixtureRequest) -> str:
    """The URL of a database in which nothing was ever done."""
    name = request.node.name.replace("test_", "")
    cluster.create_database(name)
    return cluster.url(name)


def test_down_to_nothing_and_up_again_on_a_database_in_use(empty_database: str) -> None:
    migrate(empty_database)
    asyncio.run(put_data(empty_database))
    migrate(empty_database, "base")
    assert asyncio.run(query(empty_database, TABLES)) == [("alembic_version",)]

    migrate(empty_database)
    asyncio.run(put_data(empty_database))
    ((messages, users, events),) = asyncio.run(query(empty_database, ROWS))
    assert messages > 0
    assert users > 0
    assert events > messages


def test_each_revision_can_be_taken_back_and_done_again(empty_database: str) -> None:
    """One at a time, from the newest: each finds the data that those after it have left."""
    migrate(empty_database)
    asyncio.run(put_data(empty_database))
    script = ScriptDirectory.from_config(Config(str(ALEMBIC_INI)))
    for revision in script.walk_revisions():
        before = asyncio.run(catalogue(empty_database))
        migrate(empty_database, "-1")
        assert asyncio.run(catalogue(empty_database)) != before
        migrate(empty_database, revision.revision)
        assert asyncio.run(catalogue(empty_database)) == before
        migrate(empty_database, "-1")


def test_migrating_twice_changes_nothing(empty_database: str) -> None:
    migrate(empty_database)
    asyncio.run(put_data(empty_database))
    before = asyncio.run(catalogue(empty_database)), asyncio.run(query(empty_database, ROWS))
    migrate(empty_database)
    assert (asyncio.run(catalogue(empty_database)), asyncio.run(query(empty_database, ROWS))) == before


async def test_migrations_make_what_the_models_say(new_database: Callable[[str], str], empty_database: str) -> None:
    await create_from_models(empty_database)
    by_models, by_migrations = await catalogue(empty_database), await catalogue(new_database("migrated_again"))
    assert len(by_models["constraints"]) > len(Base.metadata.tables)
    for kind, things in by_models.items():
        assert things == by_migrations[kind], kind


async def test_alembic_finds_nothing_left_to_migrate(new_database: Callable[[str], str]) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {"compare_server_default": True, "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))

    async with opened(new_database("compared")) as engine, engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def create_from_models(url: str) -> None:
    async with opened(url) as engine, engine.begin() as connection:
        await connection.execute(text("CREATE EXTENSION pg_trgm"))
        await connection.run_sync(Base.metadata.create_all)


async def test_servers_that_start_together_take_turns(empty_database: str) -> None:
    program = "import sys; from app.migrate import migrate; migrate(sys.argv[1])"
    async with opened(empty_database) as engine, engine.connect() as connection:
        # Uncommitted, this halts whoever migrates first, so that all are certain to be at it at once.
        await connection.execute(text("CREATE EXTENSION pg_trgm"))
        servers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", program, empty_database), cwd=ALEMBIC_INI.parent, stderr=asyncio.subprocess.PIPE
            )
            for _ in range(2)
        ]
        await all_wait(engine, len(servers))
        await connection.rollback()
    for server in servers:
        _, complaint = await asyncio.wait_for(server.communicate(), WAIT_SECONDS)
        assert server.returncode == 0, complaint.decode()
    assert len(await query(empty_database, "SELECT version_num FROM alembic_version")) == 1


async def all_wait(engine: AsyncEngine, servers: int) -> None:
    """Return when so many others wait for a lock in this database."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        async with engine.connect() as connection:
            if (await connection.execute(waiting)).scalar_one() == servers:
                return
    raise AssertionError("the servers do not wait for each other")
