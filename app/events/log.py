"""Appending to the event log.

`emit` notes an event; `Database.write` appends all of a unit's events by its last statement, so that the counter rows
stay locked only from there to the commit. Streams are locked in ascending order of their ids (`c` < `u` < `w`), which
rules out deadlocks.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

import orjson
from sqlalchemy import BigInteger, Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, array

from app.db import Position, Stale, Statements, Write, among
from app.models import Membership, StreamEvent, StreamHead

WORKSPACE = "w"
MAX_SEQ = 2**63 - 1  # PostgreSQL's bigint


def channel_stream(channel_id: int) -> str:
    return f"c{channel_id}"


def user_stream(user_id: int) -> str:
    return f"u{user_id}"


class EventType(StrEnum):
    """What can happen. The values are those of the API."""

    MESSAGE_CREATED = "MESSAGE_CREATED"
    MESSAGE_UPDATED = "MESSAGE_UPDATED"
    MESSAGE_DELETED = "MESSAGE_DELETED"
    REACTION_ADDED = "REACTION_ADDED"
    REACTION_REMOVED = "REACTION_REMOVED"
    CHANNEL_CREATED = "CHANNEL_CREATED"
    CHANNEL_UPDATED = "CHANNEL_UPDATED"
    CHANNEL_PRIVACY_CHANGED = "CHANNEL_PRIVACY_CHANGED"
    CHANNEL_ARCHIVED = "CHANNEL_ARCHIVED"
    CHANNEL_UNARCHIVED = "CHANNEL_UNARCHIVED"
    CHANNEL_DELETED = "CHANNEL_DELETED"
    MEMBER_JOINED = "MEMBER_JOINED"
    MEMBER_LEFT = "MEMBER_LEFT"
    MEMBER_ROLE_CHANGED = "MEMBER_ROLE_CHANGED"
    USER_UPDATED = "USER_UPDATED"
    REACTION_CATALOGUE_CHANGED = "REACTION_CATALOGUE_CHANGED"
    FILE_UPLOADED = "FILE_UPLOADED"
    FILE_DELETED = "FILE_DELETED"
    FILE_DOWNLOAD_URL_CREATED = "FILE_DOWNLOAD_URL_CREATED"


@dataclass(frozen=True, slots=True)
class Event:
    """One entry to append: ids and scalars only, never content."""

    stream_id: str
    type: EventType
    actor_id: int | None  # None: the server itself
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One entry of the log, with its place: ids and scalars only, as `Event`."""

    stream_id: str
    epoch: int
    seq: int
    type: EventType
    actor_id: int | None
    at: datetime
    payload: Mapping[str, Any]

    @property
    def channel_id(self) -> int | None:
        """The channel that it is about, if any."""
        return int(self.stream_id[1:]) if self.stream_id[0] == "c" else self.payload.get("channel")

    def as_message(self) -> dict[str, Any]:
        """For other processes, in JSON terms."""
        return {
            "kind": "event",
            "stream": self.stream_id,
            "epoch": self.epoch,
            "seq": self.seq,
            "type": self.type.value,
            "actor": self.actor_id,
            "at": self.at.isoformat(),
            "payload": dict(self.payload),
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> "LoggedEvent":
        """Raises ValueError for what `as_message` did not make: anybody who reaches the broker can write there."""
        try:
            found = cls(
                stream_id=message["stream"],
                epoch=message["epoch"],
                seq=message["seq"],
                type=EventType(message["type"]),
                actor_id=message["actor"],
                at=datetime.fromisoformat(message["at"]),
                payload=message["payload"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from error
        kinds = (found.stream_id, str), (found.epoch, int), (found.seq, int), (found.payload, dict)
        is_actor = found.actor_id is None or type(found.actor_id) is int
        if not all(type(value) is kind for value, kind in kinds) or not is_actor or found.at.tzinfo is None:
            raise ValueError("an event with members of other types")
        if found.seq > MAX_SEQ:
            raise ValueError("a number that no event has")
        return found


@dataclass(slots=True)
class Pending:
    """What one unit of work will append, what it relies on, and what was appended when it is done."""

    events: list[Event] = field(default_factory=list)
    logged: list[LoggedEvent] = field(default_factory=list)
    relied_on: dict[str, int] = field(default_factory=dict)
    rights_changed: set[str] = field(default_factory=set)


APPEND = text("""
WITH wanted AS (
    SELECT * FROM unnest(CAST(:streams AS text[]), CAST(:counts AS int[]), CAST(:revisions AS bigint[]), CAST(:changes
    AS int[])) AS wanted(stream_id, count, revision, change)
), heads AS (
    UPDATE stream_heads SET head_seq = head_seq + wanted.count, rights_revision = rights_revision + wanted.change
    FROM wanted
    WHERE stream_heads.stream_id = wanted.stream_id
      AND (wanted.revision IS NULL OR stream_heads.rights_revision = wanted.revision)
    RETURNING stream_heads.stream_id, head_seq, head_seq - wanted.count AS before, epoch
), added AS (
    INSERT INTO stream_events (stream_id, seq, type, actor_id, at, payload)
    SELECT heads.stream_id, heads.before + event.place, event.type, event.actor_id, clock_timestamp(), event.payload
    FROM unnest(CAST(:event_streams AS text[]), CAST(:places AS int[]), CAST(:types AS text[]), CAST(:actors AS
    bigint[]), CAST(:payloads AS jsonb[])) AS event(stream_id, place, type, actor_id, payload) JOIN heads USING
    (stream_id)
    RETURNING stream_events.*
)
SELECT added.*, heads.epoch FROM added JOIN heads USING (stream_id) ORDER BY added.stream_id, added.seq
""").columns(*StreamEvent.__table__.columns, StreamHead.epoch)


def pending(write: Write) -> Pending:
    found = write.attached.get(Pending)
    if found is None:
        found = write.attached[Pending] = Pending()
        write.at_end(lambda: append(write))
    return cast("Pending", found)


def emit(write: Write, stream_id: str, event_type: EventType, actor_id: int | None, payload: Mapping[str, Any]) -> None:
    """Append this event when the unit of work ends."""
    pending(write).events.append(Event(stream_id, event_type, actor_id, payload))


def rely_on(write: Write, stream_id: str, rights_revision: int) -> None:
    """The unit was authorized under this revision: if it is another by the time of the append, start the unit over.

    This closes the race of a check and a removal at the same time, without a lock that every message would have to
    take.
    """
    pending(write).relied_on[stream_id] = rights_revision


def rights_changed(write: Write, stream_id: str) -> None:
    """Somebody may have lost a right in this channel: writes authorized before must be authorized again."""
    pending(write).rights_changed.add(stream_id)


async def lock(write: Write, stream_id: str) -> None:
    """Take the stream's counter row now.

    What follows sees every earlier change of the channel, and no later one comes between.
    """
    await write.rows(select(StreamHead.stream_id).where(StreamHead.stream_id == stream_id).with_for_update())


async def append(write: Write) -> None:
    """The unit's last statement: bump the counters and insert the events at once."""
    work = pending(write)
    counts = Counter(event.stream_id for event in work.events)
    streams = sorted(counts)
    if not streams:
        return
    if len(streams) > 1:
        await write.rows(
            select(StreamHead.stream_id)
            .where(among(StreamHead.stream_id, streams))
            .order_by(StreamHead.stream_id)
            .with_for_update()
        )
    places: Counter[str] = Counter()
    event_places = []
    for event in work.events:
        places[event.stream_id] += 1
        event_places.append(places[event.stream_id])
    added = await write.tuples(
        APPEND,
        {
            "streams": streams,
            "counts": [counts[stream] for stream in streams],
            "revisions": [work.relied_on.get(stream) for stream in streams],
            "changes": [int(stream in work.rights_changed) for stream in streams],
            "event_streams": [event.stream_id for event in work.events],
            "places": event_places,
            "types": [event.type.value for event in work.events],
            "actors": [event.actor_id for event in work.events],
            "payloads": [orjson.dumps(event.payload).decode() for event in work.events],
        },
    )
    if len(added) != len(work.events):
        raise Stale
    note(write, [as_logged(row) for row in added])


def as_logged(row: Any) -> LoggedEvent:
    """A row of `stream_events` with the epoch of its stream."""
    return LoggedEvent(row.stream_id, row.epoch, row.seq, EventType(row.type), row.actor_id, row.at, row.payload)


def note(write: Write, events: Sequence[LoggedEvent]) -> None:
    """These have been appended; in the order of their numbers."""
    pending(write).logged.extend(events)
    write.positions.update({event.stream_id: Position(event.epoch, event.seq) for event in events})


def logged(write: Write) -> Sequence[LoggedEvent]:
    """What the unit of work has appended."""
    found = write.attached.get(Pending)
    return cast("Pending", found).logged if found is not None else ()


HEADS = select(StreamHead.stream_id, StreamHead.epoch, StreamHead.head_seq).where(
    among(StreamHead.stream_id, bindparam("streams", type_=ARRAY(Text)))
)


async def positions(session: Statements, streams: Iterable[str]) -> dict[str, Position]:
    """Where these streams stand in the session's snapshot."""
    found = await session.tuples(HEADS, {"streams": list(set(streams))})
    return {head.stream_id: Position(head.epoch, head.head_seq) for head in found}


JOINED = select(func.concat("c", Membership.channel_id)).where(
    Membership.user_id == bindparam("user_id", type_=BigInteger)
)
# As one array: with OR or IN over the subquery PostgreSQL would read all heads there are.
FOLLOWED = func.array_cat(array([WORKSPACE, bindparam("own", type_=Text)]), func.array(JOINED.scalar_subquery()))
VIEWER_HEADS = select(StreamHead.stream_id, StreamHead.epoch, StreamHead.head_seq).where(
    StreamHead.stream_id == func.any(FOLLOWED)
)


async def viewer_positions(session: Statements, user_id: int) -> dict[str, Position]:
    """Where every stream that this user follows stands: their channels', their own, and the workspace's."""
    found = await session.tuples(VIEWER_HEADS, {"user_id": user_id, "own": user_stream(user_id)})
    return {head.stream_id: Position(head.epoch, head.head_seq) for head in found}
