"""What is remembered of users and reactions ends with the event that changes it, on every node."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from starlette.applications import Starlette

from app.auth import LocalIssuer
from app.db import Statements
from app.events import cursor
from app.events.hub import Hub
from app.events.stream import Stream
from app.services.known_rows import Rows
from tests import documents as doc
from tests.conftest import Person
from tests.documents import create_channel, scalar, send
from tests.eventually import eventually
from tests.plans import recorded
from tests.two_apps import clients_of, two_apps  # noqa: F401 - a fixture

TIMELINE = """query ($id: ID!) { viewer { cursor } channel(id: $id) { messages { nodes {
    author { name } reactions { reaction { code } }
} } } }"""
TURNS = count(1)  # on one database
RENAME = "mutation ($name: String!) { updateProfile(input: {name: $name}) { cursor errors { code } user { name } } }"
ONLY_CURSOR = "query ($after: [EventCursor!]!) { eventsSince(after: $after) { cursor } }"
SINCE = """query ($after: [EventCursor!]!, $id: ID!) { eventsSince(after: $after) { events {
    __typename ... on UserEvent { user { name } } } }
    channel(id: $id) { messages { nodes { author { name } } } }
}"""


@dataclass
class Room:
    """Alice is on the first node, bob on the second, where her name is known."""

    nodes: Sequence[Starlette]
    alice: Person
    bob: Person
    channel: str

    async def names(self, person: Person) -> list[str]:
        return [node["author"]["name"] for node in (await self.seen(person))["channel"]["messages"]["nodes"]]

    async def seen(self, person: Person) -> Any:
        answer = await person.send(TIMELINE, id=self.channel)
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture
async def room(nodes: Sequence[Starlette], issuer: LocalIssuer) -> AsyncIterator[Room]:
    async with clients_of(nodes) as http:
        turn = next(TURNS)
        names = (f"alice{turn}", f"bob{turn}")
        alice, bob = (Person(name, issuer.issue(name), client) for name, client in zip(names, http, strict=True))
        for person in (alice, bob):
            person.id = (await person.ask("{ viewer { user { id } } }"))["user"]["id"]
        channel = await create_channel(alice, f"room {turn}", members=(bob,))
        message = await send(alice, channel)
        await alice.ask(doc.ADD_REACTION, messageId=message, code="heart")
        made = Room(nodes, alice, bob, channel)
        hubs = [app.state.services.hub for app in nodes]
        head = await scalar(nodes[0].state.services.database, "SELECT head_seq FROM stream_heads WHERE stream_id = 'w'")
        await eventually(lambda: all(hub.workspace.seq == head for hub in hubs))
        for person in (alice, bob):
            assert await made.names(person) == [alice.name]
        yield made


async def test_what_is_known_is_not_read_again(room: Room) -> None:
    services = room.nodes[1].state.services
    with recorded(services.database.engine) as sent:
        await room.bob.ask(TIMELINE.replace("viewer { cursor }", ""), id=room.channel)
    read = " ".join(each.sql for each in sent)
    assert "FROM messages" in read
    assert "FROM users" not in read
    assert "FROM reactions" not in read


async def test_a_new_name_is_seen_at_once_here_and_soon_there(room: Room) -> None:
    assert (await room.alice.ask(RENAME, name="Alice B."))["user"]["name"] == "Alice B."
    assert await room.names(room.alice) == ["Alice B."]
    for _ in range(1_000):
        if await room.names(room.bob) == ["Alice B."]:
            break
    assert await room.names(room.bob) == ["Alice B."]


async def test_a_reaction_that_is_deleted_is_forgotten(room: Room, issuer: LocalIssuer) -> None:
    root = Person("root", issuer.issue("root", admin=True), room.alice.http)
    code = f"parrot{next(TURNS)}"
    made = await root.ask(doc.CREATE_REACTION, input={"code": code, "imageUrl": "https://x.example/parrot"})
    message = await send(room.alice, room.channel)
    await room.alice.ask(doc.ADD_REACTION, messageId=message, code=code)
    await room.seen(room.bob)
    known = room.nodes[1].state.services.known_rows.reactions
    version = known.version
    await root.ask(doc.DELETE_REACTION, reactionId=made["reaction"]["id"])
    await eventually(lambda: known.version != version)
    shown = (await room.seen(room.bob))["channel"]["messages"]["nodes"][1]
    assert shown["reactions"] == []


async def test_a_cursor_is_not_ahead_of_what_is_remembered(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is on its way to bob's node: he may see the old name, but then his cursor is before the change."""
    with monkeypatch.context() as patched:
        patched.setattr(Stream, "catch_up", lambda *_: None)  # the look at the log tells nothing
        changed = cursor.decode((await room.alice.ask(RENAME, name="Alice B."))["cursor"])["w"]
        seen = await room.seen(room.bob)
        assert seen["channel"]["messages"]["nodes"][0]["author"]["name"] == room.alice.name
        here = seen["viewer"]["cursor"]
        assert cursor.decode(here)["w"].seq < changed.seq
        # Who catches up from there learns of it, and sees nothing old beside it.
        caught_up = (await room.bob.send(SINCE, after=[here], id=room.channel))["data"]
        assert caught_up["eventsSince"]["events"] == [{"__typename": "UserEvent", "user": {"name": "Alice B."}}]
        assert caught_up["channel"]["messages"]["nodes"][0]["author"]["name"] == "Alice B."
    known = room.nodes[1].state.services.known_rows.users
    version = known.version
    await eventually(lambda: known.version != version)
    assert await room.names(room.bob) == ["Alice B."]


