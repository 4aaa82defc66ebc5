"""Channels: creating, changing, archiving, deleting, and who sees which."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, bindparam, func, insert, select, union_all, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError

from app.db import Database, Position, Statements, Write, Written, among, has_text, search, violated
from app.errors import Conflict, ErrorCode, Invalid, NotFound
from app.events.log import EventType, channel_stream, emit, rights_changed
from app.models import Channel, Membership, StreamHead
from app.pages import LIMIT, Kind, Page, Slice, cut, parameters, window
from app.permissions import Permission, Role
from app.services.access import VIEWER, Actor, access_channel_alone, access_users, viewer, visible_to
from app.services.idempotency import ClientKey, once
from app.services.memberships import MAX_MEMBERS_AT_ONCE, admit
from app.services.users import usable
from app.text import clean_line, clean_text

MAX_NAME_LENGTH = 80
MAX_DESCRIPTION_LENGTH = 1000


def new_join_code() -> str:
    """192 random bits: at 30 guesses a minute, not guessable."""
    return secrets.token_urlsafe(24)


async def create_channel(
    database: Database,
    actor: Actor,
    *,
    name: str,
    description: str | None,
    is_private: bool,
    member_ids: list[int | None],
    key: ClientKey,
) -> tuple[Written[Channel], bool]:
    """The creator becomes the owner; `member_ids` join at once.

    The second value is True for a retry of an earlier call.
    """
    name = clean_line(name, ["name"], maximum=MAX_NAME_LENGTH)
    if description is not None:
        description = clean_text(description, ["description"], maximum=MAX_DESCRIPTION_LENGTH)
    if len(member_ids) > MAX_MEMBERS_AT_ONCE:
        raise Invalid(f"At most {MAX_MEMBERS_AT_ONCE} people at once.", field=["memberIds"])

    async def unit(write: Write) -> Channel:
        members = await access_users(write, member_ids, field="memberIds")
        usable(members, field="memberIds")
        channel = await insert_channel(
            write,
            name=name,
            description=description,
            owner_id=actor.id,
            creator_id=actor.id,
            is_private=is_private,
            join_code=new_join_code() if is_private else None,
            client_key=key.key,
            client_digest=key.digest,
        )
        emit(write, channel_stream(channel.id), EventType.CHANNEL_CREATED, actor.id, {})
        await admit(write, actor, channel.id, [actor.id], role=Role.OWNER)
        await admit(write, actor, channel.id, sorted(members.keys() - {actor.id}))
        return channel

    with unique_name(["name"]):
        return await once(database, key, unit, lambda session: keyed_channel(session, actor, key))


async def insert_channel(write: Write, **values: Any) -> Channel:
    channel = await write.first(insert(Channel).values(**values).returning(Channel))
    if channel is None:
        raise NotFound("channel")
    await write.run(insert(StreamHead).values(stream_id=channel_stream(channel.id)))
    return channel


async def keyed_channel(session: Statements, actor: Actor, key: ClientKey) -> Written[Channel] | None:
    """What an earlier try under this key made, with the position of its event, which is the channel's first."""
    statement = (
        select(Channel, StreamHead.epoch)
        .join(StreamHead, StreamHead.stream_id == func.concat("c", Channel.id))
        .where(Channel.creator_id == actor.id, Channel.client_key == key.key, visible_to(actor))
    )
    found: Sequence[Any] = await session.tuples(statement)
    if not found:
        return None
    channel: Any = found[0]
    return Written(channel, {channel_stream(channel.id): Position(channel.epoch, 1)})


@contextmanager
def unique_name(field: list[str]) -> Iterator[None]:
    """Names of public channels are unique, and the index decides: two may try the same one at the same time."""
    try:
        yield
    except IntegrityError as error:
        if violated(error) != "uq_channels_public_name":
            raise
        raise Conflict(ErrorCode.NAME_TAKEN, "A public channel has this name already.", field=field) from error


async def update_channel(
    database: Database, actor: Actor, channel_id: int | None, *, changes: Mapping[str, str | None]
) -> Written[Channel]:
    """`changes` holds the new name, the new description (null clears it), or both."""
    values: dict[str, Any] = {}
    if "name" in changes:
        values["name"] = clean_line(changes["name"] or "", ["name"], maximum=MAX_NAME_LENGTH)
    if "description" in changes:
        text = changes["description"]
        field = ["description"]
        values["description"] = clean_text(text, field, maximum=MAX_DESCRIPTION_LENGTH) if text is not None else None

    async def unit(write: Write) -> Channel:
        access = await access_channel_alone(write, actor, channel_id, Permission.CHANNEL_EDIT)
        changed = {name: value for name, value in values.items() if getattr(access.channel, name) != value}
        if not changed:
            return access.channel
        payload = {"changed": sorted(changed)}
        return await change_channel(
            write, actor, access.channel, EventType.CHANNEL_UPDATED, values=changed, payload=payload
        )

    with unique_name(["name"]):
        return await database.write(unit)


async def change_channel(
    write: Write,
    actor: Actor,
    channel: Channel,
    event: EventType,
    *,
    values: Mapping[str, Any],
    payload: Mapping[str, Any],
) -> Channel:
    changed = await write.first(update(Channel).where(Channel.id == channel.id).values(**values).returning(Channel))
    if changed is None:
        raise NotFound("channel", field=["channelId"])
    emit(write, channel_stream(channel.id), event, actor.id, payload)
    return changed


