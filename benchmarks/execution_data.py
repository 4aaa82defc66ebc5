"""The data of benchmarks/execution, in a PostgreSQL of its own."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from fanout_servers import Failed, note
from sqlalchemy import make_url

from app.embedded import SUPERUSER, EmbeddedPostgres
from app.migrate import migrate

SCRIPT = Path(__file__).with_name("execution_workspace.sql")
DATABASE = "bench"
PEERS_DATABASE = "peers"
MOST_SECONDS = 300.0  # of one statement
# Nobody needs these data after a crash. The rest of each server's work is what is measured, so the rows are in memory,
# and nothing but the servers' own statements runs.
OPTIONS = {"fsync": "off", "shared_buffers": "512MB", "max_connections": "200", "autovacuum": "off"}


@contextmanager
def running_database(folder: Path, messages: int, seed: Path | None) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL with the workspace in `bench`, and with what the script `seed` makes in `peers`."""
    note("starting PostgreSQL")
    with EmbeddedPostgres(folder, options=OPTIONS) as cluster:
        cluster.create_database(DATABASE)
        migrate(cluster.url(DATABASE))
        asyncio.run(fill(cluster.url(DATABASE), blocks(messages)))
        if seed is not None:
            cluster.create_database(PEERS_DATABASE)
            script = seed.read_text(encoding="utf-8")
            asyncio.run(fill(cluster.url(PEERS_DATABASE), [(f"the peers' {seed.name}", script)]))
        yield cluster


def blocks(messages: int) -> list[tuple[str, str]]:
    """The script in its parts, with what each writes."""
    _, *parts = SCRIPT.read_text(encoding="utf-8").replace(":messages", str(messages)).split("\n\n")
    return [(part.partition("\n")[0].removeprefix("-- "), part) for part in parts]


async def fill(url: str, parts: list[tuple[str, str]]) -> None:
    """As a superuser, who may leave out the foreign keys: checking each row takes as long as writing it."""
    address = make_url(url).set(drivername="postgresql", username=SUPERUSER)
    connection = await asyncpg.connect(address.render_as_string(hide_password=False), command_timeout=MOST_SECONDS)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for what, statements in parts:
                begun = time.monotonic()
                await connection.execute(statements)
                note(f"wrote {what}: {time.monotonic() - begun:.1f} s")
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    except asyncpg.PostgresError as error:
        raise Failed(f"The data could not be written: {error}.") from error
    finally:
        await connection.close()
