"""The sessions and DataLoaders of benchmarks/execution_plain.py."""

import os
from collections import defaultdict
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import aliased
from strawberry.dataloader import DataLoader

from app import models

VIEWER = 1
PLAIN_MEMBER = "MEMBER"

engine = create_async_engine(
    os.environ["DB_URL"], pool_size=10, max_overflow=0, connect_args={"server_settings": {"jit": "off"}}
)
sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)


class Loaders(NamedTuple):
    """Those of one request."""

    users: DataLoader[int, models.User]
    messages: DataLoader[int, models.Message]
    reactions: DataLoader[int, list[tuple[str, int, bool]]]
    members: DataLoader[tuple[int, int], list[models.Membership]]
    roles: DataLoader[tuple[int, int], str]


def loaders() -> Loaders:
    return Loaders(
        users=DataLoader(users),
        messages=DataLoader(messages),
        reactions=DataLoader(reactions),
        members=DataLoader(members),
        roles=DataLoader(roles),
    )


async def users(ids: list[int]) -> list[models.User]:
    return await by_id(models.User, ids)


async def messages(ids: list[int]) -> list[models.Message]:
    return await by_id(models.Message, ids)


async def by_id(model: Any, ids: list[int]) -> list[Any]:
    async with sessions() as session:
        found = {row.id: row for row in await session.scalars(select(model).where(model.id.in_(ids)))}
    return [found[id_] for id_ in ids]


async def reactions(message_ids: list[int]) -> list[list[tuple[str, int, bool]]]:
    """Code, count and whether the viewer has reacted, in the order in which they were first used."""
    given = models.MessageReaction
    groups = (
        select(given.message_id, models.Reaction.code, func.count(), func.bool_or(given.user_id == VIEWER))
        .join(models.Reaction, models.Reaction.id == given.reaction_id)
        .where(given.message_id.in_(message_ids))
        .group_by(given.message_id, models.Reaction.code)
        .order_by(func.min(given.id))
    )
    found = defaultdict(list)
    async with sessions() as session:
        for message_id, code, count, reacted in await session.execute(groups):
            found[message_id].append((code, count, reacted))
    return [found[message_id] for message_id in message_ids]


async def members(keys: list[tuple[int, int]]) -> list[list[models.Membership]]:
    """The first so many of each channel."""
    order = (models.Membership.joined_at, models.Membership.user_id)
    place = func.row_number().over(partition_by=models.Membership.channel_id, order_by=order).label("place")
    channels = [channel_id for channel_id, _ in keys]
    ranked = select(models.Membership, place).where(models.Membership.channel_id.in_(channels)).subquery()
    member = aliased(models.Membership, ranked)
    first = select(member).where(ranked.c.place <= max(size for _, size in keys)).order_by(ranked.c.place)
    found = defaultdict(list)
    async with sessions() as session:
        for row in await session.scalars(first):
            found[row.channel_id].append(row)
    return [found[channel_id][:size] for channel_id, size in keys]


async def roles(keys: list[tuple[int, int]]) -> list[str]:
    channels = {channel_id for channel_id, _ in keys}
    async with sessions() as session:
        rows = await session.scalars(select(models.ChannelRole).where(models.ChannelRole.channel_id.in_(channels)))
        found = {(row.channel_id, row.user_id): row.role for row in rows}
    return [found.get(key, PLAIN_MEMBER) for key in keys]