async def set_channel_privacy(
    database: Database, actor: Actor, channel_id: int | None, *, is_private: bool
) -> Written[Channel]:
    """Private makes a join code, public drops it."""

    async def unit(write: Write) -> Channel:
        access = await access_channel_alone(write, actor, channel_id, Permission.CHANNEL_SET_PRIVACY)
        channel = access.channel
        if channel.is_private == is_private:
            return channel
        rights_changed(write, channel_stream(channel.id))
        values = {"is_private": is_private, "join_code": new_join_code() if is_private else None}
        payload = {"was_private": channel.is_private, "is_private": is_private}
        return await change_channel(
            write, actor, channel, EventType.CHANNEL_PRIVACY_CHANGED, values=values, payload=payload
        )

    with unique_name(["isPrivate"]):
        return await database.write(unit)


async def rotate_join_code(write: Write, actor: Actor, channel_id: int | None) -> Channel:
    access = await access_channel_alone(write, actor, channel_id, Permission.JOIN_CODE_ROTATE)
    if not access.channel.is_private:
        raise Conflict(
            ErrorCode.JOIN_CODE_NOT_ALLOWED,
            "A public channel has no join code: anybody may join it.",
            field=["channelId"],
        )
    values = {"join_code": new_join_code()}
    return await change_channel(
        write, actor, access.channel, EventType.CHANNEL_UPDATED, values=values, payload={"changed": ["join_code"]}
    )


async def archive_channel(write: Write, actor: Actor, channel_id: int | None, *, archived: bool) -> Channel:
    access = await access_channel_alone(write, actor, channel_id, Permission.CHANNEL_ARCHIVE)
    channel = access.channel
    if (channel.archived_at is not None) == archived:
        return channel
    rights_changed(write, channel_stream(channel.id))
    event = EventType.CHANNEL_ARCHIVED if archived else EventType.CHANNEL_UNARCHIVED
    return await change_channel(
        write, actor, channel, event, values={"archived_at": func.now() if archived else None}, payload={}
    )


async def delete_channel(write: Write, actor: Actor, channel_id: int | None) -> int:
    """Gone for everybody at once; its content is removed in the background."""
    access = await access_channel_alone(write, actor, channel_id, Permission.CHANNEL_DELETE)
    rights_changed(write, channel_stream(access.channel.id))
    await change_channel(
        write, actor, access.channel, EventType.CHANNEL_DELETED, values={"deleted_at": func.now()}, payload={}
    )
    return access.channel.id


BY_ID = select(Channel).where(among(Channel.id, bindparam("channel_ids", type_=ARRAY(BigInteger))), visible_to(VIEWER))


async def channels_by_id(session: Statements, actor: Actor, channel_ids: Sequence[int | None]) -> dict[int, Channel]:
    """Those of these channels that the actor may see."""
    wanted = {channel_id for channel_id in channel_ids if channel_id is not None}
    if not wanted:
        return {}
    found = await session.rows(BY_ID, {"channel_ids": list(wanted), **viewer(actor)})
    return {channel.id: channel for channel in found}


@cache
def channels_listed(kind: Kind, *, archived: bool, is_search: bool) -> Select[*tuple[Any, ...]]:
    by_name = func.lower(Channel.name)
    joined = select(Membership.channel_id).where(Membership.user_id == VIEWER.id)

    def part(whose: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
        statement = select(Channel, by_name.label("sort_name")).where(~Channel.is_dm, in_use(archived=archived), whose)
        if is_search:
            statement = statement.where(has_text(by_name))
        return window(statement, [by_name, Channel.id], kind)

    # Two lists, each by an index of its own: one would pass over any number of others' private channels.
    both = union_all(part(~Channel.is_private), part(and_(Channel.is_private, Channel.id.in_(joined)))).subquery()
    return select(both).order_by(both.c.sort_name, both.c.id).limit(LIMIT)


async def channels_page(
    session: Statements, actor: Actor, page: Page, *, name_contains: str | None = None, archived: bool = False
) -> Slice[Channel]:
    """Public channels and the actor's own, by name; direct messages are not among them."""
    statement = channels_listed(Kind.of(page), archived=archived, is_search=bool(name_contains))
    rows = await search(session, statement, {**parameters(page), "viewer_id": actor.id}, name_contains)
    return cut(rows, [(row.sort_name, row.id) for row in rows], page)


def in_use(*, archived: bool) -> ColumnElement[bool]:
    """Not deleted; archived or not. Spelled out, because that is how PostgreSQL finds the index of the one or other."""
    return and_(
        Channel.deleted_at.is_(None), Channel.archived_at.is_not(None) if archived else Channel.archived_at.is_(None)
    )


@cache
def joined_channels_listed(kind: Kind, *, archived: bool, is_dm: bool | None) -> Select[*tuple[Any, ...]]:
    statement = (
        select(Channel)
        .join(Membership, Membership.channel_id == Channel.id)
        .where(Membership.user_id == VIEWER.id, in_use(archived=archived))
    )
    if is_dm is not None:
        statement = statement.where(Channel.is_dm == is_dm)
    return window(statement, [Membership.channel_id], kind)


async def joined_channels_page(
    session: Statements, actor: Actor, page: Page, *, archived: bool = False, is_dm: bool | None = None
) -> Slice[Channel]:
    """The channels that the actor is in, oldest channel first."""
    statement = joined_channels_listed(Kind.of(page), archived=archived, is_dm=is_dm)
    rows: Sequence[Any] = await session.tuples(statement, {**parameters(page), "viewer_id": actor.id})
    return cut(rows, [(row.id,) for row in rows], page)


async def channel_by_join_code(session: Statements, join_code: str) -> Channel | None:
    if "\0" in join_code or not join_code.isascii():
        return None
    return await session.first(select(Channel).where(Channel.join_code == join_code, Channel.deleted_at.is_(None)))
