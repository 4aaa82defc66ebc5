"""Channels: public, private, and direct messages."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import strawberry

from app import models
from app.errors import BadRequest
from app.events import cursor
from app.events.log import channel_stream, positions
from app.permissions import Permission, Role, allowed
from app.services.channels import channel_by_join_code, channels_by_id, channels_page
from app.services.direct_messages import find_direct_message
from app.services.files import files_pages
from app.services.memberships import member_counts, members_pages, standings
from app.services.messages import messages_pages
from schema.context import Info
from schema.fields import NoArguments, attribute, batched, in_order, leaf, query
from schema.ids import id_of, key_of, keys_of
from schema.memberships import MEMBERS, ChannelMember, RoleFilter
from schema.node import Node
from schema.pagination import After, Before, Connection, First, KeyList, Last, PageArguments
from schema.payloads import ChannelId, UserIds, argument
from schema.scalars import EventCursor
from schema.users import User

if TYPE_CHECKING:
    from schema.files import File
    from schema.messages import Message

CHANNELS = KeyList("channels", (str, int))
MESSAGES = KeyList("messages", (int,))
FILES = KeyList("files", (int,))
LazyFile = Annotated["File", strawberry.lazy("schema.files")]
LazyMessage = Annotated["Message", strawberry.lazy("schema.messages")]


class MembersArguments(NamedTuple):
    """A page of members, perhaps of one role only."""

    first: First = None
    after: After = None
    role: RoleFilter = None


class TimelineArguments(NamedTuple):
    """A page of a timeline: from either end, or around a message."""

    first: First = None
    after: After = None
    last: Last = None
    before: Before = None
    around: Annotated[
        strawberry.ID | None,
        argument("The page that has this message in its middle; empty if it is not in this channel."),
    ] = None


async def owners(parents: Sequence[models.Channel], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    owner_ids: Sequence[Any] = [channel.owner_id for channel in parents]
    return in_order(await info.context.users(owner_ids), owner_ids)


async def cursors(parents: Sequence[models.Channel], args: NoArguments, info: Info) -> list[str]:  # noqa: ARG001
    streams = [channel_stream(channel.id) for channel in parents]
    heads = await positions(info.context.reader, streams)
    return [cursor.encode({stream: heads[stream]}) for stream in streams]


async def counts(parents: Sequence[models.Channel], args: NoArguments, info: Info) -> list[int]:  # noqa: ARG001
    found = await member_counts(info.context.reader, [channel.id for channel in parents])
    return [found.get(channel.id, 0) for channel in parents]


async def members(parents: Sequence[models.Channel], args: MembersArguments, info: Info) -> list[Any]:
    page = MEMBERS.page(args.first, args.after)
    role = Role[args.role.value] if args.role is not None else None
    found = await members_pages(info.context.reader, [channel.id for channel in parents], page, role=role)
    return [MEMBERS.connection(found[channel.id]) for channel in parents]


async def timelines(parents: Sequence[models.Channel], args: TimelineArguments, info: Info) -> list[Any]:
    page = MESSAGES.page(args.first, args.after, args.last, args.before, newest_first=True)
    if args.around is not None and (args.after is not None or args.before is not None):
        raise BadRequest("Give 'around', or 'after' and 'before', not both.")
    around = (key_of(args.around, "Message") or 0) if args.around is not None else None
    found = await messages_pages(info.context.reader, [channel.id for channel in parents], page, around=around)
    return [MESSAGES.connection(found.get(channel.id)) for channel in parents]


async def files(parents: Sequence[models.Channel], args: PageArguments, info: Info) -> list[Any]:
    page = FILES.page(args.first, args.after)
    found = await files_pages(info.context.reader, [channel.id for channel in parents], page)
    return [FILES.connection(found[channel.id]) for channel in parents]


async def join_codes(parents: Sequence[models.Channel], args: NoArguments, info: Info) -> list[str | None]:  # noqa: ARG001
    found = await standings(info.context.reader, await info.context.actor(), parents)
    return [channel.join_code if allowed(Permission.JOIN_CODE_SEE, found[channel.id]) else None for channel in parents]


@strawberry.type(description="What you may do in a channel; decided by the rules that guard the mutations.")
class ChannelPermissions:
    """One answer of `app.permissions.decide` per field."""

    post: bool = strawberry.field(description="Send messages, answer, and react.")
    invite: bool = strawberry.field(description="Add people.")
    manage_members: bool = strawberry.field(description="Remove people with a lower role.")
    manage_roles: bool = strawberry.field(description="Assign roles up to the own one.")
    edit_channel: bool = strawberry.field(description="Change name and description.")
    change_privacy: bool = strawberry.field(description="Make the channel private or public.")
    see_join_code: bool = strawberry.field(description="See the join code; outside an archived channel, rotate it too.")
    delete_any_message: bool = strawberry.field(description="Delete messages of others.")
    delete_channel: bool = strawberry.field(description="Delete the channel with all that is in it.")


async def permissions(parents: Sequence[models.Channel], args: NoArguments, info: Info) -> list[ChannelPermissions]:  # noqa: ARG001
    found = await standings(info.context.reader, await info.context.actor(), parents)
    return [
        ChannelPermissions(
            post=allowed(Permission.MESSAGE_POST, standing),
            invite=allowed(Permission.MEMBER_ADD, standing),
            manage_members=allowed(Permission.MEMBER_REMOVE, standing),
            manage_roles=allowed(Permission.MEMBER_SET_ROLE, standing),
            edit_channel=allowed(Permission.CHANNEL_EDIT, standing),
            change_privacy=allowed(Permission.CHANNEL_SET_PRIVACY, standing),
            see_join_code=standing.is_private and allowed(Permission.JOIN_CODE_SEE, standing),
            delete_any_message=allowed(Permission.MESSAGE_DELETE_ANY, standing),
            delete_channel=allowed(Permission.CHANNEL_DELETE, standing),
        )
        for standing in (found[channel.id] for channel in parents)
    ]


@strawberry.type(description="A place to talk: public, private, or a direct message.")
class Channel(Node):
    """Visible if it is public or joined."""

    id: strawberry.ID = leaf(id_of("Channel"), "Opaque, and unique among all objects of the server.")
    name: str | None = attribute("Its name; null for a direct message.")
    description: str | None = attribute("What it is about.")
    is_private: bool = attribute("Whether only members see it.")
    is_dm: bool = attribute("Whether it is a direct message.")
    owner: User | None = batched(owners, "Who owns it; null for a direct message.")
    created_at: datetime = attribute("When it was made.")
    archived_at: datetime | None = attribute("Since when it is read-only; null while it is in use.")
    cursor: EventCursor = batched(cursors, "Where its event stream stands; never ahead of the rest of the response.")
    member_count: int = batched(counts, "How many people are in it.")
    members: Connection[ChannelMember] = batched(
        members, "Who is in it, in the order of joining.", arguments=MembersArguments
    )
    messages: Connection[LazyMessage] = batched(
        timelines,
        "Its messages, oldest first. `last: 50` is the newest page, and what you get without arguments.",
        arguments=TimelineArguments,
    )
    files: Connection[LazyFile] = batched(
        files,
        "Its files, newest first, whether or not a message carries them yet.",
        arguments=PageArguments,
    )
    join_code: str | None = batched(
        join_codes, "For ADMIN and above of a private channel; null for everybody else.", viewer=True
    )
    viewer_can: ChannelPermissions = batched(permissions, "What you may do here.", viewer=True)


@strawberry.type(description="What a join code tells before joining.")
class ChannelPreview:
    """No id: the channel is not visible yet."""

    name: str = strawberry.field(description="The channel's name.")
    description: str | None = strawberry.field(description="What it is about.")
    member_count: int = strawberry.field(description="How many people are in it.")


@strawberry.type
class ChannelQuery:
    """Queries about channels."""

    @query("A channel by id: any public one, a private one for its members.")
    async def channel(self, info: Info, id: ChannelId) -> Channel | None:
        key = key_of(id, "Channel")
        actor = await info.context.actor()
        found: dict[Any, Any] = {**await channels_by_id(info.context.reader, actor, [key])}
        return found.get(key)

    @query("Public channels and your own, by name. Direct messages are in `viewer.channels`.")
    async def channels(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        name_contains: Annotated[str | None, argument("Only names with this in them, in any case.")] = None,
        archived: Annotated[bool | None, argument("The archived ones instead.")] = False,  # noqa: FBT002 - GraphQL's
    ) -> Connection[Channel]:
        actor = await info.context.actor()
        page = CHANNELS.page(first, after)
        found = await channels_page(
            info.context.reader, actor, page, name_contains=name_contains, archived=bool(archived)
        )
        return CHANNELS.connection(found)

    @query("What a join code leads to; null for a wrong one. Tries are limited: 10 a minute.", once=True)
    async def channel_by_join_code(
        self, info: Info, join_code: Annotated[str, argument("The code, from an admin of the channel.")]
    ) -> ChannelPreview | None:
        context = info.context
        context.services.join_codes.check((await context.actor()).id, context.client_address)
        channel: Any = await channel_by_join_code(context.reader, join_code)
        if channel is None:
            return None
        context.services.join_codes.right(context.client_address)
        count = (await member_counts(context.reader, [channel.id])).get(channel.id, 0)
        return ChannelPreview(name=channel.name, description=channel.description, member_count=count)

    @query("The direct message of these people and you, if there is one.")
    async def direct_message(self, info: Info, user_ids: UserIds) -> Channel | None:
        found: Any = await find_direct_message(
            info.context.reader, await info.context.actor(), keys_of([*user_ids], "User")
        )
        return found
