"""How Alembic reaches the database: through asyncpg, one process at a time."""

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.models import Base
from app.settings import load_settings

# Any fixed number will do; it only has to be the same in every process that migrates.
MIGRATION_LOCK = 7_272_539_001


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
    with context.begin_transaction():
        # Two servers that start together must not both create the tables.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()


async def run_online(url: str) -> None:
    engine = create_async_engine(url, poolclass=pool.NullPool, connect_args={"timeout": 5})
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


url = context.config.attributes.get("url") or load_settings().db_url
if url is None:
    raise SystemExit("Set DB_URL, or use 'parley migrate', which also knows the embedded database.")
asyncio.run(run_online(url))
