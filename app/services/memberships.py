"""Who is in a channel, and with which role."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Select, and_, bindparam, delete, func, insert, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db import Statements, Write, among
from app.errors import Conflict, ErrorCode, Forbidden, Invalid
from app.events.log import EventType, channel_stream, emit, lock, rights_changed, user_stream
from app.models import Channel, ChannelRole, Membership, StreamHead
from app.pages import Page, PerParent, Slice
from app.permissions import Permission, Role, Standing
from app.services.access import Actor, access_channel_alone, access_users, visible_to
from app.services.users import usable

MAX_MEMBERS_AT_ONCE = 100


def members() -> Select[*tuple[Any, ...]]:
    """Memberships with their role: the rows behind `ChannelMember`."""
    return (
        select(
            Membership.channel_id,
            Membership.user_id,
            Membership.joined_at,
            func.coalesce(ChannelRole.role, Role.MEMBER.name).label("role"),
            ChannelRole.assigned_at.label("role_assigned_at"),
        )
        .select_from(Membership)
        .outerjoin(
            ChannelRole,
            and_(ChannelRole.channel_id == Membership.channel_id, ChannelRole.user_id == Membership.user_id),
        )
    )


# OFFSET 0, twice: it keeps PostgreSQL from joining the other way round, through all members of a channel.
def ranks() -> Select[int]:
    """The role above MEMBER of a membership, if it has one."""
    role = select(ChannelRole.user_id).where(
        ChannelRole.channel_id == Membership.channel_id, ChannelRole.user_id == Membership.user_id
    )
    return role.correlate(Membership).offset(0)


def ranked(channel_id: Any, role: Role) -> tuple[Select[*tuple[Any, ...]], list[Any]]:
    """The rows of `members` that have this role, found by the role, and what they are ordered by."""
    membership = (
        select(Membership.channel_id, Membership.user_id, Membership.joined_at)
        .where(Membership.channel_id == ChannelRole.channel_id, Membership.user_id == ChannelRole.user_id)
        .offset(0)
        .lateral("membership")
    )
    statement = (
        select(membership, ChannelRole.role.label("role"), ChannelRole.assigned_at.label("role_assigned_at"))
        .join_from(ChannelRole, membership, true())
        .where(ChannelRole.channel_id == channel_id, ChannelRole.role == role.name)
    )
    return statement, [membership.c.joined_at, membership.c.user_id]


async def find_member(session: Statements, channel_id: int, user_id: int | None) -> Any | None:
    found = await session.tuples(members().where(Membership.channel_id == channel_id, Membership.user_id == user_id))
    return found[0] if found else None


async def admit(
    write: Write, actor: Actor, channel_id: int, user_ids: Iterable[int], *, role: Role = Role.MEMBER
) -> None:
    """Add people who are not in the channel yet, and tell the channel and each of them.

    No checks: the caller made them.
    """
    wanted = list(user_ids)
    if not wanted:
        return
    rows = [{"channel_id": channel_id, "user_id": user_id} for user_id in wanted]
    # The caller holds the stream's lock, so the head that is read here is the one that the join is appended to.
    head = select(StreamHead.head_seq).where(StreamHead.stream_id == channel_stream(channel_id)).scalar_subquery()
    places = [{**row, "joined_seq": head} for row in rows]
    admitted = upsert(Membership).values(places).on_conflict_do_nothing()
    added = dict(await write.tuples(admitted.returning(Membership.user_id, Membership.joined_seq)))
    if role > Role.MEMBER:
        await write.run(insert(ChannelRole), [{**row, "role": role.name} for row in rows])
    for user_id in sorted(added):
        payload = {"user": user_id, "role": role.name}
        emit(write, channel_stream(channel_id), EventType.MEMBER_JOINED, actor.id, payload)
        # Their subscriptions begin to follow the channel when they see this, and after that position.
        own = {**payload, "channel": channel_id, "joined_seq": added[user_id]}
        emit(write, user_stream(user_id), EventType.MEMBER_JOINED, actor.id, own)


async def expel(write: Write, actor: Actor, channel_id: int, member: Any) -> None:
    """Take somebody out, and tell the channel and them. What they were allowed a moment ago no longer counts."""
    await write.run(delete(Membership).where(Membership.channel_id == channel_id, Membership.user_id == member.user_id))
    rights_changed(write, channel_stream(channel_id))
    payload = {"user": member.user_id, "previous_role": member.role}
    emit(write, channel_stream(channel_id), EventType.MEMBER_LEFT, actor.id, payload)
    emit(write, user_stream(member.user_id), EventType.MEMBER_LEFT, actor.id, {**payload, "channel": channel_id})


async def join_channel(write: Write, actor: Actor, channel_id: int | None) -> Channel:
    """Public channels only; joining again is no error."""
    access = await access_channel_alone(write, actor, channel_id, Permission.CHANNEL_READ)
    return await join(write, actor, access.channel)


async def join_channel_by_code(write: Write, actor: Actor, join_code: str, channel: Channel | None) -> Channel:
    """`channel` is what the code named a moment ago; under the lock it must still be the channel's code."""
    wrong = Invalid(
        "This join code is not valid. Ask for a new one.", code=ErrorCode.INVALID_JOIN_CODE, field=["joinCode"]
    )
    if channel is None:
        raise wrong
    await lock(write, channel_stream(channel.id))
    current = await write.first(select(Channel).where(Channel.id == channel.id, Channel.deleted_at.is_(None)))
    if current is None or current.join_code != join_code:
        raise wrong
    return await join(write, actor, current)


