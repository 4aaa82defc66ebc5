"""The story's events, and everybody to whom they are told."""

from typing import Any, NamedTuple

import pytest
from sqlalchemy import text
from starlette.applications import Starlette

from app.db import Database
from app.events.log import EventType, LoggedEvent
from app.events.replay import events_between
from app.services.access import Actor
from schema.context import Services
from tests.conftest import Person
from tests.documents import number
from tests.story import PARTS, Cast


class Told(NamedTuple):
    """A stream of the story, its events, and everybody to whom they are told."""

    stream_id: str
    events: list[LoggedEvent]
    viewers: list[Actor]


class World(NamedTuple):
    services: Services
    told: list[Told]
    message: str

    def variables(self, **given: Any) -> dict[str, Any]:
        return {"yes": True, "no": False, "number": 2, "role": "MODERATOR", "message": self.message, **given}


@pytest.fixture(name="cast")
async def after_the_story(alice: Person, bob: Person, carol: Person, root: Person) -> Cast:
    """After everything has happened."""
    cast = Cast(alice, bob, carol, root)
    for part in PARTS:
        async for _ in part(cast):
            pass
    return cast


@pytest.fixture(name="world")
async def world_of(app: Starlette, database: Database, cast: Cast) -> World:
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE users SET email = name || '@x.example'"))
    people = (cast.alice, cast.bob, cast.carol, cast.root)
    plain = {person.name: Actor(number(person.id)) for person in people}
    admin = {name: Actor(actor.id, is_workspace_admin=True) for name, actor in plain.items()}
    everybody = [*plain.values(), *admin.values(), Actor(1_000_000)]
    members = [plain["alice"], admin["alice"], plain["bob"], admin["bob"]]
    audiences = {
        "w": everybody,
        f"u{plain['alice'].id}": members[:2],
        f"u{plain['carol'].id}": [plain["carol"], admin["carol"]],
        f"c{number(cast.channels['attic'])}": everybody,
        f"c{number(cast.channels['hall'])}": everybody,
        f"c{number(cast.channels['vault'])}": [*members, plain["root"], admin["root"]],
        f"c{number(cast.channels['dm'])}": members,
    }
    told = []
    async with database.read() as reader:
        for stream_id, viewers in audiences.items():
            events = await events_between(reader, {stream_id: (0, 10_000)})
            if stream_id == f"c{number(cast.channels['attic'])}":
                events = [event for event in events if event.type is EventType.CHANNEL_DELETED]
            told.append(Told(stream_id, events, viewers))
    assert {event.type for each in told for event in each.events} == set(EventType)
    return World(app.state.services, told, cast.message)
