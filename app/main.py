"""The ASGI app: what is served at which path, and what lives as long as the process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from app.auth import LocalIssuer, create_authenticator
from app.db import Database
from app.errors import Unavailable
from app.services.housekeeping import keep_house
from app.settings import Settings
from schema.context import Services
from schema.root import schema
from schema.transport.http import GraphQLEndpoint

READY_SECONDS = 1.0


def create_app(settings: Settings, url: str, *, keeps_house: bool = True) -> Starlette:
    """Parley on the database at `url` (SQLAlchemy's asyncpg form), which must be migrated."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None, None]:
        database = Database(url, pool_size=settings.db_pool_size)
        authenticator = create_authenticator(settings)
        app.state.services = Services(settings=settings, database=database, authenticator=authenticator)
        house = asyncio.create_task(keep_house(database), name="housekeeping") if keeps_house else None
        try:
            yield
        finally:
            if house is not None:
                house.cancel()
                await asyncio.gather(house, return_exceptions=True)
            await authenticator.aclose()
            await database.dispose()

    routes = [
        Route("/", _to_graphql),
        Route("/graphql", GraphQLEndpoint(schema, introspection=settings.introspection, graphiql=settings.graphiql)),
        Route("/healthz", _healthy),
        Route("/readyz", _ready),
    ]
    if settings.auth0_domain is None:
        issuer = LocalIssuer(settings.data_dir)
        routes.append(Route("/.well-known/jwks.json", lambda _: JSONResponse(issuer.jwks())))
    return Starlette(routes=routes, middleware=_middleware(settings), lifespan=lifespan)


def _middleware(settings: Settings) -> list[Middleware]:
    if not settings.cors_allow_origins:
        return []
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_allow_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type", "graphql-preflight"],
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
    try:
        async with asyncio.timeout(READY_SECONDS):
            await request.app.state.services.database.ping()
    except (TimeoutError, Unavailable):
        return JSONResponse({"status": "unavailable", "reason": "The database does not answer."}, status_code=503)
    return JSONResponse({"status": "ok"})