async def join(write: Write, actor: Actor, channel: Channel) -> Channel:
    if await find_member(write, channel.id, actor.id) is None:
        if channel.archived_at is not None:
            raise Conflict(ErrorCode.CHANNEL_ARCHIVED, "The channel is archived: nobody can join it now.")
        await admit(write, actor, channel.id, [actor.id])
    return channel


async def leave_channel(write: Write, actor: Actor, channel_id: int | None) -> Channel:
    access = await access_channel_alone(write, actor, channel_id, Permission.MEMBER_LEAVE)
    if access.standing.role is Role.OWNER:
        raise Conflict(
            ErrorCode.LAST_OWNER,
            "Hand the channel over first (setMemberRole with OWNER), or delete it.",
            field=["channelId"],
        )
    await expel(write, actor, access.channel.id, await find_member(write, access.channel.id, actor.id))
    return access.channel


async def add_members(write: Write, actor: Actor, channel_id: int | None, user_ids: list[int | None]) -> Channel:
    """Those who are in already stay as they are."""
    if len(user_ids) > MAX_MEMBERS_AT_ONCE:
        raise Invalid(f"At most {MAX_MEMBERS_AT_ONCE} people at once.", field=["userIds"])
    access = await access_channel_alone(write, actor, channel_id, Permission.MEMBER_ADD)
    users = await access_users(write, user_ids, field="userIds")
    usable(users, field="userIds")
    await admit(write, actor, access.channel.id, sorted(users))
    return access.channel


async def access_member(write: Write, channel_id: int, user_id: int | None) -> Any:
    """A member of a channel that the actor manages."""
    member = await find_member(write, channel_id, user_id)
    if member is None:
        raise Conflict(ErrorCode.NOT_MEMBER, "This user is not a member of the channel.", field=["userId"])
    return member


async def remove_member(write: Write, actor: Actor, channel_id: int | None, user_id: int | None) -> Channel:
    access = await access_channel_alone(write, actor, channel_id, Permission.MEMBER_REMOVE)
    member = await access_member(write, access.channel.id, user_id)
    if user_id == actor.id:
        raise Forbidden("Use leaveChannel to leave.", code=ErrorCode.ROLE_TOO_LOW, field=["userId"])
    if Role[member.role] >= (access.standing.role or Role.MEMBER):
        raise Forbidden(
            "Only somebody with a higher role can remove this member.", code=ErrorCode.ROLE_TOO_LOW, field=["userId"]
        )
    await expel(write, actor, access.channel.id, member)
    return access.channel


async def set_member_role(
    write: Write, actor: Actor, channel_id: int | None, user_id: int | None, role: Role
) -> Channel:
    """Up to the own role, for somebody below it or oneself.

    OWNER hands the channel over; the old owner stays as ADMIN.
    """
    access = await access_channel_alone(write, actor, channel_id, Permission.MEMBER_SET_ROLE)
    channel, own = access.channel, access.standing.role or Role.MEMBER
    member = await access_member(write, channel.id, user_id)
    before = Role[member.role]
    if before is role:
        return channel
    if before is Role.OWNER:
        if user_id != actor.id:
            raise Forbidden("Only the owner can give up the channel.", code=ErrorCode.ROLE_TOO_LOW, field=["userId"])
        raise Conflict(
            ErrorCode.LAST_OWNER, "A channel has an owner. Make somebody else the owner instead.", field=["role"]
        )
    if role > own or (before >= own and user_id != actor.id):
        raise Forbidden(
            f"Your role is {own.name}: you can assign roles up to it, to members below it.",
            code=ErrorCode.ROLE_TOO_LOW,
            field=["role"],
        )
    if role is Role.OWNER:
        usable(await access_users(write, [user_id], field="userId"), field="userId")
        await assign(write, actor, channel.id, actor.id, Role.ADMIN, before=Role.OWNER)
        await write.run(update(Channel).where(Channel.id == channel.id).values(owner_id=member.user_id))
        emit(write, channel_stream(channel.id), EventType.CHANNEL_UPDATED, actor.id, {"changed": ["owner"]})
    await assign(write, actor, channel.id, member.user_id, role, before=before)
    rights_changed(write, channel_stream(channel.id))
    return channel


