"""Whoever is removed from a channel and comes back at once is told so last, however late the channel's news are."""

from collections.abc import AsyncIterator, Callable

import pytest

from app.db import Write
from app.events.log import logged
from app.settings import Settings
from tests.documents import ADD_MEMBERS, REMOVE_MEMBER, create_channel, send
from tests.live import Live, live

EVENTS = """subscription { viewerEvents {
    ... on StreamNotice { kind channelId } ... on Event { id type channelId }
    ... on MessageEvent { message { content } }
} }"""


@pytest.fixture(scope="module")
async def server(settings: Settings, new_database: Callable[[str], str]) -> AsyncIterator[Live]:
    async with live(settings, new_database("parley_coming_back")) as running:
        yield running


@pytest.mark.parametrize("private", [True, False])
async def test_to_be_there_again_is_told_last(private: bool, server: Live) -> None:
    alice, bob = await server.person("alice"), await server.person("bob")
    channel = await create_channel(alice, f"private {private}", private=private, members=(bob,))
    hub = server.services.hub

    def lose_what_channels_tell(write: Write) -> None:
        """As a broker may: those who follow a user hear of it long before those who follow the channel."""
        for event in logged(write):
            if event.stream_id[0] != "c":
                server.services.broker.publish(event.stream_id, event.as_message())

    async with server.listener(bob) as listener:
        await listener.subscribe("all", EVENTS)
        await server.call(lambda: setattr(hub.database, "after_commit", lose_what_channels_tell))
        try:
            await send(alice, channel, "lost for bob")
            person = {"channelId": channel, "userId": bob.id}
            await alice.ask(REMOVE_MEMBER, **person)
            await alice.ask(ADD_MEMBERS, channelId=channel, userIds=[bob.id])
            await send(alice, channel, "for bob again")
            await listener.until(lambda: b"for bob again" in b"".join(listener.frames["all"]))
        finally:
            await server.call(lambda: setattr(hub.database, "after_commit", hub.publish))
        await send(alice, channel, "the last")
        await listener.until(lambda: b"the last" in b"".join(listener.frames["all"]))
        told = [item.get("kind") or item["type"] for item in listener.items("all") if item["channelId"] == channel]
    assert told.count("ACCESS_REVOKED") == 1
    # In their own stream perhaps earlier than that, so it counts that the channel's tells of it, too.
    assert [each for each in told if each in {"ACCESS_REVOKED", "MEMBER_LEFT", "MEMBER_JOINED"}][-1] == "MEMBER_JOINED"
    assert told[-3:] == ["MEMBER_JOINED", "MESSAGE_CREATED", "MESSAGE_CREATED"]
