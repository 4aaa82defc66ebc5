"""When somebody was last seen: written seldom, by servers that have a connection of theirs."""

import asyncio
from dataclasses import replace

from tests.conftest import Person
from tests.live_servers import QUICK, Place, serving

LAST_SEEN = "query ($id: ID!) { user(id: $id) { lastSeenAt } }"


async def last_seen(person: Person) -> str | None:
    seen: str | None = (await person.ask(LAST_SEEN, id=person.id))["lastSeenAt"]
    return seen


async def seen_after(person: Person, before: str | None) -> str:
    """When they were last seen, once that is later than before."""
    seen: str | None = None
    async with asyncio.timeout(10):
        while seen is None or seen <= (before or ""):
            await asyncio.sleep(0.02)
            seen = await last_seen(person)
    return seen


async def test_when_somebody_was_last_seen(place: Place) -> None:
    async with serving(place, replace(QUICK, seen=0.3)) as one:
        guest = await one.person("seen")
        assert await last_seen(guest) is None, "a request is no connection"
        async with one.device(guest.name):
            first = await seen_after(guest, None)
            later = await seen_after(guest, first)
        last = await seen_after(guest, later)
        await one.shows(guest, "OFFLINE")
        await asyncio.sleep(0.6)
        assert (await last_seen(guest) or "") >= last


async def test_whoever_appears_offline_is_not_given_away(place: Place) -> None:
    async with serving(place, replace(QUICK, seen=0.1)) as one:
        guest, marker = await one.person("hidden"), await one.person("hidden-marker")
        async with one.device(guest.name):
            await seen_after(guest, None)
            await one.choose(guest, "OFFLINE")
            async with one.device(marker.name):
                # Whoever is seen twice is seen by two rounds, of which the second one leaves out who hides.
                await seen_after(marker, await seen_after(marker, None))
                hidden = await last_seen(guest)
                await seen_after(marker, await seen_after(marker, None))
                assert await last_seen(guest) == hidden
        async with one.device(marker.name):
            await seen_after(marker, await last_seen(marker))
        assert await last_seen(guest) == hidden, "nor by leaving"
