"""The workspace of large_set.sql. Users and channels are known by their ids; `user7` is the name in user 7's token."""

from pathlib import Path

import asyncpg
from sqlalchemy import make_url

SCRIPT = Path(__file__).with_suffix(".sql")

USERS = 20_000

# Channels, by id.
HOT = 1  # 100,000 messages, 10,000 members
CHAIN_1000 = 2  # its first message has a chain of 1,000 replies below it

# People, by id.
HUB = 1  # in 500 channels of every kind
LONER = 19_999  # in one channel, the hot one

# A message in the hot channel to which 5,000 people reacted.
BELOVED = 60_000


async def fill(url: str) -> None:
    """Fill the migrated, empty database at `url` (SQLAlchemy's asyncpg form), as if autovacuum had kept pace."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(address)
    try:
        async with connection.transaction():
            await connection.execute(SCRIPT.read_text(encoding="utf-8"))
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
