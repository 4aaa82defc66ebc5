"""What benchmarks/execution compares with: the same fields on plain Strawberry, SQLAlchemy's ORM and DataLoaders.

As their documentation writes it: resolvers per field, one loader per relation and request, one session per statement
(an AsyncSession must not be used by two at once). Tuned as well: parsing and validation cached, uvloop, and garbage
collected as rarely as in app/server.py, without which it takes up to twice the CPU. Nobody is authenticated, user 1
asks, and no right is checked. It reads the database of DB_URL, and prints its port.
"""

import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import strawberry
import uvicorn
from execution_plain_loaders import VIEWER, Loaders, loaders, sessions
from execution_plain_types import Channel, ChannelConnection, Message, channel, message
from sqlalchemy import func, select, update
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache

from app import models
from app.server import COLLECTED_AFTER


@strawberry.type
class Query:
    @strawberry.field
    async def channel(self, id: strawberry.ID) -> Channel | None:
        async with sessions() as session:
            row = await session.get(models.Channel, int(id))
        return channel(row) if row else None

    @strawberry.field
    async def channels(self, first: int) -> ChannelConnection:
        by_name = select(models.Channel).order_by(func.lower(models.Channel.name), models.Channel.id)
        async with sessions() as session:
            found = (await session.scalars(by_name.limit(first))).all()
        return ChannelConnection(nodes=[channel(row) for row in found])

    @strawberry.field
    async def message(self, id: strawberry.ID) -> Message | None:
        async with sessions() as session:
            row = await session.get(models.Message, int(id))
        return message(row) if row else None


@strawberry.input
class SendMessageInput:
    channel_id: strawberry.ID
    content: str
    client_key: str | None = None  # of no consequence here


@strawberry.type
class SendError:
    code: str


@strawberry.type
class MessagePayload:
    message: Message | None
    errors: list[SendError]


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def send_message(self, input: SendMessageInput) -> MessagePayload:
        stream, head = f"c{input.channel_id}", models.StreamHead
        count = update(head).where(head.stream_id == stream).values(head_seq=head.head_seq + 1).returning(head.head_seq)
        async with sessions() as session, session.begin():
            seq = (await session.scalars(count)).one()
            row = models.Message(channel_id=int(input.channel_id), seq=seq, author_id=VIEWER, content=input.content)
            session.add(row)
            await session.flush()
            payload = {"message": row.id}
            event = models.StreamEvent(
                stream_id=stream, seq=seq, type="MESSAGE_CREATED", actor_id=VIEWER, at=row.created_at, payload=payload
            )
            session.add(event)
        return MessagePayload(message=message(row), errors=[])


class View(GraphQL[dict[str, Loaders], None]):
    async def get_context(self, request: Any, response: Any) -> dict[str, Loaders]:  # noqa: ARG002 - what Strawberry calls
        return {"loaders": loaders()}


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)
    yield


def main() -> None:
    graphql = View(strawberry.Schema(Query, Mutation, extensions=[ParserCache, ValidationCache]))
    app = Starlette(routes=[Route("/graphql", graphql)], lifespan=lifespan)
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
