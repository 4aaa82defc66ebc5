"""Catching up with what has happened, by asking."""

from typing import Annotated, Any

import strawberry

from app.errors import BadRequest
from app.events import cursor
from app.events.log import WORKSPACE
from app.events.pages import DEFAULT_PAGE, events_page
from app.events.replay import MAX_PAGE
from app.events.streams import merged
from schema.context import Info
from schema.events import Event
from schema.fields import query
from schema.payloads import argument
from schema.scalars import EventCursor


@strawberry.type(description="A page of what has happened.")
class EventPage:
    """Of all streams that the cursors are about."""

    events: list[Event] = strawberry.field(
        description="In the order in which they happened: strictly so within a stream, by time between streams."
    )
    cursor: EventCursor = strawberry.field(
        description="Where this page ends, in all its streams: to get the next page, or to subscribe."
    )
    has_more: bool = strawberry.field(description="Whether there is a next page already.")
    resync_required: bool = strawberry.field(
        description="True if events after your cursors are gone: read everything anew, and go on from `cursor`."
    )


@strawberry.type
class EventQuery:
    """`eventsSince`."""

    @query(
        "What has happened since: catching up without a subscription, in the same order. "
        "With a cursor of `viewer` it is all that `viewerEvents` tells; with those of channels, what concerns these. "
        "A channel that you may not see (any more) is left out."
    )
    async def events_since(
        self,
        info: Info,
        after: Annotated[
            list[EventCursor], argument("Where you are; of several cursors the furthest per stream counts.")
        ],
        first: Annotated[int | None, argument(f"How many: 0 to {MAX_PAGE}.")] = DEFAULT_PAGE,
    ) -> EventPage:
        size = DEFAULT_PAGE if first is None else first
        if not 0 <= size <= MAX_PAGE:
            raise BadRequest(f"'first' must be from 0 to {MAX_PAGE}. Get more with the next page.")
        if not after:
            raise BadRequest("Say since when: give the cursor of 'viewer', of a channel, or of an event in 'after'.")
        info.context.read_anew()
        actor = await info.context.actor()
        found = await events_page(info.context.reader, actor.id, merged(after), size=size)
        events: Any = found.events
        if WORKSPACE in found.positions:
            info.context.services.hub.heard(found.positions[WORKSPACE])
        end = EventCursor(cursor.encode(info.context.not_ahead(found.positions, only_if_remembered=True)))
        return EventPage(events=events, cursor=end, has_more=found.has_more, resync_required=found.resync)
