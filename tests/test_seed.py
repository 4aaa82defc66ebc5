"""The demo workspace is written once: whole, or not at all."""

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from app.db import Database
from app.models import Channel, Message, MessageReaction, StreamEvent, User
from app.seed import seed_demo
from app.services.housekeeping import empty_deleted_channels
from app.services.retention import drop_shells, forget_old_events
from tests.conftest import Newcomer

WHOLE = {"users": 3, "channels": 4, "messages": 7, "message_reactions": 4}
NOTHING = dict.fromkeys(WHOLE, 0)


async def written(database: Database) -> dict[str, int]:
    """How many rows there are of everything that the demo has."""
    async with database.read() as reader:
        return {
            model.__tablename__: len(await reader.rows(select(model)))
            for model in (User, Channel, Message, MessageReaction)
        }


async def test_demo_is_written_once(database: Database) -> None:
    assert await seed_demo(database)
    assert await written(database) == WHOLE
    assert not await seed_demo(database)
    assert await written(database) == WHOLE


@pytest.mark.parametrize("shells_dropped", [False, True])
async def test_deleted_demo_stays_deleted(shells_dropped: bool, database: Database) -> None:
    await seed_demo(database)
    long_ago = func.now() - func.make_interval(0, 0, 0, 30)
    await database.write(lambda write: write.run(update(Channel).values(deleted_at=long_ago)))
    assert (await database.write(empty_deleted_channels)).value == WHOLE["messages"]
    if shells_dropped:
        await database.write(lambda write: write.run(update(StreamEvent).values(at=long_ago)))
        await forget_old_events(database, days=7)
        assert (await database.write(partial(drop_shells, days=7))).value == WHOLE["channels"]
    left = await written(database)
    assert not await seed_demo(database)
    assert await written(database) == left


async def test_interrupted_demo_leaves_nothing_and_the_next_one_is_whole(database: Database) -> None:
    def interrupt(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "INSERT INTO message_reactions" in statement:
            first.cancel()

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", interrupt)
    first = asyncio.create_task(seed_demo(database))
    with pytest.raises(asyncio.CancelledError):
        await first
    event.remove(engine, "before_cursor_execute", interrupt)
    assert await written(database) == NOTHING
    assert await seed_demo(database)
    assert await written(database) == WHOLE


async def test_of_two_demos_at_the_same_time_one_is_written(database: Database) -> None:
    assert sorted(await asyncio.gather(seed_demo(database), seed_demo(database))) == [False, True]
    assert await written(database) == WHOLE


@pytest.mark.parametrize("name", ["dave", "alice"])
async def test_demo_keeps_away_from_a_workspace_in_use(name: str, database: Database, newcomer: Newcomer) -> None:
    await newcomer(name)
    assert not await seed_demo(database)
    assert await written(database) == {**NOTHING, "users": 1}
