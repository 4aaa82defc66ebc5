"""Who is in a channel: its members, their roles, coming and going."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.permissions import Role
from app.services.channels import channel_by_join_code, channels_by_id
from app.services.memberships import (
    add_members,
    find_member,
    join_channel,
    join_channel_by_code,
    leave_channel,
    remove_member,
    set_member_role,
    visible_members,
)
from schema.context import Context, Info
from schema.enums import described
from schema.fields import NoArguments, attribute, batched, in_order, leaf
from schema.ids import encode, key_of, keys_of
from schema.node import Node
from schema.pagination import KeyList
from schema.payloads import ChannelId, Payload, UserId, UserIds, argument, mutation
from schema.scalars import EventCursor
from schema.users import User

if TYPE_CHECKING:
    from schema.channels import Channel

MEMBERS = KeyList("members", (datetime, int))
LazyChannel = Annotated["Channel", strawberry.lazy("schema.channels")]


class ChannelRoleName(StrEnum):
    """The names of `app.permissions.Role`, highest first."""

    OWNER = "OWNER"
    ADMIN = "ADMIN"
    MODERATOR = "MODERATOR"
    MEMBER = "MEMBER"


described(
    ChannelRoleName,
    "Roles in a channel; each includes the ones below it.",
    {
        ChannelRoleName.OWNER: "Exactly one per channel: may also delete it and hand it over.",
        ChannelRoleName.ADMIN: "May also change the channel, its privacy and roles.",
        ChannelRoleName.MODERATOR: "May also add and remove members and delete messages.",
        ChannelRoleName.MEMBER: "May read, post and react.",
    },
)
RoleFilter = Annotated[ChannelRoleName | None, argument("Only members with exactly this role.")]


async def users_of(parents: Sequence[Any], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    user_ids = [parent.user_id for parent in parents]
    return in_order(await info.context.users(user_ids), user_ids)


async def channels_of(parents: Sequence[Any], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    channel_ids = [parent.channel_id for parent in parents]
    return in_order(await channels_by_id(info.context.reader, await info.context.actor(), channel_ids), channel_ids)


@strawberry.type(description="One person in one channel.")
class ChannelMember(Node):
    """A row of `app.services.memberships.members`."""

    id: strawberry.ID = leaf(
        lambda member: encode("ChannelMember", member.channel_id, member.user_id),
        "Opaque, and unique among all objects of the server.",
    )
    user: User = batched(users_of, "The person.")
    channel: LazyChannel = batched(channels_of, "The channel.")
    role: ChannelRoleName = attribute("Their role in the channel.")
    joined_at: datetime = attribute("When they joined.")
    role_assigned_at: datetime | None = attribute("When they got the role; null for a plain member.")


@strawberry.type(description="A member who came, went, or changed.")
class MemberPayload(Payload):
    """Who left has no membership any more, and perhaps no sight of the channel."""

    channel: LazyChannel | None = strawberry.field(description="The channel; null if you see it no more.", default=None)
    member: ChannelMember | None = strawberry.field(description="The membership; null if it ended.", default=None)


@strawberry.type(description="Members who came.")
class MembersPayload(Payload):
    """The members that were asked for, whether new or there already."""

    channel: LazyChannel | None = strawberry.field(description="The channel.", default=None)
    members: list[ChannelMember] = strawberry.field(
        description="Those asked for, new or there already.", default_factory=list
    )


async def shown_channel(context: Context, channel_id: int) -> Any:
    return await context.shown(lambda reader, actor: channels_by_id(reader, actor, [channel_id]), channel_id)


async def member_payload(
    context: Context, channel: Any, user_id: int | None, cursor: EventCursor | None
) -> MemberPayload:
    shown = await shown_channel(context, channel.id)
    member = await find_member(context.reader, channel.id, user_id) if shown is not None else None
    return MemberPayload(channel=shown, member=member, cursor=cursor)


@strawberry.type
class MembershipMutation:
    """Coming, going, and roles."""

    @mutation("Join a public channel. Joining again is no error.", MemberPayload)
    async def join_channel(self, info: Info, channel_id: ChannelId) -> MemberPayload:
        key = key_of(channel_id, "Channel")
        channel, cursor = await info.context.write(lambda write, actor: join_channel(write, actor, key))
        return await member_payload(info.context, channel, (await info.context.actor()).id, cursor)

    @mutation("Join a private channel by its join code.", MemberPayload)
    async def join_channel_by_code(
        self, info: Info, join_code: Annotated[str, argument("The code, from an admin of the channel.")]
    ) -> MemberPayload:
        context = info.context
        actor = await context.actor()
        context.services.join_codes.check(actor.id, context.client_address)
        found = await channel_by_join_code(context.reader, join_code)
        if found is not None:
            context.services.join_codes.right(context.client_address)
        await context.renew()
        channel, cursor = await context.write(lambda write, actor: join_channel_by_code(write, actor, join_code, found))
        return await member_payload(context, channel, actor.id, cursor)

    @mutation("Leave a channel. Its owner hands it over first.", MemberPayload)
    async def leave_channel(self, info: Info, channel_id: ChannelId) -> MemberPayload:
        key = key_of(channel_id, "Channel")
        channel, cursor = await info.context.write(lambda write, actor: leave_channel(write, actor, key))
        return MemberPayload(channel=await shown_channel(info.context, channel.id), cursor=cursor)

    @mutation("Add up to 100 people. MODERATOR and above.", MembersPayload)
    async def add_members(self, info: Info, channel_id: ChannelId, user_ids: UserIds) -> MembersPayload:
        key, wanted = key_of(channel_id, "Channel"), keys_of([*user_ids], "User")
        channel, cursor = await info.context.write(lambda write, actor: add_members(write, actor, key, wanted))
        pairs = [(channel.id, user_id) for user_id in wanted if user_id is not None]
        found = await visible_members(info.context.reader, await info.context.actor(), pairs)
        members = [found[pair] for pair in dict.fromkeys(pairs) if pair in found]
        return MembersPayload(channel=await shown_channel(info.context, channel.id), members=members, cursor=cursor)

    @mutation("Take somebody with a lower role out of the channel. MODERATOR and above.", MemberPayload)
    async def remove_member(self, info: Info, channel_id: ChannelId, user_id: UserId) -> MemberPayload:
        key, target = key_of(channel_id, "Channel"), key_of(user_id, "User")
        channel, cursor = await info.context.write(lambda write, actor: remove_member(write, actor, key, target))
        return MemberPayload(channel=await shown_channel(info.context, channel.id), cursor=cursor)

    @mutation(
        "Give a member a role, up to the own one. ADMIN and above. "
        "OWNER hands the channel over; the old owner stays as ADMIN.",
        MemberPayload,
    )
    async def set_member_role(
        self,
        info: Info,
        channel_id: ChannelId,
        user_id: UserId,
        role: Annotated[ChannelRoleName, argument("The new role.")],
    ) -> MemberPayload:
        key, target = key_of(channel_id, "Channel"), key_of(user_id, "User")
        channel, cursor = await info.context.write(
            lambda write, actor: set_member_role(write, actor, key, target, Role[role.value])
        )
        return await member_payload(info.context, channel, target, cursor)
