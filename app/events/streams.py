"""Which streams somebody follows, and where those stand.

A cursor carries no authority: what may be read is decided here, from memberships, in the reader's own snapshot.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import DateTime, bindparam, func, literal, null, select, union_all

from app.db import Position, Statements, among
from app.errors import CursorInvalid
from app.events import cursor
from app.events.log import WORKSPACE, channel_stream, user_stream
from app.models import Channel, Membership, StreamHead

MAX_CURSORS = 500  # in one request; a client has a few: its last whole cursor, and those of single events since


@dataclass(frozen=True, slots=True)
class Followed:
    """A stream that somebody may read.

    `begins`: what has a number up to this was never theirs to see. `floor`: what has a number up to this is gone.
    """

    head: Position
    floor: int
    begins: int = 0
    rights_revision: int = 0
    is_deleted: bool = False  # a channel that is gone: all that can still be told of it is that


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins in each stream, and whether something that should follow there is gone."""

    positions: Mapping[str, Position]
    resync: bool


def _followed(row: Any, *, begins: int = 0, is_deleted: bool = False) -> Followed:
    return Followed(Position(row.epoch, row.head_seq), row.floor_seq, begins, row.rights_revision, is_deleted)


async def viewer_streams(session: Statements, user_id: int) -> dict[str, Followed]:
    """The streams of all channels that the user is in, their own, and the workspace's."""
    nothing = literal(0).label("joined_seq"), null().cast(DateTime(timezone=True)).label("deleted_at")
    own = select(StreamHead, *nothing).where(among(StreamHead.stream_id, [WORKSPACE, user_stream(user_id)]))
    joined = (
        select(StreamHead, Membership.joined_seq, Channel.deleted_at)
        .join_from(Membership, Channel, Channel.id == Membership.channel_id)
        .join(StreamHead, StreamHead.stream_id == func.concat("c", Membership.channel_id))
        .where(Membership.user_id == user_id)
    )
    rows: Sequence[Any] = await session.tuples(union_all(own, joined))
    return {row.stream_id: _followed(row, begins=row.joined_seq, is_deleted=row.deleted_at is not None) for row in rows}


async def channel_streams(session: Statements, user_id: int, channel_ids: Iterable[int]) -> dict[str, Followed]:
    """The streams of those of these channels that the user may see, or could see until they were deleted."""
    wanted = set(channel_ids)
    if not wanted:
        return {}
    is_member = select(Membership.user_id).where(Membership.channel_id == Channel.id, Membership.user_id == user_id)
    begins = select(Membership.joined_seq).where(Membership.channel_id == Channel.id, Membership.user_id == user_id)
    statement = (
        select(StreamHead, Channel.is_private, Channel.deleted_at, begins.scalar_subquery().label("joined_seq"))
        .join(Channel, StreamHead.stream_id == func.concat("c", Channel.id))
        .where(among(Channel.id, wanted))
        .where(~Channel.is_private | is_member.exists())
    )
    rows: Sequence[Any] = await session.tuples(statement)
    return {
        # Whoever is in a public channel could read it before they joined; in a private one they could not.
        row.stream_id: _followed(
            row, begins=row.joined_seq if row.is_private else 0, is_deleted=row.deleted_at is not None
        )
        for row in rows
    }


def merged(cursors: Sequence[str]) -> dict[str, Position]:
    """Several cursors as one: the furthest per stream counts."""
    if len(cursors) > MAX_CURSORS:
        raise CursorInvalid("after", f"At most {MAX_CURSORS} cursors: the last one that covers all, and those since.")
    found: dict[str, Position] = {}
    for text in cursors:
        for stream, at in cursor.decode(text).items():
            known = found.get(stream)
            if known is None or (at.epoch, at.seq) > (known.epoch, known.seq):
                found[stream] = at
    return found


def is_whole(positions: Mapping[str, Position], user_id: int) -> bool:
    """Whether they cover everything that the user follows: a channel that they lack was joined later.

    The cursor of a mutation may have the own stream, too, but never the workspace's with it.
    """
    return WORKSPACE in positions and user_stream(user_id) in positions


def start(streams: Mapping[str, Followed], after: Mapping[str, Position] | None) -> Start:
    """Where to begin, given what the client has seen; None for from now on.

    A followed stream that the client's cursors do not have began after they were made: somebody joined a channel.
    Channels that are gone count only for those who have not been told yet.
    """
    if after is None:
        return Start({name: each.head for name, each in streams.items() if not each.is_deleted}, resync=False)
    positions, resync = {}, False
    for stream, followed in streams.items():
        if followed.is_deleted and (stream not in after or after[stream] == followed.head):
            continue
        at = after.get(stream, Position(followed.head.epoch, followed.begins))
        at = replace(at, seq=max(at.seq, followed.begins))
        if at.epoch != followed.head.epoch or not followed.floor <= at.seq <= followed.head.seq:
            resync = True
        positions[stream] = at
    return Start(positions, resync)


# Made once: it runs with every batch of events.
STANDING = (
    select(StreamHead, Channel.is_private, Channel.deleted_at)
    .join(Channel, Channel.id == bindparam("channel_id"))
    .where(StreamHead.stream_id == bindparam("stream"))
)


async def channel_standing(session: Statements, channel_id: int) -> tuple[Followed, bool] | None:
    """Where the channel's stream stands, and whether the channel is private; None once nothing is left of it."""
    parameters = {"channel_id": channel_id, "stream": channel_stream(channel_id)}
    rows: Sequence[Any] = await session.tuples(STANDING, parameters)
    return (_followed(rows[0], is_deleted=rows[0].deleted_at is not None), rows[0].is_private) if rows else None


async def members_among(session: Statements, channel_id: int, user_ids: Iterable[int]) -> set[int]:
    statement = select(Membership.user_id).where(
        Membership.channel_id == channel_id, among(Membership.user_id, set(user_ids))
    )
    return set(await session.rows(statement))


async def rights_revisions(session: Statements, channel_ids: Iterable[int]) -> dict[int, int]:
    """The state of the rights in each of these channels that is not deleted."""
    statement = (
        select(Channel.id, StreamHead.rights_revision)
        .join(StreamHead, StreamHead.stream_id == func.concat("c", Channel.id))
        .where(among(Channel.id, set(channel_ids)), Channel.deleted_at.is_(None))
    )
    return {row.id: row.rights_revision for row in await session.tuples(statement)}
