"""The types of benchmarks/execution_plain.py."""

from datetime import datetime
from typing import Any

import strawberry
from execution_plain_loaders import Loaders, sessions
from sqlalchemy import select
from strawberry.types import Info as AnyInfo

from app import models

Info = AnyInfo[dict[str, Loaders], None]


@strawberry.type
class User:
    id: strawberry.ID
    name: str
    picture: str | None


@strawberry.type
class Reaction:
    code: str


@strawberry.type
class ReactionGroup:
    reaction: Reaction
    count: int
    viewer_has_reacted: bool


@strawberry.type
class Parent:
    id: strawberry.ID


@strawberry.type
class Message:
    row: strawberry.Private[models.Message]
    id: strawberry.ID
    seq: int
    content: str | None
    created_at: datetime
    updated_at: datetime | None

    @strawberry.field
    async def author(self, info: Info) -> User:
        return user(await info.context["loaders"].users.load(self.row.author_id))

    @strawberry.field
    async def parent(self, info: Info) -> Parent | None:
        if self.row.parent_id is None:
            return None
        return Parent(id=strawberry.ID(str((await info.context["loaders"].messages.load(self.row.parent_id)).id)))

    @strawberry.field
    async def reactions(self, info: Info) -> list[ReactionGroup]:
        groups = await info.context["loaders"].reactions.load(self.row.id)
        return [
            ReactionGroup(reaction=Reaction(code=code), count=count, viewer_has_reacted=reacted)
            for code, count, reacted in groups
        ]

    @strawberry.field
    async def reply_chain(self, first: int) -> "MessageConnection":
        chain = select(models.Message).where(models.Message.chain_id == self.row.id)
        async with sessions() as session:
            found = (await session.scalars(chain.order_by(models.Message.chain_pos).limit(first))).all()
        return page(found)


@strawberry.type
class MessageEdge:
    cursor: str
    node: Message


@strawberry.type
class MessageConnection:
    edges: list[MessageEdge]


@strawberry.type
class Member:
    row: strawberry.Private[models.Membership]
    joined_at: datetime

    @strawberry.field
    async def role(self, info: Info) -> str:
        return await info.context["loaders"].roles.load((self.row.channel_id, self.row.user_id))

    @strawberry.field
    async def user(self, info: Info) -> User:
        return user(await info.context["loaders"].users.load(self.row.user_id))


@strawberry.type
class MemberConnection:
    nodes: list[Member]


@strawberry.type
class Channel:
    row: strawberry.Private[models.Channel]
    id: strawberry.ID
    name: str | None
    description: str | None
    is_private: bool
    created_at: datetime

    @strawberry.field
    async def members(self, info: Info, first: int) -> MemberConnection:
        rows = await info.context["loaders"].members.load((self.row.id, first))
        return MemberConnection(nodes=[Member(row=row, joined_at=row.joined_at) for row in rows])

    @strawberry.field
    async def messages(self, last: int) -> MessageConnection:
        latest = select(models.Message).where(models.Message.channel_id == self.row.id)
        async with sessions() as session:
            found = (await session.scalars(latest.order_by(models.Message.seq.desc()).limit(last))).all()
        return page(found[::-1])


@strawberry.type
class ChannelConnection:
    nodes: list[Channel]


def user(row: models.User) -> User:
    return User(id=strawberry.ID(str(row.id)), name=row.name, picture=row.picture)


def message(row: models.Message) -> Message:
    return Message(
        row=row,
        id=strawberry.ID(str(row.id)),
        seq=row.seq,
        content=row.content,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def page(rows: Any) -> MessageConnection:
    return MessageConnection(edges=[MessageEdge(cursor=str(row.seq), node=message(row)) for row in rows])


def channel(row: models.Channel) -> Channel:
    return Channel(
        row=row,
        id=strawberry.ID(str(row.id)),
        name=row.name,
        description=row.description,
        is_private=row.is_private,
        created_at=row.created_at,
    )
