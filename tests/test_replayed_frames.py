"""What comes from the log, later, is what came live: the same bytes, for every type of event."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest

from app.events.log import EventType
from app.settings import Settings
from tests.conftest import Person
from tests.documents import DELETE_MESSAGE, create_channel, reply, send
from tests.live import Listener, Live, item, live
from tests.selections import everything
from tests.story import PARTS, Cast

SHARED, PRIVATE = everything(marked=False, depth=2), everything(marked=True, depth=2)
CHANNEL = """subscription ($channel: ID!, $after: [EventCursor!]) { channelEvents(channelId: $channel, after: $after) {
    ... on StreamNotice { kind } ... on MessageEvent { id message { content parent { content } } }
} }"""
NAMES = ("alice", "bob", "carol", "root")
SECRET = "something that should not have been said"


@pytest.fixture(scope="module")
async def server(settings: Settings, new_database: Callable[[str], str]) -> AsyncIterator[Live]:
    async with live(settings, new_database("parley_replayed")) as running:
        yield running


async def replayed(listener: Listener, id: str, document: str, after: str) -> dict[str, bytes]:
    """All events since, executed anew (for the group of another text), and then as they are kept."""
    found: list[dict[str, bytes]] = []
    for again, asked in (("", document + " "), (" again", document)):
        await listener.subscribe(id + again, asked, after=[after])
        ready = item(listener.frames[id + again][0])
        assert ready["kind"] == "READY"
        await listener.until(lambda: len(listener.events[id + again]) >= ready["recovered"])  # noqa: B023 - awaited here
        await listener.client.complete(id + again)
        found.append(listener.events[id + again])
        assert len(found[-1]) == ready["recovered"]
    assert found[0] == found[1]
    return found[0]


def by_stream(frames: dict[str, bytes]) -> dict[str, list[bytes]]:
    streams: dict[str, list[bytes]] = {}
    for frame in frames.values():
        streams.setdefault(item(frame)["stream"], []).append(frame)
    return streams


async def cursor_of(person: Person) -> str:
    return str((await person.ask("{ viewer { cursor } }"))["cursor"])


async def test_a_replayed_frame_is_the_live_one(server: Live) -> None:
    alice, bob, carol, root = [await server.person(name, admin=name == "root") for name in NAMES]
    follows = [(alice, SHARED), (carol, SHARED), (root, PRIVATE)]
    types: set[Any] = set()
    places = count()
    async with AsyncExitStack() as stack:
        now = [await stack.enter_async_context(server.listener(person)) for person, _ in follows]
        later = [await stack.enter_async_context(server.listener(person)) for person, _ in follows]
        for (_, document), listener in zip(follows, now, strict=True):
            await listener.subscribe("live", document)
        cast = Cast(alice, bob, carol, root)
        for part in PARTS:
            after = [await cursor_of(person) for person, _ in follows]
            async for _ in part(cast):
                for (_, document), listener, other, cursor in zip(follows, now, later, after, strict=True):
                    seen = sum(map(len, other.events.values())) // 2
                    missed = await replayed(other, f"{next(places)}", document, cursor)
                    await listener.until(lambda: len(listener.events["live"]) >= seen + len(missed))  # noqa: B023 - awaited here
                    new = dict(list(listener.events["live"].items())[seen:])
                    assert by_stream(new) == by_stream(missed)
                    types |= {item(frame)["type"] for frame in new.values()}
                after = [await cursor_of(person) for person, _ in follows]
        assert not any(listener.repeated for listener in [*now, *later])
    assert types == {each.value for each in EventType}


async def test_what_is_kept_of_events_forgets_what_was_deleted(server: Live) -> None:
    alice = await server.person("alice")
    here, elsewhere = [await create_channel(alice, name) for name in ("here", "elsewhere")]
    start = (await alice.ask("query ($id: ID!) { channel(id: $id) { cursor } }", id=here))["cursor"]
    async with server.listener(alice) as listener:
        await listener.subscribe("elsewhere", CHANNEL, channel=elsewhere)  # keeps the group alive
        await listener.subscribe("live", CHANNEL, channel=here)
        top = await send(alice, here, SECRET)
        await reply(alice, top)
        await listener.until(lambda: len(listener.events["live"]) == 2)
        await listener.client.complete("live")
        await alice.ask("{ viewer { user { id } } }")
        await alice.ask(DELETE_MESSAGE, messageId=top)
        await listener.subscribe("later", CHANNEL, channel=here, after=[start])
        await listener.until(lambda: len(listener.events["later"]) == 3)
        assert not [frame for frame in listener.frames["later"] if SECRET.encode() in frame]


async def test_what_is_kept_forgets_it_while_others_follow_too(server: Live) -> None:
    alice = await server.person("alice")
    here = await create_channel(alice, "followed")
    start = (await alice.ask("query ($id: ID!) { channel(id: $id) { cursor } }", id=here))["cursor"]
    async with server.listener(alice) as listener:
        await listener.subscribe("live", CHANNEL, channel=here)
        top = await send(alice, here, SECRET)
        await reply(alice, top)
        await alice.ask(DELETE_MESSAGE, messageId=top)
        await listener.until(lambda: len(listener.events["live"]) == 3)
        await listener.subscribe("later", CHANNEL, channel=here, after=[start])
        await listener.until(lambda: len(listener.events["later"]) == 3)
        assert not [frame for frame in listener.frames["later"] if SECRET.encode() in frame]