ALL_AT_ONCE = """query ($after: [EventCursor!]!, $id: ID!) {
    channel(id: $id) { messages { nodes { author { name } } } } eventsSince(after: $after) { cursor } viewer { cursor }
}"""


async def test_no_cursor_beside_what_is_remembered_is_ahead_of_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = (await room.seen(room.bob))["viewer"]["cursor"]
    with monkeypatch.context() as patched:
        patched.setattr(Stream, "catch_up", lambda *_: None)
        changed = cursor.decode((await room.alice.ask(RENAME, name="Alice B."))["cursor"])["w"]
        seen = (await room.bob.send(ALL_AT_ONCE, after=[begin], id=room.channel))["data"]
        assert seen["channel"]["messages"]["nodes"][0]["author"]["name"] == room.alice.name
        for told in (seen["eventsSince"]["cursor"], seen["viewer"]["cursor"]):
            assert cursor.decode(told)["w"].seq < changed.seq
        # Whoever was told a position beyond that is shown nothing older.
        told = (await room.bob.ask(ONLY_CURSOR, after=[begin]))["cursor"]
        assert cursor.decode(told)["w"] == changed
        assert await room.names(room.bob) == ["Alice B."]


async def test_while_events_may_be_missing_nothing_is_remembered(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Stream, "catch_up", lambda *_: None)
        patched.setattr(Hub, "is_current", property(lambda _: False))
        await room.alice.ask(RENAME, name="Alice B.")
        assert await room.names(room.bob) == ["Alice B."]


async def test_a_row_of_an_older_snapshot_is_not_kept() -> None:
    names = iter(["old", "new"])

    async def read(_: Statements, ids: Sequence[int]) -> dict[int, str]:
        return dict.fromkeys(ids, next(names))

    session: Any = None
    rows = Rows(read, 10)
    before = rows.version
    rows.forget(1)  # the event goes by while the row is read
    assert await rows.find(session, [1], before) == {1: "old"}
    assert await rows.find(session, [1], rows.version) == {1: "new"}
    assert await rows.find(session, [1], rows.version) == {1: "new"}


async def test_there_is_an_end_to_what_is_remembered() -> None:
    read_ids: list[int] = []

    async def read(_: Statements, ids: Sequence[int]) -> dict[int, int]:
        read_ids.extend(ids)
        return {id_: id_ for id_ in ids}

    session: Any = None
    rows = Rows(read, 2)
    for id_ in (1, 2, 3, 3, 2, 1):
        assert await rows.find(session, [id_], rows.version) == {id_: id_}
    assert read_ids == [1, 2, 3, 1]
