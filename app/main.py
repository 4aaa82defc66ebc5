"""The ASGI app: what is served at which path, and what lives as long as the process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from app.auth import LocalIssuer, create_authenticator
from app.db import Database
from app.errors import Unavailable
from app.events.broker import Broker
from app.events.hub import Hub
from app.events.presence import PresenceTracker
from app.events.times import Times
from app.events.typists import Typists
from app.services.housekeeping import keep_house
from app.settings import Settings
from app.storage.choice import create_storage
from schema.context import Services
from schema.execution.subscribe import subscribe
from schema.guard import ParleySchema
from schema.persisted.served import served_schema
from schema.transport.http import GraphQLEndpoint
from schema.transport.reaction_images import route as reaction_images
from schema.transport.websocket import SocketEndpoint

READY_SECONDS = 1.0


def create_app(
    settings: Settings,
    url: str,
    *,
    keeps_house: bool = True,
    times: Times | None = None,
    served: ParleySchema | None = None,
) -> "Application":
    """Parley on the database at `url` (SQLAlchemy's asyncpg form), which must be migrated.

    `served` is the schema that the settings ask for, if it has been made already.

    Raises StartError or Invalid for settings that cannot be used.
    """
    served = served or served_schema(settings)
    broker = Broker(settings.redis_url)
    storage = create_storage(settings)

    is_prepared = False

    async def prepare() -> None:
        """What may refuse to start. Raises StartError."""
        nonlocal is_prepared
        if not is_prepared:
            await storage.start()
            is_prepared = True

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None, None]:
        database = Database(url, pool_size=settings.db_pool_size)
        authenticator = create_authenticator(settings)
        hub = Hub(database, broker)
        presence = PresenceTracker(database, broker, times)
        typists = Typists(database, broker, times)
        services = app.state.services = Services(
            settings=settings,
            database=database,
            authenticator=authenticator,
            broker=broker,
            hub=hub,
            presence=presence,
            typists=typists,
            storage=storage,
        )
        services.sessions.on_change = presence.connected
        services.sessions.others = presence.others
        hub.on_workspace = services.workspace_changed
        await prepare()
        await broker.start()
        await hub.start()
        presence.start()
        typists.start()
        house = None
        if keeps_house:
            house = asyncio.create_task(
                keep_house(database, storage, settings.event_retention_days), name="housekeeping"
            )
        try:
            yield
        finally:
            if house is not None:
                house.cancel()
                await asyncio.gather(house, return_exceptions=True)
            await presence.stop()
            await typists.stop()
            await hub.stop()
            await broker.stop()
            await authenticator.aclose()
            await storage.stop()
            await database.dispose()

    graphql = GraphQLEndpoint(served, graphiql=settings.graphiql)
    routes: list[BaseRoute] = [
        Route("/", _to_graphql),
        Route("/graphql", graphql),
        WebSocketRoute("/graphql", SocketEndpoint(served, partial(subscribe, served))),
        *storage.routes,
        reaction_images,
        Route("/healthz", _healthy),
        Route("/readyz", _ready),
    ]
    if settings.auth0_domain is None:
        issuer = LocalIssuer(settings.data_dir)
        routes.append(Route("/.well-known/jwks.json", lambda _: JSONResponse(issuer.jwks())))
    app = Application(
        graphql if not settings.cors_allow_origins else None,
        routes=routes,
        middleware=_middleware(settings),
        lifespan=lifespan,
    )
    app.state.prepare = prepare  # before the lifespan, where an error would be a traceback
    return app


class Application(Starlette):
    """Requests to /graphql go by the shortest way.

    Starlette's middleware and router cost as much as a statement, and have nothing to give here: the endpoint knows its
    methods, and answers its own failures.
    """

    def __init__(self, shortest: GraphQLEndpoint | None, **given: Any) -> None:
        super().__init__(**given)
        self.shortest = shortest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.shortest is not None and scope["type"] == "http" and scope["path"] == "/graphql":
            scope["app"] = self
            await self.shortest(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _middleware(settings: Settings) -> list[Middleware]:
    if not settings.cors_allow_origins:
        return []
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_allow_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type", "graphql-preflight", "last-event-id"],
        expose_headers=["retry-after"],
        # Tokens travel in a header; without cookies another site's page can do nothing in a user's name.
        allow_credentials=False,
    )
    return [cors]


async def _to_graphql(_: Request) -> Response:
    return RedirectResponse("/graphql")


async def _healthy(_: Request) -> Response:
    """The process is up; for whoever restarts it when it hangs."""
    return JSONResponse({"status": "ok"})


async def _ready(request: Request) -> Response:
    """The database answers; for whoever sends requests here."""
    services: Services = request.app.state.services
    try:
        async with asyncio.timeout(READY_SECONDS):
            await services.database.ping()
    except (TimeoutError, Unavailable):
        return JSONResponse({"status": "unavailable", "reason": "The database does not answer."}, status_code=503)
    if not services.broker.is_up:
        # Nothing is lost without Redis, only later, so requests may come.
        reason = "Redis does not answer: events of other processes come late."
        return JSONResponse({"status": "degraded", "reason": reason})
    return JSONResponse({"status": "ok"})
