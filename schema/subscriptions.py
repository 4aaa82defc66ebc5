"""What can be subscribed to.

A subscription joins a group, which is executed once per event for all of its members (schema/execution/group.py).
"""

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple, TypeAlias

import strawberry

from app.db import Position, Reader
from app.errors import CursorInvalid, NotFound
from app.events import streams
from app.events.log import EventType, channel_stream
from app.events.streams import Followed
from schema.context import actor_of
from schema.events import StreamItem
from schema.execution.group import group_of
from schema.execution.operation import Operation
from schema.execution.sink import Running, Sink
from schema.fields import streamed
from schema.ids import key_of
from schema.payloads import ChannelId, argument
from schema.presence import PresenceArguments, PresenceEvent, start_presence
from schema.scalars import EventCursor
from schema.transport.sessions import Session
from schema.typists import TypingArguments, TypingEvent, start_typing

After: TypeAlias = Annotated[
    list[EventCursor] | None,
    argument(
        "Go on after these: the cursor of the last notice and those of the events since. The furthest per stream "
        "counts. Without it, from now on."
    ),
]
Types: TypeAlias = Annotated[list[EventType] | None, argument("Only events of these types; notices always come.")]

WHOLE_CURSOR = (
    "'after' has no cursor of all your streams. Begin with that of Viewer.cursor or of the last READY or HEARTBEAT, "
    "and add those of the events since."
)


async def start_viewer_events(operation: Operation, session: Session, sink: Sink) -> Running:
    actor = actor_of(session)
    after = _after(operation)
    if after is not None and not streams.is_whole(after, actor.id):
        raise CursorInvalid("after", WHOLE_CURSOR)
    return await session.services.hub.subscribe(
        group_of(session.services, operation, actor, _types(operation)),
        sink,
        user_id=actor.id,
        follow=lambda reader: streams.viewer_streams(reader, actor.id),
        only=None,
        after=after,
    )


async def start_channel_events(operation: Operation, session: Session, sink: Sink) -> Running:
    actor = actor_of(session)
    channel_id = key_of(operation.arguments["channelId"], "Channel")
    if channel_id is None:
        raise NotFound("channel", field=["channelId"])
    after = _after(operation)
    if after is not None and channel_stream(channel_id) not in after:
        raise CursorInvalid("after", "'after' has no cursor of this channel. Begin with that of Channel.cursor.")
    return await session.services.hub.subscribe(
        group_of(session.services, operation, actor, _types(operation)),
        sink,
        user_id=actor.id,
        follow=partial(_follow_channel, user_id=actor.id, channel_id=channel_id, resumed=after is not None),
        only=channel_stream(channel_id),
        after=after,
    )


async def _follow_channel(reader: Reader, *, user_id: int, channel_id: int, resumed: bool) -> dict[str, Followed]:
    found = await streams.channel_streams(reader, user_id, [channel_id])
    # Whoever was there before is still told that the channel was deleted.
    if not any(resumed or not each.is_deleted for each in found.values()):
        raise NotFound("channel", field=["channelId"])
    return found


def _after(operation: Operation) -> dict[str, Position] | None:
    given: Sequence[str] | None = operation.arguments["after"]
    return streams.merged(given) if given else None


def _types(operation: Operation) -> frozenset[EventType] | None:
    given: Sequence[Any] | None = operation.arguments["types"]
    return frozenset(EventType(each) for each in given) if given is not None else None


class ViewerEventsArguments(NamedTuple):
    """Where to begin, and what to tell."""

    after: After = None
    types: Types = None


class ChannelEventsArguments(NamedTuple):
    """The same, for one channel."""

    channel_id: ChannelId
    after: After = None
    types: Types = None


@strawberry.type(description="Being told what happens. docs/realtime.md has the rules of cursors and notices.")
class Subscription:
    """All subscriptions."""

    viewer_events: AsyncGenerator[StreamItem, None] = streamed(
        start_viewer_events,
        "Everything that happens in the channels you are in, and to you.",
        arguments=ViewerEventsArguments,
        item=StreamItem,
    )
    channel_events: AsyncGenerator[StreamItem, None] = streamed(
        start_channel_events,
        "What happens in one channel: one you are in, or any public one.",
        arguments=ChannelEventsArguments,
        item=StreamItem,
    )
    typing: AsyncGenerator[TypingEvent, None] = streamed(
        start_typing,
        "Who types in a channel, you too: first those who do, then who begins, goes on, or ends. Members only. "
        "Not stored; the first to be left out when you take events slowly.",
        arguments=TypingArguments,
        item=TypingEvent,
    )
    presence: AsyncGenerator[PresenceEvent, None] = streamed(
        start_presence,
        "Who is there: first how each of these people is seen, then every change. Not stored; when you take events "
        "slowly, the last change of each.",
        arguments=PresenceArguments,
        item=PresenceEvent,
    )
