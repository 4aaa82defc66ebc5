"""What servers know of each other's people: through crashes and outages, and whatever they are told."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from secrets import token_hex
from typing import Any

import pytest

from app.events.broker import Broker
from schema.ids import key_of
from tests.eventually import eventually
from tests.live_servers import QUICK, LiveServer, Place, brief, serving, serving_apart, watching
from tests.redis_server import RedisServer


async def test_a_server_that_is_killed_takes_its_people_along(place: Place) -> None:
    times = replace(QUICK, silence=3.0)
    async with serving(place, times) as one:
        guest = await one.person("crash")
        async with (
            serving_apart(place, times) as (doomed, process),
            watching(one, "watcher", guest) as listening,
            AsyncExitStack() as stack,
        ):
            for _ in range(5):
                await stack.enter_async_context(doomed.device(guest.name))
            assert brief(await listening.next()) == (guest.name, "ONLINE")
            await eventually(lambda: one.connections(guest) == 5)
            process.kill()
            # They may connect elsewhere sooner than they are taken for gone.
            await eventually(lambda: one.connections(guest) == 0)
            await one.choose(guest, "AWAY")
            assert brief(await listening.next()) == (guest.name, "AWAY")
            assert brief(await listening.next()) == (guest.name, "OFFLINE")


async def test_a_server_that_stops_says_goodbye(one: LiveServer, place: Place) -> None:
    guest = await one.person("drained")
    said: list[Any] = []
    ear = Broker(place.settings.redis_url)
    ear.listen("presence", lambda message: said.append(message["what"]))
    await ear.start()
    # Long before its silence would tell.
    async with serving_apart(place) as (leaving, process), watching(one, "watcher", guest) as listening:
        async with leaving.device(guest.name) as device:
            assert brief(await listening.next()) == (guest.name, "ONLINE")
            process.terminate()
            assert (await device.closed()).code == 1012
        assert brief(await listening.next()) == (guest.name, "OFFLINE")
        assert await asyncio.wait_for(process.wait(), 10) == 0
    # And who is not said to have left has left with it.
    await eventually(lambda: "bye" in said)
    await ear.stop()


async def test_a_new_server_asks_who_is_there(place: Place) -> None:
    slow = replace(QUICK, summary=3600.0)
    async with serving(place, slow) as old:
        guest = await old.person("early")
        async with old.device(guest.name):
            await old.choose(guest, "AWAY")
            await asyncio.sleep(5 * QUICK.tick)  # the first summary is over
            async with serving(place, slow) as new:
                await new.shows(guest, "AWAY")


async def test_while_redis_is_away_nobody_is_taken_for_gone(place: Place, redis: RedisServer) -> None:
    place = replace(place, settings=replace(place.settings, redis_url=redis.url))
    # Nobody is told by a summary, but for the one that is asked for when Redis is back.
    times = replace(QUICK, silence=1.5, summary=3600.0)
    async with serving(place, times) as one, serving(place, times) as other:
        stays, leaves, comes = [await one.person(f"outage-{name}") for name in ("stays", "leaves", "comes")]
        async with watching(one, "watcher", stays, leaves, comes) as listening, other.device(stays.name):
            async with other.device(leaves.name):
                assert {brief(await listening.next()) for _ in range(2)} == {
                    (stays.name, "ONLINE"),
                    (leaves.name, "ONLINE"),
                }
                redis.kill()
                await eventually(lambda: not one.services.broker.is_up and not other.services.broker.is_up)
                await asyncio.sleep(3 * times.silence)  # for this test to mean anything
                assert await one.presence(stays) == "ONLINE"
            async with other.device(comes.name):
                redis.start()
                # What happened during the outage, and nothing of who was there throughout.
                assert {brief(await listening.next()) for _ in range(2)} == {
                    (leaves.name, "OFFLINE"),
                    (comes.name, "ONLINE"),
                }
                await eventually(lambda: one.connections(comes) == 1)
                await other.choose(stays, "AWAY")
                assert brief(await listening.next()) == (stays.name, "AWAY")


async def test_an_outage_does_not_keep_people_for_ever(place: Place, redis: RedisServer) -> None:
    place = replace(place, settings=replace(place.settings, redis_url=redis.url))
    async with serving(place, replace(QUICK, outage=0.5)) as one, serving(place) as other:
        guest = await one.person("forever")
        async with watching(one, "watcher", guest) as listening, other.device(guest.name):
            assert brief(await listening.next()) == (guest.name, "ONLINE")
            redis.kill()
            assert brief(await listening.next()) == (guest.name, "OFFLINE")
            assert await other.presence(guest) == "ONLINE"
            redis.start()
            assert brief(await listening.next()) == (guest.name, "ONLINE")


@asynccontextmanager
async def forger(place: Place) -> AsyncGenerator[Callable[..., None], None]:
    """Says anything in the name of a process."""
    broker = Broker(place.settings.redis_url)
    await broker.start()

    process = token_hex(4)

    def say(number: Any, what: Any, **content: Any) -> None:
        broker.publish(process, {"kind": "presence", "process": process, "number": number, "what": what, **content})

    try:
        yield say
    finally:
        say(10**9, "bye")
        await broker.stop()


async def test_the_latest_choice_counts_whatever_a_clock_says(one: LiveServer, place: Place) -> None:
    guest = await one.person("hasty")
    async with watching(one, "watcher", guest) as listening, forger(place) as forge, one.device(guest.name):
        assert brief(await listening.next()) == (guest.name, "ONLINE")
        in_an_hour = int(1000 * time.time()) + 3_600_000
        forge(1, "choice", user=key_of(guest.id, "User"), choice=[in_an_hour, "AWAY"])
        assert brief(await listening.next()) == (guest.name, "AWAY")
        await one.choose(guest, "ONLINE")
        assert brief(await listening.next()) == (guest.name, "ONLINE")


async def test_late_messages_bring_nobody_back(one: LiveServer, place: Place) -> None:
    guest, marker = await one.person("late"), await one.person("late-marker")
    key, mark = key_of(guest.id, "User"), key_of(marker.id, "User")
    async with watching(one, "watcher", guest, marker) as listening, forger(place) as forge:
        forge(5, "change", users=[[key, 2]])
        assert brief(await listening.next()) == (guest.name, "ONLINE")
        forge(7, "bye")
        for number in (5, 6, 7):
            forge(number, "change", users=[[key, 1]])
            forge(number, "summary", part=0, parts=1, users=[[key, 1, 10**13, "AWAY"]])
        assert brief(await listening.next()) == (guest.name, "OFFLINE")
        forge(8, "change", users=[[mark, 1]])
        assert brief(await listening.next()) == (marker.name, "ONLINE")


async def test_a_summary_in_parts_says_who_is_gone_from_each(one: LiveServer, place: Place) -> None:
    guests = [await one.person(f"part-{number}") for number in range(4)]
    keys = [key_of(guest.id, "User") or 0 for guest in guests]
    async with watching(one, "watcher", *guests) as listening, forger(place) as forge:
        forge(1, "summary", part=0, parts=1, users=[[key, 1] for key in keys])
        assert {brief(await listening.next()) for _ in guests} == {(guest.name, "ONLINE") for guest in guests}
        forge(2, "summary", part=0, parts=2, users=[])
        even = {(guest.name, "OFFLINE") for guest, key in zip(guests, keys, strict=True) if key % 2 == 0}
        assert {brief(await listening.next()) for _ in even} == even
        forge(3, "summary", part=1, parts=2, users=[])
        odd = {(guest.name, "OFFLINE") for guest, key in zip(guests, keys, strict=True) if key % 2}
        assert {brief(await listening.next()) for _ in odd} == odd


@pytest.mark.parametrize(
    "content",
    [
        {"what": "change"},
        {"what": "change", "users": 5},
        {"what": "change", "users": [["x", 1]]},
        {"what": "change", "users": [[1, 1, 1, "DANCING"]]},
        {"what": "change", "users": [[1]]},
        {"what": "summary", "part": 0, "parts": 0, "users": []},
        {"what": "choice", "user": 1, "choice": [1]},
        {"what": {}},
        {"what": "song", "number": "seven"},
    ],
)
async def test_nonsense_is_ignored(one: LiveServer, place: Place, content: dict[str, Any]) -> None:
    guest = await one.person("sane")
    async with watching(one, "watcher", guest) as listening, forger(place) as forge:
        forge(1, "change", users=[[key_of(guest.id, "User"), 1]])
        assert brief(await listening.next()) == (guest.name, "ONLINE")
        forge(**{"number": 2, **content})
        forge(3, "change", users=[[key_of(guest.id, "User"), 0]])
        assert brief(await listening.next()) == (guest.name, "OFFLINE")
