"""What benchmarks/fanout compares with: a chat on Strawberry and broadcaster as their documentation writes it.

Every subscriber has an execution of its own; there is no database, nothing is checked and nothing kept. It prints its
port.
"""

import itertools
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import strawberry
import uvicorn
from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from strawberry.asgi import GraphQL

broadcast = Broadcast("memory://")
numbers = itertools.count(1)


@strawberry.type
class User:
    id: strawberry.ID
    name: str
    picture: str | None


@strawberry.type
class Message:
    id: strawberry.ID
    content: str
    created_at: datetime
    author: User


@strawberry.type
class Query:
    @strawberry.field
    def version(self) -> str:
        return "1"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def send_message(self, channel_id: strawberry.ID, content: str) -> Message:
        message = {"id": str(next(numbers)), "content": content, "created_at": datetime.now(UTC).isoformat()}
        await broadcast.publish(channel_id, json.dumps(message))
        return shown(message)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def message_added(self, channel_id: strawberry.ID) -> AsyncGenerator[Message, None]:
        async with broadcast.subscribe(channel_id) as subscriber:
            async for event in subscriber:  # type: ignore[union-attr]  # declared as if it could be None
                yield shown(json.loads(event.message))  # type: ignore[union-attr]  # likewise


def shown(message: dict[str, str]) -> Message:
    return Message(
        id=strawberry.ID(message["id"]),
        content=message["content"],
        created_at=datetime.fromisoformat(message["created_at"]),
        author=User(id=strawberry.ID("1"), name="Alice", picture=None),
    )


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with broadcast:
        yield


def main() -> None:
    graphql = GraphQL[None, None](strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription))
    app = Starlette(routes=[Route("/graphql", graphql), WebSocketRoute("/graphql", graphql)], lifespan=lifespan)
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