async def assign(write: Write, actor: Actor, channel_id: int, user_id: int, role: Role, *, before: Role) -> None:
    row = {"channel_id": channel_id, "user_id": user_id}
    if role is Role.MEMBER:
        await write.run(delete(ChannelRole).where(ChannelRole.channel_id == channel_id, ChannelRole.user_id == user_id))
    else:
        values = {"role": role.name, "assigned_at": func.clock_timestamp()}
        key = [ChannelRole.channel_id, ChannelRole.user_id]
        await write.run(
            upsert(ChannelRole).values(**row, **values).on_conflict_do_update(index_elements=key, set_=values)
        )
    payload = {"user": user_id, "role": role.name, "previous_role": before.name}
    emit(write, channel_stream(channel_id), EventType.MEMBER_ROLE_CHANGED, actor.id, payload)


async def members_pages(
    session: Statements, channel_ids: Sequence[int], page: Page, *, role: Role | None = None
) -> dict[int, Slice[Any]]:
    """A page of the members of each channel, in the order of joining."""
    return await members_with(role).pages(session, {"id": channel_ids}, page)


@cache
def members_with(role: Role | None) -> PerParent:
    """The members of a channel that have this role; without one, all."""

    def build(channel: Any) -> tuple[Select[*tuple[Any, ...]], list[Any]]:
        if role is not None and role is not Role.MEMBER:
            return ranked(channel.id, role)
        statement = members().where(Membership.channel_id == channel.id)
        if role is Role.MEMBER:
            statement = statement.where(~ranks().exists())
        return statement, [Membership.joined_at, Membership.user_id]

    return PerParent(build, key=lambda row: (row.joined_at, row.user_id))


COUNTS = (
    select(Membership.channel_id, func.count())
    .where(among(Membership.channel_id, bindparam("channel_ids", type_=ARRAY(BigInteger))))
    .group_by(Membership.channel_id)
)


async def member_counts(session: Statements, channel_ids: Sequence[int]) -> dict[int, int]:
    return dict(await session.tuples(COUNTS, {"channel_ids": list(set(channel_ids))}))


OWN = members().where(
    Membership.user_id == bindparam("user_id", type_=BigInteger),
    among(Membership.channel_id, bindparam("channel_ids", type_=ARRAY(BigInteger))),
)


async def standings(session: Statements, actor: Actor, channels: Sequence[Channel]) -> dict[int, Standing]:
    """How the actor stands to each of these channels."""
    parameters = {"user_id": actor.id, "channel_ids": list({channel.id for channel in channels})}
    roles = {row.channel_id: Role[row.role] for row in await session.tuples(OWN, parameters)}
    return {
        channel.id: Standing(
            role=roles.get(channel.id),
            is_private=channel.is_private,
            is_dm=channel.is_dm,
            is_archived=channel.archived_at is not None,
            is_workspace_admin=actor.is_workspace_admin,
        )
        for channel in channels
    }


async def visible_members(
    session: Statements, actor: Actor, keys: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Any]:
    """Those of these (channel id, user id) memberships whose channel the actor may see."""
    if not keys:
        return {}
    statement = members().join(Channel, Channel.id == Membership.channel_id).where(visible_to(actor))
    arrays = (bindparam(None, list(values), type_=ARRAY(BigInteger)) for values in zip(*keys, strict=True))
    wanted = func.unnest(*arrays).table_valued("channel_id", "user_id", name="wanted").render_derived()
    of_wanted = tuple_(Membership.channel_id, Membership.user_id).in_(select(wanted))
    rows = await session.tuples(statement.where(of_wanted))
    return {(row.channel_id, row.user_id): row for row in rows}
