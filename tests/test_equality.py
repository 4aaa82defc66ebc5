"""Whoever fetches once and then applies events holds what whoever fetches now would get: for every mutation there is.

PARLEY_EXAMPLES=1000 plays that many sequences instead of 60, and other ones in each run.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import NamedTuple

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.auth import LocalIssuer
from tests.conftest import Person
from tests.mirror import Mirror
from tests.play import NAMES, Play, Step
from tests.processes import serving

EXAMPLES = int(os.environ.get("PARLEY_EXAMPLES", "0"))
MIRRORED = ("bob", "root")
# As if the time of all events had come.
FORGET = "UPDATE stream_heads SET floor_seq = head_seq; DELETE FROM stream_events"

KINDS = (
    *("send", "send", "send", "reply", "edit", "delete", "delete", "react", "react", "unreact", "create"),
    *("talk_alone", "update", "privacy", "privacy", "rotate", "archive", "archive", "delete_channel", "join", "join"),
    *("join_by_code", "leave", "add", "remove", "away_and_back", "away_and_back", "role", "role", "profile"),
    *("activate", "create_reaction", "delete_reaction"),
    *("upload", "upload", "attach", "attach", "delete_file", "download"),
)
places = st.integers(0, 19)
steps = st.builds(Step, st.sampled_from(KINDS), places, places, places, places, places)
# Some happen at once.
sequences = st.lists(st.lists(steps, min_size=1, max_size=3), min_size=8, max_size=12)
numbers = count()


class World(NamedTuple):
    """A server process, its people, and its database behind its back."""

    port: int
    people: dict[str, Person]
    database: AsyncEngine

    async def forget(self) -> None:
        async with self.database.begin() as connection:
            for statement in FORGET.split(";"):
                await connection.execute(text(statement))


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str]) -> AsyncIterator[World]:
    # A process of its own: while Hypothesis draws, nobody else may use `random` in its own.
    folder, url = tmp_path_factory.mktemp("data"), new_database("parley_equality")
    engine = create_async_engine(url)
    with serving(folder, DB_URL=url) as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=30) as http:
            issuer = LocalIssuer(folder)
            people = {name: Person(name, issuer.issue(name, admin=name == "root"), http) for name in NAMES}
            for person in people.values():
                person.id = (await person.ask("{ viewer { user { id } } }"))["user"]["id"]
            yield World(http.base_url.port or 0, people, engine)
    await engine.dispose()


async def begin(play: Play) -> None:
    """Something to begin with, for each of the mirrored."""
    alice, bob, root = (play.people[name] for name in ("alice", "bob", "root"))
    await play.create_channel(alice, private=False, members=[bob, root])
    await play.create_channel(alice, private=True, members=[bob, root])
    await play.create_channel(bob, private=True, members=[alice])
    for place, (_, owner) in enumerate(play.channels):
        await play.send(Step("send", len(NAMES), place, 0, 0, 0))
        assert play.messages[-1][1] is owner


async def check(mirror: Mirror) -> None:
    fresh = Mirror(mirror.person, 0)
    cursor = await fresh.fetch()
    await mirror.has_reached(fresh, cursor)
    assert mirror.shown() == fresh.shown()


@settings(
    max_examples=EXAMPLES or 60,
    deadline=None,
    database=None,
    derandomize=not EXAMPLES,
    suppress_health_check=list(HealthCheck),
)
@given(sequence=sequences, cut=st.tuples(places, places), forgets=st.booleans())
async def test_events_lead_to_what_is_fetched(
    world: World, sequence: list[list[Step]], cut: tuple[int, int], forgets: bool
) -> None:
    play = Play(world.people, next(numbers))
    await begin(play)
    mirrors = {Mirror(world.people[name], world.port): leaves for name, leaves in zip(MIRRORED, cut, strict=True)}
    try:
        for mirror in mirrors:
            await mirror.follow()
        for place, part in enumerate(sequence):
            for mirror in [mirror for mirror, leaves in mirrors.items() if leaves == place]:
                await mirror.leave()
            back = [mirror for mirror, leaves in mirrors.items() if leaves == place - 2]
            if back and forgets:
                await world.forget()
            for mirror in back:
                await mirror.follow()
            await asyncio.gather(*map(play.take, part))
        for mirror in mirrors:
            await mirror.follow()  # those who are still away
            await check(mirror)
    finally:
        for mirror in mirrors:
            await mirror.leave()
        await play.end()
