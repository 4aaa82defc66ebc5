"""Fetch-and-authorize in one call: each `access_*` returns the row or raises.

What the actor may not see raises like what is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, bindparam, exists, func, or_, select

from app.db import Statements, Write, among
from app.errors import NotFound
from app.events.log import channel_stream, lock, rely_on
from app.models import Channel, ChannelRole, Membership, Message, StreamHead, User
from app.permissions import Permission, Role, Standing, decide


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is asking.

    `audience`: not one user, but everybody to whom this channel's events are delivered, all of whom may see it. What
    is executed for them all must not depend on who they are; as a user, they are nobody.
    """

    id: int
    is_workspace_admin: bool = False
    audience: int | None = None


@dataclass(frozen=True, slots=True)
class ChannelAccess:
    """A channel that the actor may do something in, and how the actor stands to it."""

    channel: Channel
    standing: Standing
    rights_revision: int


@dataclass(frozen=True, slots=True)
class MessageAccess:
    """A message that the actor may see, locked against other changes, and how the actor stands to its channel."""

    message: Message
    standing: Standing
    rights_revision: int


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """Channels that the actor may see: public ones, and those joined."""
    # Correlated to the channel alone: the statement around it may be about memberships itself.
    joined: ColumnElement[bool] = (
        exists().where(Membership.channel_id == Channel.id, Membership.user_id == actor.id).correlate(Channel)
    )
    if actor.audience is not None:
        joined = or_(joined, Channel.id == actor.audience)
    return and_(Channel.deleted_at.is_(None), or_(~Channel.is_private, joined))


# For statements that are made once: making one, and naming it for SQLAlchemy's cache, costs as much as running it.
VIEWER: Any = Actor(bindparam("viewer_id", type_=BigInteger), audience=bindparam("audience_id", type_=BigInteger))  # type: ignore[arg-type]  # in place of the values


def viewer(actor: Actor) -> dict[str, int | None]:
    """The values of the parameters of VIEWER."""
    return {"viewer_id": actor.id, "audience_id": actor.audience}


def with_standing(statement: Select[*tuple[Any, ...]], actor: Actor) -> Select[*tuple[Any, ...]]:
    """Join how the actor stands to `Channel`, and the state of the channel's rights."""
    return (
        statement.add_columns(
            Membership.user_id.label("my_user_id"),
            ChannelRole.role.label("my_role"),
            StreamHead.rights_revision,
            Channel.is_private.label("channel_is_private"),
            Channel.is_dm.label("channel_is_dm"),
            Channel.archived_at.label("channel_archived_at"),
        )
        .outerjoin(Membership, and_(Membership.channel_id == Channel.id, Membership.user_id == actor.id))
        .outerjoin(ChannelRole, and_(ChannelRole.channel_id == Channel.id, ChannelRole.user_id == actor.id))
        .join(StreamHead, StreamHead.stream_id == func.concat("c", Channel.id))
    )


def standing_of(row: Any, actor: Actor) -> Standing:
    """The standing in a row of `with_standing`."""
    role = None
    if row.my_user_id is not None:
        role = Role[row.my_role] if row.my_role else Role.MEMBER
    return Standing(
        role=role,
        is_private=row.channel_is_private,
        is_dm=row.channel_is_dm,
        is_archived=row.channel_archived_at is not None,
        is_workspace_admin=actor.is_workspace_admin,
    )


CHANNEL = with_standing(select(Channel), VIEWER).where(
    Channel.id == bindparam("channel_id"), Channel.deleted_at.is_(None)
)


async def access_channel(
    session: Statements, actor: Actor, channel_id: int | None, permission: Permission
) -> ChannelAccess:
    found: Sequence[Any] = []
    if channel_id is not None:
        found = await session.constant(CHANNEL, {"channel_id": channel_id, "viewer_id": actor.id})
    if not found:
        raise NotFound("channel", field=["channelId"])
    standing = standing_of(found[0], actor)
    # A workspace admin may delete what they may not read: abuse is reported by id.
    if not standing.sees and not (permission is Permission.CHANNEL_DELETE and standing.is_workspace_admin):
        raise NotFound("channel", field=["channelId"])
    denial = decide(permission, standing)
    if denial is not None:
        raise denial
    channel: Any = found[0]
    return ChannelAccess(channel, standing, channel.rights_revision)


async def access_channel_alone(
    write: Write, actor: Actor, channel_id: int | None, permission: Permission
) -> ChannelAccess:
    """As `access_channel`, but changes of the channel's people, roles and state take turns from here to the commit.

    The lock comes first, in a statement of its own: a select that waits for a lock sees the locked row anew, but what
    it joins as it was before the wait.
    """
    found = await access_channel(write, actor, channel_id, permission)  # a stranger must not hold up others by a lock
    await lock(write, channel_stream(found.channel.id))
    return await access_channel(write, actor, channel_id, permission)


async def access_message(
    write: Write, actor: Actor, message_id: int | None, permission: Permission, *, field: str = "messageId"
) -> MessageAccess:
    """Locks the message until the commit, so that nobody edits or deletes it meanwhile."""
    statement = (
        with_standing(select(Message).join(Channel, Channel.id == Message.channel_id), actor)
        .where(Message.id == message_id, visible_to(actor))  # what is hidden is not locked, so not felt either
        .with_for_update(of=Message, key_share=True)
    )
    found = await write.tuples(statement) if message_id is not None else []
    if not found:
        raise NotFound("message", field=[field])
    message: Any = found[0]
    standing = standing_of(message, actor)
    denial = decide(permission, standing)
    if denial is not None:
        raise denial
    rely_on(write, channel_stream(message.channel_id), message.rights_revision)
    return MessageAccess(message, standing, message.rights_revision)


async def access_users(session: Statements, user_ids: list[int | None], *, field: str) -> dict[int, User]:
    """All of these users by id, or NotFound naming the input field."""
    known = [user_id for user_id in user_ids if user_id is not None]
    found = {user.id: user for user in await session.rows(select(User).where(among(User.id, known)))} if known else {}
    if None in user_ids or len(found) != len(set(known)):
        raise NotFound("user", field=[field])
    return found
