"""What the server forgets: old events, and the shells of deleted channels with them.

Old events are found stream by stream, each time looking at the first ones above the floor. The index on `at` would be
the longer way: PostgreSQL does not narrow a range of pages in a BRIN index when rows of it are deleted, so once their
space is filled anew every range looks old, and a search for old events reads the whole log.
"""

import asyncio
from datetime import timedelta
from functools import partial

from sqlalchemy import BigInteger, Interval, Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.db import Database, Write, among
from app.events.log import channel_stream
from app.models import Channel, File, Message, StreamHead

HEADS = 100  # looked at in one transaction
EVENTS = 200  # of each stream: at most 20,000 in a transaction, some 100 ms
SHELLS = 1000
REST_SECONDS = 0.02  # between transactions, for everybody else
# Any fixed number will do; that of migrations/env.py is another.
TURN = 7_272_539_002

# From the floor on, as long as events are old: what remains has no hole, and nothing young goes, whatever clocks said.
OLD = (
    text("""
WITH heads AS MATERIALIZED (
    SELECT stream_id, floor_seq, head_seq FROM stream_heads WHERE stream_id > :after ORDER BY stream_id LIMIT :heads
)
SELECT stream_id, floor_seq, CASE
    WHEN (
        SELECT at FROM stream_events AS event WHERE event.stream_id = heads.stream_id AND seq = floor_seq + 1
    ) < now() - :age THEN coalesce(
        (SELECT min(seq) - 1 FROM stream_events AS event
         WHERE event.stream_id = heads.stream_id AND seq > floor_seq AND seq <= floor_seq + :events
           AND at >= now() - :age),
        least(floor_seq + :events, head_seq)
    )
    ELSE floor_seq
END AS new_floor
FROM heads ORDER BY stream_id
""")
    .bindparams(
        bindparam("heads", HEADS, type_=BigInteger),
        bindparam("events", EVENTS, type_=BigInteger),
        bindparam("age", type_=Interval),
    )
    .columns(StreamHead.stream_id, StreamHead.floor_seq, StreamHead.floor_seq.label("new_floor"))
)

RANGES = (
    bindparam("streams", type_=ARRAY(Text)),
    bindparam("floors", type_=ARRAY(BigInteger)),
    bindparam("new_floors", type_=ARRAY(BigInteger)),
)
FORGET = text("""
DELETE FROM stream_events USING unnest(:streams, :floors, :new_floors) AS old(stream_id, after, up_to)
WHERE stream_events.stream_id = old.stream_id AND seq > old.after AND seq <= old.up_to
""").bindparams(*RANGES)
# In the order of `app.events.log`, which rules out deadlocks with writers; they wait from here to the commit only.
RAISE = text("""
UPDATE stream_heads SET floor_seq = greatest(floor_seq, locked.new_floor)
FROM (
    SELECT stream_id, new_floor FROM stream_heads JOIN unnest(:streams, :new_floors) AS old(stream_id, new_floor)
    USING (stream_id) ORDER BY stream_id FOR UPDATE OF stream_heads
) AS locked
WHERE stream_heads.stream_id = locked.stream_id
""").bindparams(RANGES[0], RANGES[2])


async def take_turn(write: Write) -> None:
    """Of several servers on one database one keeps house at a time; the others find that it is done."""
    await write.rows(select(func.pg_advisory_xact_lock(TURN)))


async def forget_some(write: Write, days: int, after: str) -> str | None:
    """Delete a batch of events older than `days`, in streams whose ids come after `after`.

    The stream to go on after, or None at the end.
    """
    await take_turn(write)
    heads = await write.tuples(OLD, {"after": after, "age": timedelta(days=days)})
    old = [head for head in heads if head.new_floor > head.floor_seq]
    if old:
        ranges = {
            "streams": [head.stream_id for head in old],
            "floors": [head.floor_seq for head in old],
            "new_floors": [head.new_floor for head in old],
        }
        await write.run(FORGET, ranges)
        del ranges["floors"]
        await write.run(RAISE, ranges)
    if any(head.new_floor == head.floor_seq + EVENTS for head in old):
        return after  # there may be more in the same streams
    return heads[-1].stream_id if len(heads) == HEADS else None


async def forget_old_events(database: Database, days: int) -> None:
    """Delete all events older than `days`, a batch at a time."""
    after: str | None = ""
    while after is not None:
        after = (await database.write(partial(forget_some, days=days, after=after))).value
        await asyncio.sleep(REST_SECONDS)


async def drop_shells(write: Write, days: int) -> int:
    """Delete channels that were deleted more than `days` ago, are empty, and have nothing left in the log. How many.

    Until then clients that were away can still be told that the channel is gone.
    """
    await take_turn(write)
    is_old = Channel.deleted_at < func.now() - timedelta(days=days)
    has_files = select(File.id).where(File.channel_id == Channel.id).exists()
    has_messages = select(Message.id).where(Message.channel_id == Channel.id).exists()
    is_forgotten = StreamHead.floor_seq == StreamHead.head_seq
    shells = (
        select(Channel.id)
        .join(StreamHead, StreamHead.stream_id == func.concat("c", Channel.id))
        .where(is_old, ~has_files, ~has_messages, is_forgotten)
        .order_by(Channel.id)
        .limit(SHELLS)
    )
    by_stream = {channel_stream(channel_id): channel_id for channel_id in await write.rows(shells)}
    # A head goes when its last event has gone, never before. Asked again, now under its lock: somebody may append.
    heads = delete(StreamHead).where(among(StreamHead.stream_id, by_stream), is_forgotten)
    streams = await write.rows(heads.returning(StreamHead.stream_id))
    return await write.run(delete(Channel).where(among(Channel.id, [by_stream[stream] for stream in streams])))
