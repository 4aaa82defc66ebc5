"""A real PostgreSQL, migrated once; the real app over ASGI; people with tokens. Tables are emptied after each test."""

import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, text
from starlette.applications import Starlette

from app.auth import LocalIssuer
from app.db import Database
from app.embedded import EmbeddedPostgres
from app.main import create_app
from app.migrate import migrate
from app.settings import Settings, load_settings
from tests.redis_server import redis  # noqa: F401 - a fixture
from tests.s3_server import s3  # noqa: F401 - a fixture

TEMPLATE = "migrated"
# Children first: DELETE beats TRUNCATE on tables of a few rows.
EMPTY = """
UPDATE channels SET deleted_at = now();
DELETE FROM message_reactions; DELETE FROM files; DELETE FROM messages; DELETE FROM channels;
DELETE FROM reactions WHERE kind = 'CUSTOM'; DELETE FROM stored_objects;
DELETE FROM stream_events; DELETE FROM stream_heads WHERE stream_id <> 'w'; DELETE FROM users;
UPDATE stream_heads SET head_seq = 0, floor_seq = 0, rights_revision = 0;
"""

# Under nohup, or in the background of a script, these are ignored; the servers that are started here would inherit it,
# and rightly not stop by them.
for ignored in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(ignored) == signal.SIG_IGN:
        signal.signal(ignored, signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedPostgres]:
    """PostgreSQL without durability: a crash would lose data, and nobody would mind.

    Not below pytest's own temporary folder: every pytest that starts closes that to other users, and under root
    PostgreSQL is one.
    """
    options = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
    with (
        tempfile.TemporaryDirectory(prefix="parley-test-") as folder,
        EmbeddedPostgres(Path(folder), options=options) as running,
    ):
        running.create_database(TEMPLATE)
        migrate(running.url(TEMPLATE))
        yield running


@pytest.fixture(scope="session")
def new_database(cluster: EmbeddedPostgres) -> Callable[[str], str]:
    """Make a migrated database of this name; its URL."""

    def make(name: str) -> str:
        cluster.create_database(name, template=TEMPLATE)
        return cluster.url(name)

    return make


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings({"PARLEY_DATA_DIR": str(tmp_path_factory.mktemp("data"))}, env_file=None)


@pytest.fixture(scope="session")
async def app(settings: Settings, new_database: Callable[[str], str]) -> AsyncIterator[Starlette]:
    # Without housekeeping: it would change rows, and send statements, in the middle of a test.
    made = create_app(settings, new_database("parley_test"), keeps_house=False)
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture(scope="session")
def database(app: Starlette) -> Database:
    """The app's own, to look at rows and events behind its back."""
    found: Database = app.state.services.database
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses the app's database leaves it empty."""
    for item in items:
        names: list[str] = getattr(item, "fixturenames", [])
        if {"app", "database", "http"} & set(names):
            names.append("emptied_tables")


@pytest.fixture
async def emptied_tables(app: Starlette, database: Database) -> AsyncIterator[None]:
    yield
    app.state.services.known_users.clear()  # users do not vanish otherwise
    async with database.engine.begin() as connection:
        for statement in EMPTY.split(";")[:-1]:
            await connection.execute(text(statement))


@dataclass
class Person:
    """Somebody with a token, talking GraphQL over HTTP."""

    name: str
    token: str
    http: httpx.AsyncClient
    id: str = ""

    async def send(self, document: str, /, **variables: Any) -> dict[str, Any]:
        """The whole response body."""
        response = await self.http.post(
            "/graphql",
            json={"query": document, "variables": variables},
            headers={"Authorization": f"Bearer {self.token}"},
        )
        body: dict[str, Any] = response.json()
        return body

    async def ask(self, document: str, /, **variables: Any) -> Any:
        """The value of the document's only root field. Fails the test on any error, top-level or in the payload."""
        body = await self.send(document, **variables)
        assert "errors" not in body, body
        (value,) = body["data"].values()
        if isinstance(value, dict) and "errors" in value:
            assert value["errors"] == [], value
        return value

    async def refused(self, document: str, /, **variables: Any) -> str:
        """The code of the one error in the payload of the document's only mutation."""
        body = await self.send(document, **variables)
        assert "errors" not in body, body
        (value,) = body["data"].values()
        (error,) = value["errors"]
        assert error["message"]
        return str(error["code"])


@pytest.fixture(scope="session")
async def http(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://parley.test") as client:
        yield client


Newcomer = Callable[..., Any]


@pytest.fixture(scope="session")
def issuer(settings: Settings) -> LocalIssuer:
    return LocalIssuer(settings.data_dir)


@pytest.fixture
def newcomer(issuer: LocalIssuer, http: httpx.AsyncClient) -> Newcomer:
    """Brings somebody in: a function of a name, and `admin=True` for a workspace admin."""

    async def come(name: str, *, admin: bool = False) -> Person:
        person = Person(name, issuer.issue(name, admin=admin), http)
        viewer = await person.ask("{ viewer { user { id } } }")
        person.id = viewer["user"]["id"]
        return person

    return come


@pytest.fixture
async def alice(newcomer: Newcomer) -> Person:
    person: Person = await newcomer("alice")
    return person


@pytest.fixture
async def bob(newcomer: Newcomer) -> Person:
    person: Person = await newcomer("bob")
    return person


@pytest.fixture
async def carol(newcomer: Newcomer) -> Person:
    person: Person = await newcomer("carol")
    return person


@pytest.fixture
async def root(newcomer: Newcomer) -> Person:
    """A workspace admin."""
    person: Person = await newcomer("root", admin=True)
    return person


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """The SQL that requests cause, as it goes; not the look at the log that the server takes by its own clock."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "AS known(stream_id, epoch, seq)" not in statement:
            sent.append(statement)

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def in_ci() -> bool:
    return os.environ.get("CI", "") not in {"", "0", "false"}


ROOT = Path(__file__).parent.parent

# At the end, because it needs what is above.
from tests.installation import one, other, place, shared_redis  # noqa: E402, F401 - fixtures
