"""Making and changing channels."""

from typing import Annotated

import strawberry

from app.services.channels import (
    archive_channel,
    create_channel,
    delete_channel,
    rotate_join_code,
    set_channel_privacy,
    update_channel,
)
from app.services.direct_messages import open_direct_message
from app.services.idempotency import client_key
from schema.channels import Channel
from schema.context import Info, event_cursor
from schema.ids import encode, key_of, keys_of
from schema.memberships import shown_channel
from schema.payloads import ChannelId, DeletedPayload, Payload, UserIds, argument, given, mutation


@strawberry.type(description="A channel that was made or changed.")
class ChannelPayload(Payload):
    """After a change of a channel."""

    channel: Channel | None = strawberry.field(description="The channel as it is now.", default=None)
    deduplicated: bool = strawberry.field(
        description="True if it was there: a retry with the same client key, or the direct message of these people.",
        default=False,
    )


@strawberry.input(description="A new channel.")
class CreateChannelInput:
    """Its creator becomes its owner."""

    name: str = strawberry.field(description="1 to 80 characters; unique among public channels, in any case.")
    description: str | None = strawberry.field(default=None, description="At most 1,000 characters.")
    is_private: bool = strawberry.field(default=False, description="Whether only members see it.")
    member_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Up to 100 people who join at once."
    )
    client_key: str | None = strawberry.field(
        default=None,
        description="Chosen by you, unique among your channels: a retry with the same key returns the first result.",
    )


@strawberry.input(description="What to change of a channel. What is left out stays.")
class UpdateChannelInput:
    """Null clears the description."""

    channel_id: strawberry.ID = strawberry.field(description="The channel.")
    name: str | None = strawberry.field(default=strawberry.UNSET, description="1 to 80 characters.")
    description: str | None = strawberry.field(
        default=strawberry.UNSET, description="At most 1,000 characters; null removes it."
    )


@strawberry.type
class ChannelMutation:
    """Mutations of channels."""

    @mutation("Make a channel. You become its owner.", ChannelPayload)
    async def create_channel(
        self, info: Info, input: Annotated[CreateChannelInput, argument("The new channel.")]
    ) -> ChannelPayload:
        actor = await info.context.actor()
        member_ids = [*(input.member_ids or [])]
        key = client_key(input.client_key, input.name, input.description, input.is_private, sorted(member_ids))
        written, deduplicated = await create_channel(
            info.context.services.database,
            actor,
            name=input.name,
            description=input.description,
            is_private=input.is_private,
            member_ids=keys_of(member_ids, "User"),
            key=key,
        )
        channel = await shown_channel(info.context, written.value.id)
        cursor = event_cursor(actor, written.positions)
        return ChannelPayload(channel=channel, deduplicated=deduplicated, cursor=cursor)

    @mutation("Change name or description. ADMIN and above.", ChannelPayload)
    async def update_channel(
        self, info: Info, input: Annotated[UpdateChannelInput, argument("What to change.")]
    ) -> ChannelPayload:
        actor = await info.context.actor()
        key, changes = key_of(input.channel_id, "Channel"), given(input, "name", "description")
        written = await update_channel(info.context.services.database, actor, key, changes=changes)
        channel = await shown_channel(info.context, written.value.id)
        return ChannelPayload(channel=channel, cursor=event_cursor(actor, written.positions))

    @mutation("Make a channel private (it gets a join code) or public (it loses it). ADMIN and above.", ChannelPayload)
    async def set_channel_privacy(
        self, info: Info, channel_id: ChannelId, is_private: Annotated[bool, argument("Whether only members see it.")]
    ) -> ChannelPayload:
        actor = await info.context.actor()
        key = key_of(channel_id, "Channel")
        written = await set_channel_privacy(info.context.services.database, actor, key, is_private=is_private)
        channel = await shown_channel(info.context, written.value.id)
        return ChannelPayload(channel=channel, cursor=event_cursor(actor, written.positions))

    @mutation(
        "Replace the join code of a private channel; the old one is dead at once. ADMIN and above.", ChannelPayload
    )
    async def rotate_join_code(self, info: Info, channel_id: ChannelId) -> ChannelPayload:
        key = key_of(channel_id, "Channel")
        channel, cursor = await info.context.write(lambda write, actor: rotate_join_code(write, actor, key))
        return ChannelPayload(channel=await shown_channel(info.context, channel.id), cursor=cursor)

    @mutation("Make a channel read-only, or bring it back. ADMIN and above.", ChannelPayload)
    async def archive_channel(
        self, info: Info, channel_id: ChannelId, archived: Annotated[bool, argument("False brings it back.")]
    ) -> ChannelPayload:
        key = key_of(channel_id, "Channel")
        channel, cursor = await info.context.write(
            lambda write, actor: archive_channel(write, actor, key, archived=archived)
        )
        return ChannelPayload(channel=await shown_channel(info.context, channel.id), cursor=cursor)

    @mutation("Delete a channel with all that is in it. OWNER, or a workspace admin.", DeletedPayload)
    async def delete_channel(self, info: Info, channel_id: ChannelId) -> DeletedPayload:
        key = key_of(channel_id, "Channel")
        deleted, cursor = await info.context.write(lambda write, actor: delete_channel(write, actor, key))
        return DeletedPayload(deleted_id=strawberry.ID(encode("Channel", deleted)), cursor=cursor)

    @mutation("The direct message of these people and you; made if need be. At most 9 people.", ChannelPayload)
    async def open_direct_message(self, info: Info, user_ids: UserIds) -> ChannelPayload:
        keys = keys_of([*user_ids], "User")
        (channel, existed), cursor = await info.context.write(
            lambda write, actor: open_direct_message(write, actor, keys)
        )
        shown = await shown_channel(info.context, channel.id)
        return ChannelPayload(channel=shown, deduplicated=existed, cursor=cursor)
