"""Direct messages: a private channel of a fixed set of people, of which there is one per set."""

from collections.abc import Iterable

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db import Statements, Write
from app.errors import Invalid, NotFound
from app.events.log import EventType, channel_stream, emit
from app.models import Channel, StreamHead
from app.services.access import Actor, access_users
from app.services.memberships import admit
from app.services.users import usable

MAX_PEOPLE = 9  # as many as Slack's group messages: beyond that it is a channel


def dm_key(user_ids: Iterable[int]) -> str:
    return ",".join(str(user_id) for user_id in sorted(set(user_ids)))


def people(actor: Actor, user_ids: list[int | None]) -> set[int]:
    """The set of people that the actor means; they are part of it whether or not they name themselves."""
    known = {user_id for user_id in user_ids if user_id is not None} | {actor.id}
    if len(known) > MAX_PEOPLE:
        raise Invalid(f"A direct message has at most {MAX_PEOPLE} people. Create a private channel.", field=["userIds"])
    return known


async def find_direct_message(session: Statements, actor: Actor, user_ids: list[int | None]) -> Channel | None:
    if None in user_ids:
        return None
    return await session.first(
        select(Channel).where(Channel.dm_key == dm_key(people(actor, user_ids)), Channel.deleted_at.is_(None))
    )


async def open_direct_message(write: Write, actor: Actor, user_ids: list[int | None]) -> tuple[Channel, bool]:
    """The direct message of these people, made if need be. The second value is True if it was there already."""
    everybody = people(actor, user_ids)
    users = await access_users(write, [*user_ids, actor.id], field="userIds")
    existing = await find_direct_message(write, actor, user_ids)
    if existing is not None:
        return existing, True
    usable(users, field="userIds")
    channel = await write.first(
        upsert(Channel)
        .values(creator_id=actor.id, is_private=True, is_dm=True, dm_key=dm_key(everybody))
        .on_conflict_do_nothing(index_elements=[Channel.dm_key], index_where=Channel.deleted_at.is_(None))
        .returning(Channel)
    )
    if channel is None:  # somebody else opened it between the two statements
        existing = await find_direct_message(write, actor, user_ids)
        if existing is None:
            raise NotFound("channel", field=["userIds"])
        return existing, True
    await write.run(insert(StreamHead).values(stream_id=channel_stream(channel.id)))
    emit(write, channel_stream(channel.id), EventType.CHANNEL_CREATED, actor.id, {})
    await admit(write, actor, channel.id, sorted(everybody))
    return channel, False
