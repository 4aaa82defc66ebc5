"""Whoever asks."""

from typing import Annotated, Any, NamedTuple

import strawberry

from app.events import cursor
from app.events.log import viewer_positions
from app.services.channels import joined_channels_page
from schema.channels import Channel
from schema.context import Info
from schema.fields import NoArguments, batched, query
from schema.pagination import After, Connection, First, KeyList
from schema.payloads import argument
from schema.scalars import EventCursor
from schema.users import User

JOINED_CHANNELS = KeyList("joined-channels", (int,))


class JoinedChannelsArguments(NamedTuple):
    """A page of the channels that somebody is in."""

    first: First = None
    after: After = None
    archived: Annotated[bool | None, argument("The archived ones instead.")] = False
    is_dm: Annotated[bool | None, argument("Only direct messages, or none of them.")] = None


async def viewer_cursors(parents: Any, args: NoArguments, info: Info) -> list[str]:  # noqa: ARG001
    heads = await viewer_positions(info.context.reader, (await info.context.actor()).id)
    shown = cursor.encode(info.context.not_ahead(heads))
    return [shown for _ in parents]


async def joined_channels(parents: Any, args: JoinedChannelsArguments, info: Info) -> list[Any]:
    page = JOINED_CHANNELS.page(args.first, args.after)
    found = await joined_channels_page(
        info.context.reader, await info.context.actor(), page, archived=bool(args.archived), is_dm=args.is_dm
    )
    return [JOINED_CHANNELS.connection(found) for _ in parents]


@strawberry.type(description="You.")
class Viewer:
    """What only the asker may ask of themselves."""

    user: User = strawberry.field(description="Your profile.")
    cursor: EventCursor = batched(
        viewer_cursors, "Where every stream of yours stands; never ahead of the rest of the response."
    )
    channels: Connection[Channel] = batched(
        joined_channels,
        "The channels and direct messages that you are in, oldest first.",
        arguments=JoinedChannelsArguments,
    )


@strawberry.type
class ViewerQuery:
    """`viewer`."""

    @query("You. The first request of a new user makes their account.")
    async def viewer(self, info: Info) -> Viewer:
        user: Any = await info.context.user()
        return Viewer(user=user)
