"""What holds for all that is told and not kept: slow readers, a database that goes away."""

import asyncio
import json
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.auth import LocalIssuer
from app.embedded import EmbeddedPostgres
from app.events.listener import Listener
from app.events.presence_map import Presence
from app.migrate import migrate
from schema.ids import encode, key_of
from tests.documents import REMOVE_MEMBER, create_channel
from tests.eventually import eventually
from tests.hand_reader import unread
from tests.live_servers import SET_TYPING, TYPING, WATCH, Listening, LiveServer, Place, brief, serving
from tests.redis_server import RedisServer
from tests.socket_client import PING, PONG, RawSocket

CHUNK = b'"' + b"x" * 16_000 + b'"'


async def next_message(client: RawSocket) -> Any:
    """The next one that is no chunk."""
    while True:
        opcode, payload = await client.read()
        if opcode == PING:
            client.write(payload, opcode=PONG)
        elif CHUNK not in payload:
            return json.loads(payload)


async def next_event(client: RawSocket) -> dict[str, Any]:
    (event,) = (await next_message(client))["payload"]["data"].values()
    assert isinstance(event, dict)
    return event


async def fill(server: LiveServer, listener: Listener) -> None:
    """Make its sink congested."""
    for _ in range(2000):
        if await server.call(lambda: listener.sink.congested):
            return
        await server.call(lambda: listener.sink.next(CHUNK))
    raise AssertionError("the peer takes everything")


async def test_whoever_reads_slowly_is_told_how_things_stand_when_they_read_again(
    one: LiveServer, issuer: LocalIssuer
) -> None:
    guest, idler = await one.person("changing"), await one.person("idler")
    async with (
        one.device(guest.name),
        unread(one.port, issuer.issue(idler.name)) as client,
        one.listen("witness", WATCH, ids=[guest.id]) as witness,
    ):
        assert brief(await witness.next()) == (guest.name, "ONLINE")
        payload = {"query": WATCH, "variables": {"ids": [guest.id, idler.id]}}
        client.write_json({"id": "1", "type": "subscribe", "payload": payload})
        assert brief(await next_event(client)) == (guest.name, "ONLINE")
        assert brief(await next_event(client)) == (idler.name, "ONLINE")
        (listener,) = one.services.presence.feed.listeners(key_of(idler.id, "User") or 0)
        await fill(one, listener)
        for presence in ("AWAY", "OFFLINE", "ONLINE", "AWAY"):
            await one.choose(guest, presence)
            assert brief(await witness.next()) == (guest.name, presence)
        assert brief(await next_event(client)) == (guest.name, "AWAY"), "the last change, and nothing that did not"
        await one.choose(idler, "AWAY")
        assert brief(await next_event(client)) == (idler.name, "AWAY")


async def test_whoever_comes_amid_changes_misses_none_and_is_told_none_twice(
    one: LiveServer, other: LiveServer, place: Place
) -> None:
    guest = await one.person("fickle")
    crowd = await add_users(place, 150)
    is_over = False

    async def change_on() -> None:
        while not is_over:
            for at, presence in ((one, "AWAY"), (other, "ONLINE")):
                await at.choose(guest, presence)

    async with one.device(guest.name), AsyncExitStack() as stack:
        await other.shows(guest, "ONLINE")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(change_on())
            # Each with a text of its own, so that nothing is ready: to be told of all takes longer than a change.
            listeners = [
                await stack.enter_async_context(at.listen(f"late-{n}", f"# {n}\n{WATCH}", ids=[*crowd, guest.id]))
                for n in range(10)
                for at in (one, other)
            ]
            told = [[await next_of(guest.name, listener)] for listener in listeners]
            is_over = True
        await one.choose(guest, "OFFLINE")
        for events, listener in zip(told, listeners, strict=True):
            while events[-1]["presence"] != "OFFLINE":
                events.append(await next_of(guest.name, listener))
            moments = [event["at"] for event in events]
            assert moments == sorted(set(moments))


async def next_of(name: str, listener: Listening) -> dict[str, Any]:
    event = await listener.next()
    while event["user"]["name"] != name:
        event = await listener.next()
    return event


