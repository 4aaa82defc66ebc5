"""Reading the event log: what has happened since a position."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import BigInteger, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.db import Position, Statements
from app.events.log import EventType, LoggedEvent, as_logged
from app.events.streams import Followed, Start
from app.models import StreamEvent, StreamHead

# Streams are merged by time, but never against their own order: clocks of two servers may differ.
SINCE = (
    text("""
SELECT event.*, heads.epoch, max(event.at) OVER (PARTITION BY event.stream_id ORDER BY event.seq) AS moment
FROM unnest(:streams, :afters, :tos) AS wanted(stream_id, after, up_to)
JOIN stream_heads AS heads USING (stream_id)
JOIN LATERAL (
    SELECT * FROM stream_events
    WHERE stream_events.stream_id = wanted.stream_id AND seq > wanted.after AND seq <= wanted.up_to
    ORDER BY seq LIMIT :size
) AS event ON true
ORDER BY moment, event.stream_id, event.seq
LIMIT :size
""")
    .bindparams(
        bindparam("streams", type_=ARRAY(Text)),
        bindparam("afters", type_=ARRAY(BigInteger)),
        bindparam("tos", type_=ARRAY(BigInteger)),
    )
    .columns(*StreamEvent.__table__.columns, StreamHead.epoch)
)
COUNT = text("""
SELECT count(*) AS seq
FROM unnest(:streams, :afters, :tos) AS wanted(stream_id, after, up_to)
JOIN stream_events USING (stream_id)
WHERE seq > wanted.after AND seq <= wanted.up_to AND type = ANY(:types)
""").bindparams(
    bindparam("streams", type_=ARRAY(Text)),
    bindparam("afters", type_=ARRAY(BigInteger)),
    bindparam("tos", type_=ARRAY(BigInteger)),
    bindparam("types", type_=ARRAY(Text)),
)
MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What happened, in order, and where that leads in every stream."""

    events: Sequence[LoggedEvent]
    positions: Mapping[str, Position]
    has_more: bool


async def events_between(
    session: Statements, ranges: Mapping[str, tuple[int, int]], *, size: int = MAX_PAGE
) -> list[LoggedEvent]:
    """The first `size` events with numbers above the first and up to the second of each stream's range."""
    behind = {stream: between for stream, between in ranges.items() if between[0] < between[1]}
    if not behind:
        return []
    afters, tos = zip(*behind.values(), strict=True)
    parameters = {"streams": list(behind), "afters": list(afters), "tos": list(tos), "size": size}
    rows: Sequence[Any] = await session.tuples(SINCE, parameters)
    return [as_logged(row) for row in rows]


async def count(
    session: Statements, streams: Mapping[str, Followed], begin: Start, types: Collection[EventType] | None
) -> int:
    """How many events of these types there are between the start and the heads."""
    behind = {stream: at for stream, at in begin.positions.items() if at.seq < streams[stream].head.seq}
    if not behind or begin.resync:
        return 0
    deleted = {stream for stream in behind if streams[stream].is_deleted}
    told = len(deleted) if types is None or EventType.CHANNEL_DELETED in types else 0
    if types is None:
        return told + sum(streams[name].head.seq - at.seq for name, at in behind.items() if name not in deleted)
    alive = {name: at for name, at in behind.items() if name not in deleted}
    parameters = {
        "streams": list(alive),
        "afters": [at.seq for at in alive.values()],
        "tos": [streams[name].head.seq for name in alive],
        "types": [each.value for each in types],
    }
    rows = await session.tuples(COUNT.columns(StreamEvent.seq), parameters) if alive else [(0,)]
    return told + cast("int", rows[0][0])


async def catch_up(session: Statements, streams: Mapping[str, Followed], begin: Start, *, size: int) -> CatchUp:
    """The next `size` events of these streams, in one snapshot."""
    ranges = {stream: (at.seq, streams[stream].head.seq) for stream, at in begin.positions.items()}
    events = await events_between(session, ranges, size=size + 1)
    has_more, events = len(events) > size, events[:size]
    positions = dict(begin.positions)
    for event in events:
        positions[event.stream_id] = Position(event.epoch, event.seq)
    return CatchUp(events, positions, has_more)
