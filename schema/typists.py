"""Who is typing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import strawberry

from app.db import Reader
from app.errors import NotFound
from app.events.typists import TypingChange
from app.permissions import Permission
from app.services.access import access_channel
from schema.channel_mutations import ChannelPayload
from schema.context import Info, actor_of
from schema.execution.group import group_of
from schema.execution.operation import Operation
from schema.execution.sink import Running, Sink
from schema.fields import NoArguments, attribute, batched, in_order, leaf
from schema.ids import encode, key_of
from schema.payloads import ChannelId, argument, mutation
from schema.transport.sessions import Session
from schema.users import User


async def users(parents: Sequence[TypingChange], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    user_ids = [change.user_id for change in parents]
    return in_order(await info.context.users(user_ids), user_ids)


@strawberry.type(description="Somebody types in a channel, or does not any more.")
class TypingEvent:
    """Over a TypingChange. Neither stored nor numbered, so it is no Event."""

    channel_id: strawberry.ID = leaf(lambda change: encode("Channel", change.channel_id), "The channel.")
    user: User = batched(users, "Who.")
    typing: bool = attribute("False once they have sent their message, or stopped.")
    expires_at: datetime = attribute("When it ends unless it is renewed. Show it no longer, whatever you hear.")


class TypingArguments(NamedTuple):
    """Where."""

    channel_id: ChannelId


async def start_typing(operation: Operation, session: Session, sink: Sink) -> Running:
    actor = actor_of(session)
    channel_id = key_of(operation.arguments["channelId"], "Channel")
    if channel_id is None:
        raise NotFound("channel", field=["channelId"])

    async def admit(reader: Reader) -> int:
        access = await access_channel(reader, actor, channel_id, Permission.TYPING_SEE)
        return access.rights_revision

    return await session.services.typists.feed.subscribe(
        group_of(session.services, operation, actor), sink, user_id=actor.id, topics=[channel_id], admit=admit
    )


@strawberry.type
class TypingMutation:
    """Mutations of who is typing."""

    @mutation(
        "Say that you type, or do not any more. It ends by itself after 6 s: say it again every 3 to 5 s. "
        "Members only.",
        ChannelPayload,
    )
    async def set_typing(
        self, info: Info, channel_id: ChannelId, typing: Annotated[bool, argument("False when the input is empty.")]
    ) -> ChannelPayload:
        actor = await info.context.actor()
        access = await access_channel(
            info.context.reader, actor, key_of(channel_id, "Channel"), Permission.MESSAGE_POST
        )
        channel: Any = access.channel
        info.context.services.typists.set(channel.id, actor.id, typing=typing)
        return ChannelPayload(channel=channel)