async def add_users(place: Place, count: int) -> list[str]:
    """The ids of so many people who were never here."""
    added = text(
        "INSERT INTO users (auth0_id, name) SELECT 'c' || i, 'c' || i FROM generate_series(1, :count) i RETURNING id"
    )
    engine = create_async_engine(place.url)
    async with engine.begin() as connection:
        ids = [encode("User", key) for key in (await connection.execute(added, {"count": count})).scalars()]
    await engine.dispose()
    return ids


async def test_typing_that_was_missed_and_goes_on_is_told_later(one: LiveServer, issuer: LocalIssuer) -> None:
    author, idler = await one.person("author"), await one.person("idler")
    channel = await create_channel(author, "slow", members=(idler,))
    async with (
        unread(one.port, issuer.issue(idler.name)) as client,
        one.listen(author.name, TYPING, channel=channel) as own,
    ):
        payload = {"query": TYPING, "variables": {"channel": channel}}
        client.write_json({"id": "1", "type": "subscribe", "payload": payload})
        await own.begun(channel)
        feed, key = one.services.typists.feed, key_of(channel, "Channel") or 0
        await eventually(lambda: [each.is_admitted for each in feed.listeners(key)] == [True, True])
        (listener,) = [each for each in feed.listeners(key) if each.user_id == key_of(idler.id, "User")]
        await fill(one, listener)
        for typing in (True, False):
            await author.ask(SET_TYPING, channelId=channel, typing=typing)
            assert (await own.next())["typing"] is typing
        await idler.ask(SET_TYPING, channelId=channel, typing=True)
        assert (await own.next())["user"]["name"] == idler.name
        # What is over need not be told any more.
        assert (await next_event(client))["user"]["name"] == idler.name


async def test_whoever_was_removed_meanwhile_is_told_nothing_more(place: Place, redis: RedisServer) -> None:
    place = replace(place, settings=replace(place.settings, redis_url=redis.url))
    async with serving(place) as one, serving(place) as other:
        author, idler = await one.person("author"), await one.person("removed")
        channel = await create_channel(author, "slower", private=True, members=(idler,))
        async with (
            unread(one.port, place.issuer.issue(idler.name)) as client,
            one.listen(author.name, TYPING, channel=channel) as own,
        ):
            payload = {"query": TYPING, "variables": {"channel": channel}}
            client.write_json({"id": "1", "type": "subscribe", "payload": payload})
            feed, key = one.services.typists.feed, key_of(channel, "Channel") or 0
            await eventually(lambda: [each.is_admitted for each in feed.listeners(key)] == [True, True])
            (listener,) = [each for each in feed.listeners(key) if each.user_id == key_of(idler.id, "User")]
            await fill(one, listener)
            await author.ask(SET_TYPING, channelId=channel, typing=True)
            assert (await own.next())["typing"] is True
            # This server is not told by the other one, and nothing else happens in the channel.
            redis.kill()
            await eventually(lambda: not other.services.broker.is_up)
            author_elsewhere = await other.person("author")
            await author_elsewhere.ask(REMOVE_MEMBER, channelId=channel, userId=idler.id)
            assert not listener.is_over
            assert await next_message(client) == {"id": "1", "type": "complete"}


async def test_what_changes_while_the_database_is_away_is_told_when_it_is_back(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tempfile.TemporaryDirectory(prefix="parley-test-")  # for the reason that tests/conftest.py tells
    postgres = EmbeddedPostgres(Path(folder.name))
    with postgres:
        postgres.create_database("away")
        away = replace(place, url=postgres.url("away"))
        await asyncio.to_thread(migrate, away.url)
    async with AsyncExitStack() as stack:
        with postgres:
            server = await stack.enter_async_context(serving(away))
            guest = await server.person("unmoved")
            await stack.enter_async_context(server.device(guest.name))
            listening = await stack.enter_async_context(server.listen("watcher", WATCH, ids=[guest.id]))
            assert brief(await listening.next()) == (guest.name, "ONLINE")
        presence, key = server.services.presence, key_of(guest.id, "User") or 0
        for choice in (Presence.OFFLINE, Presence.AWAY):
            assert await server.call(partial(presence.choose, key, choice))
        await eventually(lambda: "waits for the database" in caplog.text)
        with postgres:
            assert brief(await listening.next()) == (guest.name, "AWAY")
            await stack.aclose()
    folder.cleanup()
