"""The socket endpoint behind a real server on a real database, with a toy schema and subscriptions that tests drive."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import strawberry
from starlette.routing import WebSocketRoute
from strawberry.schema.config import StrawberryConfig

from app.main import create_app
from app.settings import load_settings
from schema.context import Info
from schema.errors import TopLevelCode, coded
from schema.execution.sink import OperationFailed, Sink
from schema.guard import ParleySchema
from schema.scalars import SCALARS
from schema.session import SessionMutation
from schema.transport.request import GraphQLRequest
from schema.transport.sessions import Session, Sessions
from schema.transport.websocket import SocketEndpoint
from tests.served import UNREACHABLE, WAIT_SECONDS, Served

T = TypeVar("T")
SECRET = "a text that only the log may see, and not even that"


@strawberry.type
class Query:
    @strawberry.field
    def echo(self, text: str = "") -> str:
        return text

    @strawberry.field
    async def me(self, info: Info) -> str:
        return (await info.context.user()).name

    @strawberry.field
    async def admin(self, info: Info) -> bool:
        return (await info.context.actor()).is_workspace_admin

    @strawberry.field
    def long(self, length: int) -> str:
        return "x" * length

    @strawberry.field
    def broken(self) -> str | None:
        raise ValueError(SECRET)

    @strawberry.field
    async def held(self) -> str:
        """Waits for the test."""
        await hold()
        return "let go"


# One entry for each that is held; clearing the list lets all go.
HELD: list[None] = []


async def hold() -> None:
    HELD.append(None)
    while HELD:  # noqa: ASYNC110 - the test clears it
        await asyncio.sleep(0.01)


@strawberry.type
class Mutation(SessionMutation):
    @strawberry.mutation
    def add(self, number: int) -> int:
        return number + 1


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def stays(self) -> AsyncGenerator[int, None]:
        yield 0

    @strawberry.subscription
    async def counts(self, to: int) -> AsyncGenerator[int, None]:
        yield to

    @strawberry.subscription
    async def refuses(self) -> AsyncGenerator[int, None]:
        yield 0

    @strawberry.subscription
    async def breaks(self) -> AsyncGenerator[int, None]:
        yield 0

    @strawberry.subscription
    async def hangs(self) -> AsyncGenerator[int, None]:
        yield 0


class Toy:
    """A running subscription. It remembers what it was told."""

    def __init__(self, session: Session, sink: Sink) -> None:
        self.session = session
        self.sink = sink
        self.stopped = 0
        self.congested = 0
        self.drains = 0
        self.expires: list[datetime] = []

    def stop(self) -> None:
        self.stopped += 1

    def congest(self) -> None:
        self.congested += 1

    def expiring(self, expires_at: datetime) -> None:
        self.expires.append(expires_at)
        self.sink.next(b'{"data":{"stays":"expiring"}}')

    def draining(self) -> None:
        self.drains += 1
        self.sink.next(b'{"data":{"stays":"draining"}}')


class SettledServed(Served):
    """Entered once the process knows where the workspace stands: sessions before that would be closed then."""

    def __enter__(self) -> Self:
        super().__enter__()
        deadline = time.monotonic() + WAIT_SECONDS
        while not asyncio.run_coroutine_threadsafe(self._is_current(), self.loop).result(WAIT_SECONDS):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self

    async def _is_current(self) -> bool:
        services = getattr(self._app.state, "services", None)
        return services is not None and services.hub.is_current


class SocketServer:
    """Serves the toy in a thread of its own. `toys` are the subscriptions started so far, the latest last."""

    def __init__(
        self,
        data_dir: Path,
        url: str,
        *,
        environ: dict[str, str] | None = None,
        init_seconds: float = 10,
        notice_seconds: float = 60,
        **options: Any,
    ) -> None:
        """`environ` has settings; `options` are of uvicorn's Config."""
        self.toys: list[Toy] = []
        config = StrawberryConfig(scalar_map=SCALARS)
        self._schema = ParleySchema(query=Query, mutation=Mutation, subscription=Subscription, config=config)
        settings = load_settings({"PARLEY_DATA_DIR": str(data_dir), **(environ or {})}, env_file=None)
        self.app = create_app(settings, url, keeps_house=False)
        endpoint = SocketEndpoint(
            self._schema, self._subscribe, init_seconds=init_seconds, notice_seconds=notice_seconds
        )
        self.app.router.routes.insert(0, WebSocketRoute("/graphql", endpoint))
        self.served = SettledServed(self.app, **options) if url != UNREACHABLE else Served(self.app, **options)
        self.port = self.served.port

    async def _subscribe(self, request: GraphQLRequest, session: Session, sink: Sink) -> Toy:
        _, operation = self._schema.operation(request.query, request.operation_name)
        field: Any = operation.selection_set.selections[0]
        toy = Toy(session, sink)
        self.toys.append(toy)
        match field.name.value:
            case "counts":
                for number in range((request.variables or {"to": 3})["to"]):
                    sink.next(b'{"data":{"counts":%d}}' % number)
                sink.complete()
            case "refuses":
                raise OperationFailed([coded("Not this one.", TopLevelCode.NOT_FOUND)])
            case "breaks":
                raise ValueError(SECRET)
            case "hangs":
                await hold()
        return toy

    @property
    def sessions(self) -> Sessions:
        found: Sessions = self.app.state.services.sessions
        return found

    async def call(self, function: Callable[[], T]) -> T:
        """Run it on the server's loop."""

        async def run() -> T:
            return function()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self.served.loop))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what will be true shortly; fails when it is not."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not await self.call(condition):  # noqa: ASYNC110 - any condition, seen from another thread
                await asyncio.sleep(0.01)
