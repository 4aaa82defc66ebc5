"""The app behind a real socket, and a toy schema for what the real one never does: fail, wait, return half."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NewType, Self

import httpx
import strawberry
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from strawberry.schema.config import StrawberryConfig
from strawberry.types.scalar import ScalarDefinition
from uvicorn.server import ServerState

from app.auth import create_authenticator
from app.db import Database
from app.errors import NotFound, RateLimited, UserInactive
from app.events.broker import Broker
from app.events.hub import Hub
from app.events.presence import PresenceTracker
from app.events.typists import Typists
from app.http_connection import HttpConnection
from app.main import create_app
from app.settings import Settings
from app.sockets import SOCKETS
from app.storage.choice import create_storage
from schema.context import Info, Services
from schema.guard import ParleySchema
from schema.transport.http import GraphQLEndpoint

NEW = "application/graphql-response+json"
OLD = "application/json"
# Nothing listens on port 1, so what needs the database finds it down.
UNREACHABLE = "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/none"
SECRET = "a text that only its author and the database should see"
WAIT_SECONDS = 10.0
# The field `wait` sets the first, goes on after the second, and then sets the third.
RUNNING, RELEASE, FINISHED = threading.Event(), threading.Event(), threading.Event()


Huge = NewType("Huge", int)


@strawberry.type
class Item:
    name: str

    @strawberry.field
    def broken(self) -> str | None:
        raise ValueError(SECRET)

    @strawberry.field
    def required(self) -> int:
        raise KeyError(self.name)


@strawberry.type
class Query:
    @strawberry.field
    def items(self, count: int = 1) -> list[Item]:
        return [Item(name=str(number)) for number in range(count)]

    @strawberry.field
    async def who(self, info: Info) -> str | None:
        return info.context.claims.subject if info.context.claims else None

    @strawberry.field
    def address(self, info: Info) -> str | None:
        return info.context.client_address

    @strawberry.field
    async def wait(self) -> str:
        RUNNING.set()
        await asyncio.to_thread(RELEASE.wait, WAIT_SECONDS)
        FINISHED.set()
        return "done"

    @strawberry.field
    def limited(self) -> int:
        raise RateLimited("Too many.", retry_after_ms=1500)

    @strawberry.field
    def inactive(self) -> int:
        raise UserInactive

    @strawberry.field
    def missing(self) -> int:
        raise NotFound("message")

    @strawberry.field
    def unserializable(self) -> Huge:
        return Huge(2**70)


@strawberry.type
class Mutation:
    @strawberry.mutation
    def add(self, number: int) -> int:
        return number + 1


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self) -> AsyncGenerator[int, None]:
        yield 1


def toy_app(data_dir: Path, *, body_seconds: float = 10) -> Starlette:
    """The endpoint, real but for its schema. `app.state.services` has a database that cannot be reached."""
    settings = Settings(data_dir=data_dir)
    scalars: dict[object, ScalarDefinition] = {Huge: strawberry.scalar(name="Huge", serialize=int)}
    config = StrawberryConfig(scalar_map=scalars)
    schema = ParleySchema(query=Query, mutation=Mutation, subscription=Subscription, config=config)
    app = Starlette(routes=[Route("/graphql", GraphQLEndpoint(schema, body_seconds=body_seconds))])
    database, broker = Database(UNREACHABLE), Broker(None)
    authenticator = create_authenticator(settings)
    app.state.services = Services(
        settings=settings,
        database=database,
        authenticator=authenticator,
        broker=broker,
        hub=Hub(database, broker),
        presence=PresenceTracker(database, broker),
        typists=Typists(database, broker),
        storage=create_storage(settings),
    )
    return app


def client_of(app: Starlette) -> httpx.AsyncClient:
    # Without an Accept of httpx's own, so that each test says what it accepts.
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://parley.test")
    del client.headers["accept"]
    return client


@asynccontextmanager
async def real_client(
    data_dir: Path, *, graphiql: bool = True, introspection: bool = True
) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A client of the real app; its database is down."""
    settings = Settings(data_dir=data_dir, graphiql=graphiql, introspection=introspection)
    app = create_app(settings, UNREACHABLE)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


async def post(http: httpx.AsyncClient, body: Any, accept: str = NEW, **headers: str) -> httpx.Response:
    """`body` is sent as it is, or encoded as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"accept": accept, "content-type": OLD, **headers}
    encoded = {name.encode(): text.encode() for name, text in sent.items()}
    return await http.post("/graphql", content=content, headers=encoded)


def code(answer: httpx.Response) -> str:
    """The code of the only error."""
    [error] = answer.json()["errors"]
    assert error["message"]
    return str(error["extensions"]["code"])


class Served:
    """An app on an ephemeral port of loopback, in a thread of its own, run as production runs it."""

    def __init__(self, app: Starlette, **options: Any) -> None:
        """`options` are of uvicorn's Config."""
        self.loop: asyncio.AbstractEventLoop
        self._has_loop = threading.Event()
        self._app = app
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/graphql"
        usual: dict[str, Any] = {
            **SOCKETS,
            "interface": "asgi3",
            "http": HttpConnection,
            "loop": "uvloop",
            "log_config": None,
            "access_log": False,
            "proxy_headers": False,
            "timeout_graceful_shutdown": 2,
        }
        self._server = uvicorn.Server(uvicorn.Config(self._serve, **{**usual, **options}))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)

    @property
    def server_state(self) -> ServerState:
        return self._server.server_state

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self.loop = asyncio.get_running_loop()
            self._has_loop.set()
        await self._app(scope, receive, send)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._has_loop.wait(WAIT_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(WAIT_SECONDS)
        self._listener.close()
