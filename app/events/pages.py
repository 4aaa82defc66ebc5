"""A page of what has happened: catching up by asking, with the same rules as a subscription that resumes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.db import Position, Statements
from app.errors import NotFound
from app.events.log import WORKSPACE, LoggedEvent, user_stream
from app.events.replay import catch_up
from app.events.streams import Followed, channel_streams, is_whole, start, viewer_streams

DEFAULT_PAGE = 100


@dataclass(frozen=True, slots=True)
class EventPage:
    """`positions` is where the page ends in every stream that it follows. With `resync` there are no events."""

    events: Sequence[LoggedEvent]
    positions: Mapping[str, Position]
    has_more: bool
    resync: bool


async def events_page(session: Statements, user_id: int, after: Mapping[str, Position], *, size: int) -> EventPage:
    """The next `size` events after these positions, out of what the user may see."""
    streams = await named_streams(session, user_id, after)
    if not streams:
        raise NotFound("event stream")
    begin = start(streams, after)
    if begin.resync:
        heads = {stream: followed.head for stream, followed in streams.items()}
        return EventPage((), heads, has_more=False, resync=True)
    found = await catch_up(session, streams, begin, size=size)
    return EventPage(found.events, found.positions, found.has_more, resync=False)


async def named_streams(session: Statements, user_id: int, after: Mapping[str, Position]) -> dict[str, Followed]:
    """What these positions are about: if they are whole, everything that the user follows.

    Other people's streams and hidden channels are left out, as if they were not there.
    """
    found: dict[str, Followed] = {}
    if WORKSPACE in after or user_stream(user_id) in after:
        found = await viewer_streams(session, user_id)
        if not is_whole(after, user_id):
            found = {stream: followed for stream, followed in found.items() if stream in after}
    channel_ids = [int(stream[1:]) for stream in after if stream[0] == "c"]
    # These last: who was following a public channel when they joined it goes on from where they were.
    found.update(await channel_streams(session, user_id, channel_ids))
    return {stream: last_only(followed) if followed.is_deleted else followed for stream, followed in found.items()}


def last_only(followed: Followed) -> Followed:
    """Of a deleted channel only its last event can still be told: that it is gone."""
    return replace(followed, begins=max(followed.begins, followed.head.seq - 1))
