"""Who is there, as others see it, on two servers."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.auth import LocalIssuer
from schema.ids import encode
from tests.documents import request_error
from tests.eventually import eventually
from tests.live_servers import QUICK, SET_PRESENCE, WATCH, LiveServer, Place, brief, serving, watching
from tests.stream_client import streaming

# Whoever leaves is offline when the test is over.
PATIENT = replace(QUICK, absence=60.0)


async def test_a_watcher_is_told_first_how_everybody_is_in_the_order_asked(one: LiveServer, other: LiveServer) -> None:
    here, there, nowhere = [await one.person(f"first-{name}") for name in ("here", "there", "nowhere")]
    async with one.device(here.name), other.device(there.name):
        await one.shows(there, "ONLINE")
        ids = [nowhere.id, there.id, here.id, nowhere.id]
        async with one.listen("watcher", WATCH, ids=ids) as listening:
            told = [brief(await listening.next()) for _ in range(3)]
            assert told == [(nowhere.name, "OFFLINE"), (there.name, "ONLINE"), (here.name, "ONLINE")]
            await one.choose(here, "AWAY")
            assert brief(await listening.next()) == (here.name, "AWAY"), "whoever is named twice is told once"


async def test_coming_and_going_is_seen_on_every_server(one: LiveServer, other: LiveServer) -> None:
    guest = await one.person("guest")
    async with watching(one, "watcher", guest) as near, watching(other, "watcher", guest) as far:
        async with other.device(guest.name):
            assert brief(await near.next()) == brief(await far.next()) == (guest.name, "ONLINE")
        assert brief(await near.next()) == brief(await far.next()) == (guest.name, "OFFLINE")


async def test_somebody_is_there_as_long_as_one_device_is(one: LiveServer, other: LiveServer) -> None:
    guest = await one.person("devices")
    async with watching(one, "watcher", guest) as listening, AsyncExitStack() as last:
        async with one.device(guest.name), other.device(guest.name):
            await last.enter_async_context(other.device(guest.name))
            assert brief(await listening.next()) == (guest.name, "ONLINE")
        await eventually(lambda: one.connections(guest) == other.connections(guest) == 1)
        await asyncio.sleep(3 * QUICK.absence)  # for this test to mean anything
        await other.choose(guest, "AWAY")
        assert brief(await listening.next()) == (guest.name, "AWAY"), "none of the others was missed"
        await last.aclose()
        assert brief(await listening.next()) == (guest.name, "OFFLINE")


async def test_a_choice_is_seen_everywhere_and_lasts_until_the_last_connection_ends(
    one: LiveServer, other: LiveServer
) -> None:
    guest = await one.person("choosy")
    async with watching(one, "watcher", guest) as near, watching(other, "watcher", guest) as far:

        async def told(presence: str) -> None:
            assert brief(await near.next()) == brief(await far.next()) == (guest.name, presence)

        async with other.device(guest.name):
            async with one.device(guest.name):
                await told("ONLINE")
                # Asked of both servers, by whichever way: over HTTP there is no telling which one answers.
                for at, presence in ((one, "AWAY"), (other, "OFFLINE"), (one, "ONLINE"), (one, "AWAY")):
                    await at.choose(guest, presence)
                    await told(presence)
                    assert await one.presence(guest) == await other.presence(guest) == presence
            await eventually(lambda: other.connections(guest) == 1)
            # By a server that they are not connected to.
            for presence in ("OFFLINE", "AWAY"):
                await one.choose(guest, presence)
                await told(presence)
        await told("OFFLINE")
        async with one.device(guest.name):
            await told("ONLINE")


async def test_an_event_stream_is_a_connection_too(one: LiveServer, issuer: LocalIssuer) -> None:
    guest = await one.person("streaming")
    async with watching(one, "watcher", guest) as listening:
        token, variables = issuer.issue(guest.name), {"ids": [guest.id]}
        async with streaming(one.port, WATCH, token, variables=variables) as stream:
            assert brief(await listening.next()) == (guest.name, "ONLINE")
            await one.choose(guest, "AWAY")
            told = [brief((await stream.result())["data"]["presence"]) for _ in range(2)]
            assert told == [(guest.name, "ONLINE"), (guest.name, "AWAY")]
            assert brief(await listening.next()) == (guest.name, "AWAY")
        assert brief(await listening.next()) == (guest.name, "OFFLINE")


async def test_a_choice_needs_a_connection(one: LiveServer) -> None:
    guest = await one.person("absent")
    payload = (await guest.send(SET_PRESENCE, presence="AWAY"))["data"]["setPresence"]
    (error,) = payload["errors"]
    assert (payload["user"], payload["cursor"], error["code"]) == (None, None, "INVALID_INPUT")
    assert "WebSocket" in error["message"]
    assert await one.presence(guest) == "OFFLINE"


async def test_whoever_comes_back_soon_was_never_away(place: Place) -> None:
    async with serving(place, PATIENT) as one, serving(place, PATIENT) as other:
        guest = await one.person("blip")
        async with watching(one, "watcher", guest) as near, watching(other, "watcher", guest) as far:
            async with one.device(guest.name):
                for listening in (near, far):
                    assert brief(await listening.next()) == (guest.name, "ONLINE")
                await one.choose(guest, "AWAY")
                for listening in (near, far):
                    assert brief(await listening.next()) == (guest.name, "AWAY")
            await eventually(lambda: other.connections(guest) == 0)
            async with other.device(guest.name):
                await eventually(lambda: one.connections(guest) == 1)
                assert await one.presence(guest) == await other.presence(guest) == "AWAY", "and the choice stays"
                await one.choose(guest, "ONLINE")
                for listening in (near, far):
                    assert brief(await listening.next()) == (guest.name, "ONLINE")


async def test_servers_agree_on_the_choice_of_who_comes_back_in_between(place: Place) -> None:
    """To one of them the guest is still there, to the other one they are not, and come back without a choice."""
    async with serving(place, PATIENT) as patient, serving(place) as quick:
        guest = await patient.person("in between")
        async with quick.device(guest.name):
            await patient.shows(guest, "ONLINE")
            await quick.choose(guest, "AWAY")
            await patient.shows(guest, "AWAY")
        await quick.shows(guest, "OFFLINE")
        assert await patient.presence(guest) == "AWAY"
        async with quick.device(guest.name):
            await quick.shows(guest, "ONLINE")
            await patient.shows(guest, "ONLINE")


async def test_whoever_left_is_shown_until_the_blip_is_over_but_has_no_connection(place: Place) -> None:
    async with serving(place, PATIENT) as one:
        guest = await one.person("gone")
        async with one.device(guest.name):
            await one.shows(guest, "ONLINE")
        await eventually(lambda: one.connections(guest) == 0)
        assert await one.presence(guest) == "ONLINE"
        assert await guest.refused(SET_PRESENCE, presence="AWAY") == "INVALID_INPUT"


async def test_the_limit_of_connections_counts_those_of_other_servers(one: LiveServer, other: LiveServer) -> None:
    guest = await one.person("greedy")
    async with AsyncExitStack() as stack:
        for at in (one, other, one, other):
            await stack.enter_async_context(at.device(guest.name))
        async with one.device(guest.name):
            await eventually(lambda: one.connections(guest) == other.connections(guest) == 5)
            for at in (one, other):
                refusal = await at.refusal(guest.name)
                assert (refusal.code, "at most 5" in refusal.reason) == (4403, True)
        await eventually(lambda: other.connections(guest) == 4)
        async with other.device(guest.name):
            pass


async def test_a_change_is_executed_once_for_all_who_watch(one: LiveServer) -> None:
    guests = [await one.person(f"shared-{number}") for number in range(3)]
    document = f"# counted\n{WATCH}"
    async with AsyncExitStack() as stack:
        listeners = []
        for number in range(20):
            # They watch different people, and ask for the same.
            ids = [guests[0].id, guests[1 + number % 2].id]
            listeners.append(await stack.enter_async_context(one.listen(f"crowd-{number}", document, ids=ids)))
            for _ in ids:
                await listeners[-1].next()
        (group,) = [group for key, group in one.services.groups.items() if key[0][0] == document]
        assert group.executions == 3, "and how people are as often as there are people"
        async with one.device(guests[0].name):
            told = [await listener.next() for listener in listeners]
        assert [brief(event) for event in told] == [(guests[0].name, "ONLINE")] * 20
        assert group.executions == 4


async def test_what_depends_on_the_viewer_is_not_shared(one: LiveServer, place: Place) -> None:
    guest = await one.person("secretive")
    engine = create_async_engine(place.url)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE users SET email = 'me@example.org' WHERE name = 'secretive'"))
    await engine.dispose()
    document = "subscription ($ids: [ID!]!) { presence(userIds: $ids) { user { name email } } }"
    async with (
        one.listen(guest.name, document, ids=[guest.id]) as own,
        one.listen("curious", document, ids=[guest.id]) as alien,
    ):
        assert (await own.next())["user"]["email"] == "me@example.org"
        assert (await alien.next())["user"]["email"] is None


@pytest.mark.parametrize(
    "ids, code",
    [
        ([encode("User", number) for number in range(1, 202)], "BAD_REQUEST"),
        ([encode("User", 10**9)], "NOT_FOUND"),
        ([encode("Channel", 1)], "NOT_FOUND"),
        (["nonsense"], "NOT_FOUND"),
    ],
)
async def test_whom_nobody_can_watch(one: LiveServer, ids: list[str], code: str) -> None:
    async with one.listen("watcher", WATCH, ids=ids) as listening:
        assert await listening.refused() == code


async def test_presence_needs_a_token(one: LiveServer) -> None:
    guest = await one.person("tokenless")
    nobody = replace(guest, token="no.such.token")
    assert await request_error(nobody, SET_PRESENCE, presence="AWAY") == "UNAUTHENTICATED"
