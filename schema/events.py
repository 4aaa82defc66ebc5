"""What has happened, as GraphQL types over the log's events, and what a stream tells of itself."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry.types.info import Info as AnyInfo
from strawberry.utils.str_converters import to_camel_case

from app.db import Position
from app.events import cursor
from app.events.group import Notice, NoticeKind
from app.events.log import EventType, LoggedEvent
from app.services.files import files_by_id
from app.services.messages import messages_by_id
from app.services.reactions import reactions_by_id
from app.services.users import users_by_id
from schema.channels import Channel
from schema.context import Info
from schema.enums import described
from schema.fields import NoArguments, attribute, batched, in_order, leaf
from schema.files import File
from schema.ids import encode
from schema.memberships import ChannelRoleName, channels_of
from schema.messages import Message
from schema.reactions import Reaction
from schema.scalars import EventCursor
from schema.users import User

EVENT_TYPES = {
    EventType.MESSAGE_CREATED: ("MessageEvent", "A message was posted."),
    EventType.MESSAGE_UPDATED: ("MessageEvent", "A message was edited."),
    EventType.MESSAGE_DELETED: ("MessageEvent", "A message was deleted, and its reactions and files with it."),
    EventType.REACTION_ADDED: ("ReactionEvent", "Somebody reacted to a message."),
    EventType.REACTION_REMOVED: ("ReactionEvent", "Somebody took a reaction back."),
    EventType.CHANNEL_CREATED: ("ChannelEvent", "A channel was made."),
    EventType.CHANNEL_UPDATED: ("ChannelEvent", "A channel changed; `changedFields` says in what."),
    EventType.CHANNEL_PRIVACY_CHANGED: ("ChannelPrivacyEvent", "A channel became private or public."),
    EventType.CHANNEL_ARCHIVED: ("ChannelEvent", "A channel became read-only."),
    EventType.CHANNEL_UNARCHIVED: ("ChannelEvent", "A channel is in use again."),
    EventType.CHANNEL_DELETED: ("ChannelEvent", "A channel is gone with all that was in it: its stream's last event."),
    EventType.MEMBER_JOINED: ("MemberEvent", "Somebody came into a channel: in its stream, and in their own."),
    EventType.MEMBER_LEFT: ("MemberEvent", "Somebody left a channel or was removed: in its stream, and in their own."),
    EventType.MEMBER_ROLE_CHANGED: ("MemberEvent", "Somebody got another role in a channel."),
    EventType.USER_UPDATED: ("UserEvent", "Somebody is new, changed their profile, or was deactivated or reactivated."),
    EventType.FILE_UPLOADED: ("FileEvent", "A file came into a channel."),
    EventType.FILE_DELETED: ("FileEvent", "A file is gone, by somebody's hand or because no message carried it."),
    EventType.FILE_DOWNLOAD_URL_CREATED: ("FileEvent", "Somebody made an address to download a file from."),
    EventType.REACTION_CATALOGUE_CHANGED: ("CatalogueEvent", "A reaction came into the catalogue, or left it."),
}
described(
    EventType,
    "What can happen. More may be added.",
    {event_type: description for event_type, (_, description) in EVENT_TYPES.items()},
)


async def actors(parents: Sequence[LoggedEvent], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    actor_ids = [event.actor_id for event in parents]
    return in_order(await users_by_id(info.context.reader, actor_ids), actor_ids)


async def users(parents: Sequence[LoggedEvent], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    user_ids = [event.payload["user"] for event in parents]
    return in_order(await users_by_id(info.context.reader, user_ids), user_ids)


async def messages(parents: Sequence[LoggedEvent], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    message_ids = [event.payload["message"] for event in parents]
    return in_order(await messages_by_id(info.context.reader, await info.context.actor(), message_ids), message_ids)


async def files(parents: Sequence[LoggedEvent], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    file_ids = [event.payload["file"] for event in parents]
    return in_order(await files_by_id(info.context.reader, await info.context.actor(), file_ids), file_ids)


async def reactions(parents: Sequence[LoggedEvent], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    reaction_ids = [event.payload["reaction"] for event in parents]
    return in_order(await reactions_by_id(info.context.reader, reaction_ids, with_deleted=True), reaction_ids)


@strawberry.interface(description="Something that happened. What it happened to is as it is now, not as it was then.")
class Event:
    """Over a LoggedEvent, whose type decides of which of the types below it is."""

    id: strawberry.ID = leaf(
        lambda event: encode("Event", event.stream_id, event.epoch, event.seq), "Opaque, and unique among all events."
    )
    type: EventType = attribute("What happened.")
    stream: strawberry.ID = leaf(
        lambda event: encode("Stream", event.stream_id),
        "The stream it is in. Keep the newest cursor of each stream to resume; a cursor of READY or HEARTBEAT covers "
        "all of them.",
    )
    cursor: EventCursor = leaf(
        lambda event: cursor.encode({event.stream_id: Position(event.epoch, event.seq)}), "Its position in its stream."
    )
    at: datetime = attribute("When.")
    actor: User | None = batched(actors, "Who did it.")
    channel_id: strawberry.ID | None = leaf(
        lambda event: encode("Channel", event.channel_id) if event.channel_id is not None else None,
        "The channel that it is about; null for what concerns the whole workspace.",
    )

    @classmethod
    def is_type_of(cls, obj: Any, info: AnyInfo[Any, Any]) -> bool:  # noqa: ARG003 - the signature is graphql-core's
        return isinstance(obj, LoggedEvent) and EVENT_TYPES[obj.type][0] == cls.__name__

    @classmethod
    def resolve_type(cls, obj: LoggedEvent, info: AnyInfo[Any, Any], abstract: Any) -> str:  # noqa: ARG003 - likewise
        return EVENT_TYPES[obj.type][0]


@strawberry.type(description="A message was posted or changed.")
class MessageEvent(Event):
    """MESSAGE_*."""

    message: Message = batched(messages, "The message as it is now.")


@strawberry.type(description="A reaction to a message came or went.")
class ReactionEvent(Event):
    """REACTION_ADDED and REACTION_REMOVED."""

    message: Message = batched(messages, "The message as it is now.")
    reaction: Reaction = batched(reactions, "The reaction; one that was deleted since stays readable here.")
    user: User = batched(users, "Whose reaction it is.")


@strawberry.type(description="A channel came, changed, or went.")
class ChannelEvent(Event):
    """CHANNEL_*, but for its privacy."""

    channel: Channel | None = batched(channels_of, "The channel as it is now; null once you do not see it.")
    changed_fields: list[str] = leaf(
        lambda event: [to_camel_case(name) for name in event.payload.get("changed", ())],
        "With CHANNEL_UPDATED: the fields of Channel that changed; else empty.",
    )


@strawberry.type(description="A channel became private or public.")
class ChannelPrivacyEvent(Event):
    """CHANNEL_PRIVACY_CHANGED. Never with the join code."""

    channel: Channel | None = batched(channels_of, "The channel as it is now; null once you do not see it.")
    was_private: bool = leaf(lambda event: event.payload["was_private"], "Whether it was private before.")
    is_private: bool = leaf(lambda event: event.payload["is_private"], "Whether it was private after.")


@strawberry.type(description="Somebody came into a channel, left it, or got another role there.")
class MemberEvent(Event):
    """MEMBER_*."""

    channel: Channel | None = batched(channels_of, "The channel as it is now; null once you do not see it.")
    user: User = batched(users, "The member.")
    role: ChannelRoleName | None = leaf(lambda event: event.payload.get("role"), "The new role; null for who left.")
    previous_role: ChannelRoleName | None = leaf(
        lambda event: event.payload.get("previous_role"), "The role before; null for who joined."
    )


@strawberry.type(description="A file came or went, or somebody is about to download it.")
class FileEvent(Event):
    """FILE_*. Never with the address."""

    file_id: strawberry.ID = leaf(lambda event: encode("File", event.payload["file"]), "The id of the file, for ever.")
    file: File | None = batched(files, "The file as it is now; null once deleted.")
    expires_at: datetime | None = leaf(
        lambda event: event.payload.get("expires_at") and datetime.fromisoformat(event.payload["expires_at"]),
        "With FILE_DOWNLOAD_URL_CREATED: until when the address works.",
    )


@strawberry.type(description="Somebody is new in the workspace, or their profile changed.")
class UserEvent(Event):
    """USER_UPDATED."""

    user: User = batched(users, "The user as they are now.")


@strawberry.type(description="The catalogue of reactions changed.")
class CatalogueEvent(Event):
    """REACTION_CATALOGUE_CHANGED."""

    reaction: Reaction = batched(
        reactions, "The reaction that came or went. One that was deleted stays readable here, but not in `reactions`."
    )


described(
    NoticeKind,
    "What a stream tells of itself. More may be added.",
    {
        NoticeKind.READY: "Comes first. `recovered` events that you had missed follow, then what happens from now on.",
        NoticeKind.RESYNC_REQUIRED: "Events after your cursors are gone. Read everything anew, and go on from here.",
        NoticeKind.ACCESS_REVOKED: "You may no longer read this channel: nothing of it follows.",
        NoticeKind.SESSION_EXPIRING: "Your token ends at `expiresAt`. Come back with a new one, and resume.",
        NoticeKind.SLOW_CONSUMER: "You take events more slowly than they come. They follow from the log; none is lost.",
        NoticeKind.SERVER_DRAINING: "This server is about to stop. Connect again, and resume.",
        NoticeKind.HEARTBEAT: "All is well: everything up to this cursor has been sent.",
    },
)


@strawberry.type(description="What a stream tells of itself: nothing happens to it in silence.")
class StreamNotice:
    """Over a Notice."""

    kind: NoticeKind = attribute("What it tells.")
    at: datetime = attribute("When.")
    cursor: EventCursor = attribute(
        "Everything up to here has been sent. It covers all streams that are followed: forget the older cursors."
    )
    channel_id: strawberry.ID | None = leaf(
        lambda notice: encode("Channel", notice.channel_id) if notice.channel_id is not None else None,
        "With ACCESS_REVOKED, and RESYNC_REQUIRED where only one is concerned: the channel.",
    )
    recovered: int | None = attribute("With READY: how many events follow that you had missed.")
    expires_at: datetime | None = attribute("With SESSION_EXPIRING: when.")

    @classmethod
    def is_type_of(cls, obj: Any, info: AnyInfo[Any, Any]) -> bool:  # noqa: ARG003 - the signature is graphql-core's
        return isinstance(obj, Notice)


StreamItem = Annotated[
    MessageEvent
    | ReactionEvent
    | ChannelEvent
    | ChannelPrivacyEvent
    | MemberEvent
    | FileEvent
    | UserEvent
    | CatalogueEvent
    | StreamNotice,
    strawberry.union("StreamItem", description="What a stream of events carries."),
]
