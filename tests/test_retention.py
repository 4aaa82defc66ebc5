"""The event log forgets what is old: from the floor upwards, without holes, and nothing else."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sqlalchemy import text

from app.db import Database
from app.services.retention import EVENTS, HEADS, drop_shells, forget_old_events, forget_some
from app.settings import Settings
from tests.conftest import Newcomer, Person
from tests.documents import DELETE_CHANNEL, create_channel, scalar, select, send
from tests.plans import explain, recorded
from tests.workspace import workspace

DAYS = 7
SERVER_INFO = "{ serverInfo { eventRetentionDays maxSocketsPerUser } }"
OLD = 5
# Streams that have nothing but numbers and ages; `old` of the first events of each are old.
FILL = """
INSERT INTO stream_heads (stream_id, head_seq)
SELECT 's' || stream, :events FROM generate_series(1, :streams) AS stream;
INSERT INTO stream_events (stream_id, seq, type, at, payload)
SELECT 's' || stream, seq, 'USER_UPDATED', now() - interval '1 day' * CASE WHEN seq <= :old THEN 8 ELSE 6 END, '{}'
FROM generate_series(1, :events) AS seq, generate_series(1, :streams) AS stream
"""
CONTIGUOUS = """
SELECT count(*) FROM (
    SELECT stream_id, floor_seq, head_seq, count(seq) AS held, coalesce(min(seq), head_seq + 1) AS first,
        coalesce(max(seq), head_seq) AS last
    FROM stream_heads LEFT JOIN stream_events USING (stream_id) GROUP BY stream_id
) AS stream
WHERE (held, first, last) <> (head_seq - floor_seq, floor_seq + 1, head_seq)
"""


async def change(database: Database, statements: str, **parameters: int) -> None:
    async with database.engine.begin() as connection:
        for statement in statements.split(";"):
            await connection.execute(text(statement), parameters)


async def age(database: Database, condition: str) -> None:
    await change(database, f"UPDATE stream_events SET at = at - interval '8 days' WHERE {condition}")  # noqa: S608 - of this file


async def floors(database: Database) -> dict[str, tuple[int, int]]:
    """Floor and head of every stream, once it is clear that all between them is there, and nothing else."""
    assert await scalar(database, CONTIGUOUS) == 0
    found = await select(database, "SELECT stream_id, floor_seq, head_seq FROM stream_heads")
    return {stream: (floor, head) for stream, floor, head in found}


async def test_old_events_go_and_young_ones_stay(alice: Person, database: Database) -> None:
    channel = await create_channel(alice, "general")
    for _ in range(4):
        await send(alice, channel)
    (stream,) = [name for name in await floors(database) if name.startswith("c")]
    await forget_old_events(database, DAYS)
    assert (await floors(database))[stream] == (0, 6)  # the channel, its owner, four messages
    await age(database, "stream_id LIKE 'c%' AND seq <= 4")
    await forget_old_events(database, DAYS + 2)
    assert (await floors(database))[stream] == (0, 6)
    await forget_old_events(database, DAYS)
    assert (await floors(database))[stream] == (4, 6)
    assert {floor for name, (floor, _) in (await floors(database)).items() if name != stream} == {0}


async def test_numbers_go_on_where_everything_was_forgotten(alice: Person, database: Database) -> None:
    channel = await create_channel(alice, "quiet")
    await age(database, "true")
    await forget_old_events(database, DAYS)
    assert await scalar(database, "SELECT count(*) FROM stream_events") == 0
    assert {floor == head for floor, head in (await floors(database)).values()} == {True}
    await send(alice, channel)
    assert (2, 3) in (await floors(database)).values()
    assert await scalar(database, "SELECT seq FROM stream_events") == 3


async def test_an_old_event_behind_a_young_one_waits_for_it(database: Database) -> None:
    await change(database, FILL, streams=1, events=6, old=2)
    await age(database, "seq = 4")  # after a change of the clock
    await forget_old_events(database, DAYS)
    assert (await floors(database))["s1"] == (2, 6)
    await age(database, "seq = 3")
    await forget_old_events(database, DAYS)
    assert (await floors(database))["s1"] == (4, 6)


async def test_more_than_one_batch_goes(database: Database) -> None:
    old = 2 * EVENTS + 1
    await change(database, FILL, streams=2, events=old + 5, old=old)
    await forget_old_events(database, DAYS)
    found = await floors(database)
    assert found["s1"] == found["s2"] == (old, old + 5)


async def test_a_batch_is_bounded(database: Database) -> None:
    await change(database, FILL, streams=HEADS + 1, events=EVENTS + 1, old=EVENTS + 1)
    assert (await database.write(partial(forget_some, days=DAYS, after=""))).value == ""
    assert sorted((await floors(database)).values())[-HEADS:] == [(EVENTS, EVENTS + 1)] * HEADS


async def test_every_stream_has_its_turn(database: Database) -> None:
    streams = 2 * HEADS + 1
    await change(database, FILL, streams=streams, events=3, old=2)
    await forget_old_events(database, DAYS)
    assert list((await floors(database)).values()).count((2, 3)) == streams


async def test_writers_readers_and_two_housekeepers_at_once(
    newcomer: Newcomer, database: Database, settings: Settings
) -> None:
    people = [await newcomer(f"person {number}") for number in range(4)]
    channels = [await create_channel(person, person.name) for person in people]
    stopped = asyncio.Event()

    async def talk(person: Person, channel: str) -> int:
        sent = 0
        while not stopped.is_set():
            await send(person, channel)
            sent += 1
        return sent

    async def keep(own: Database) -> None:
        while not stopped.is_set():
            await forget_old_events(own, DAYS)

    async def look() -> int:
        # A snapshot must never show a floor beside other events than those above it.
        looks = 0
        while not stopped.is_set():
            assert await scalar(database, CONTIGUOUS) == 0
            looks += 1
        return looks

    other = Database(database.engine.url.render_as_string(hide_password=False), pool_size=settings.db_pool_size)
    talking = [asyncio.create_task(talk(*pair)) for pair in zip(people, channels, strict=True)]
    looking = [asyncio.create_task(look())]
    keeping = [asyncio.create_task(keep(own)) for own in (database, other)]
    for _ in range(10):
        await asyncio.sleep(0.1)
        await age(database, "at > now() - interval '7 days'")
    stopped.set()
    sent = await asyncio.gather(*talking)
    await asyncio.gather(*looking, *keeping)
    await other.dispose()

    assert min(sent) > 0
    assert looking[0].result() > 0
    found = {name: stream for name, stream in (await floors(database)).items() if name.startswith("c")}
    assert sorted(head for _, head in found.values()) == sorted(count + 2 for count in sent)
    assert min(floor for floor, _ in found.values()) > 0


async def test_the_server_forgets_when_it_says(settings: Settings, new_database: Callable[[str], str]) -> None:
    url = new_database("forgetful")
    database = Database(url, pool_size=1)
    await change(database, FILL, streams=1, events=3, old=2)
    own = replace(settings, event_retention_days=7, max_websocket_connections_per_user=3)
    async with workspace(own, url, keeps_house=True) as served, asyncio.timeout(20):
        while (await floors(database))["s1"] != (2, 3):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.05)
        answer = await served.http.post("/graphql", json={"query": SERVER_INFO})
    await database.dispose()
    assert answer.json() == {"data": {"serverInfo": {"eventRetentionDays": 7, "maxSocketsPerUser": 3}}}


async def test_the_shell_of_a_deleted_channel_goes_with_its_last_event(alice: Person, database: Database) -> None:
    await create_channel(alice, "kept")
    channel = await create_channel(alice, "deleted")
    await alice.ask(DELETE_CHANNEL, channelId=channel)
    await change(database, "UPDATE channels SET deleted_at = deleted_at - interval '8 days'")
    await age(database, "type <> 'CHANNEL_DELETED'")
    drop = partial(drop_shells, days=DAYS)
    await forget_old_events(database, DAYS)
    assert (await database.write(drop)).value == 0
    await age(database, "type = 'CHANNEL_DELETED'")
    assert (await database.write(drop)).value == 0
    await forget_old_events(database, DAYS)
    before = await floors(database)
    assert (await database.write(drop)).value == 1
    gone = before.keys() - (await floors(database)).keys()
    assert [before[stream] for stream in gone] == [(3, 3)]
    assert [name for (name,) in await select(database, "SELECT name FROM channels")] == ["kept"]
    assert await scalar(database, "SELECT count(*) FROM memberships") == 1


async def test_looking_for_old_events_does_not_read_the_log(new_database: Callable[[str], str]) -> None:
    database = Database(new_database("long_log"), pool_size=1)
    await change(database, FILL, streams=5000, events=40, old=OLD)
    await change(database, "ANALYZE")
    with recorded(database.engine) as sent:
        await database.write(partial(forget_some, days=DAYS, after=""))
    _turn, look, forget, lift = sent
    untouched = replace(look, parameters=("s5", *look.parameters[1:]))
    async with database.engine.connect() as connection:
        plans = await explain(connection, [look, untouched, forget, lift])
    await database.dispose()
    quiet, busy, *_ = plans
    assert [plan.full_scans for plan in plans] == [set()] * 4
    assert quiet.rows_read <= 3 * HEADS
    assert busy.rows_read <= (3 + OLD) * HEADS
