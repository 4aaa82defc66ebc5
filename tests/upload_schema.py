"""A toy schema that says what came of the files it was sent, on the services of the real app."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import strawberry
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.schema.config import StrawberryConfig

from app.main import create_app
from app.settings import load_settings
from app.storage import Incoming
from schema.context import Info, Services
from schema.guard import ParleySchema
from schema.scalars import SCALARS, URL, EventCursor, Upload
from schema.transport.http import GraphQLEndpoint
from schema.transport.multipart import Forms

TAKE = "mutation ($file: Upload!) { take(file: $file) { name contentType size sha256 } }"
TAKE_ALL = "mutation ($files: [Upload!]!) { takeAll(files: $files) { name size } }"
# Every file that a resolver had.
SEEN: list[Incoming] = []
# One entry for each resolver that waits; clearing the list lets all go.
HELD: list[None] = []


@strawberry.type
class Taken:
    name: str
    content_type: str | None
    size: int
    sha256: str


def taken(file: Upload) -> Taken:
    SEEN.append(file)
    digest = hashlib.sha256(file.content.read()).hexdigest()
    return Taken(name=file.name, content_type=file.content_type, size=file.size, sha256=digest)


@strawberry.input
class Holder:
    files: list[Upload | None] | None = None
    text: str | None = None


@strawberry.type
class Query:
    @strawberry.field
    async def me(self, info: Info) -> str:
        return (await info.context.user()).name

    @strawberry.field
    def echo(  # noqa: PLR0917 - one of each kind
        self,
        string: str | None = None,
        int: int | None = None,
        id: strawberry.ID | None = None,
        boolean: bool | None = None,
        date_time: datetime | None = None,
        url: URL | None = None,
        event_cursor: EventCursor | None = None,
    ) -> str:
        return f"{string}{int}{id}{boolean}{date_time}{url}{event_cursor}"


@strawberry.type
class Mutation:
    @strawberry.mutation
    def take(self, file: Upload) -> Taken:
        return taken(file)

    @strawberry.mutation
    def take_all(self, files: list[Upload]) -> list[Taken]:
        return [taken(file) for file in files]

    @strawberry.mutation
    def take_from(self, holder: Holder) -> list[Taken | None]:
        return [None if file is None else taken(file) for file in holder.files or []]

    @strawberry.mutation
    async def hold(self, file: Upload) -> Taken:
        """Waits for the test."""
        HELD.append(None)
        while HELD:  # noqa: ASYNC110 - the test clears it
            await asyncio.sleep(0.01)
        return taken(file)

    @strawberry.mutation
    def breaks(self, file: Upload) -> Taken:
        taken(file)
        raise ValueError


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def subscribes(self, file: Upload) -> int:
        return file.size


SCHEMA = ParleySchema(
    query=Query, mutation=Mutation, subscription=Subscription, config=StrawberryConfig(scalar_map=SCALARS)
)


def beside(app: Starlette, *, forms: Forms | None = None, max_file_size_mb: int = 1) -> Starlette:
    """The toy, with the database and the users of an app that runs."""
    services: Services = app.state.services
    settings = replace(services.settings, max_file_size_mb=max_file_size_mb)
    toy = Starlette(routes=[Route("/graphql", GraphQLEndpoint(SCHEMA, forms=forms))])
    toy.state.services = replace(services, settings=settings)
    return toy


def alone(data_dir: Path, url: str, *, forms: Forms, max_file_size_mb: int = 1) -> Starlette:
    """The real app, with the toy in place of its schema; it is started by whoever serves it."""
    environment = {"PARLEY_DATA_DIR": str(data_dir), "MAX_FILE_SIZE_MB": str(max_file_size_mb)}
    app = create_app(load_settings(environment, env_file=None), url, keeps_house=False)
    app.shortest = GraphQLEndpoint(SCHEMA, forms=forms)
    return app
