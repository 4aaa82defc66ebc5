"""An event is executed once for all who asked for the same, and again only for whom it may look different."""

import gc
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from app.settings import Settings
from tests.conftest import Person
from tests.documents import create_channel, send
from tests.eventually import eventually
from tests.live import Listener, Live, item, live

SOCKETS_EACH = 5
SUBSCRIPTIONS_EACH = 50
SHOWN = "__typename ... on Event { id cursor } ... on MessageEvent { message { content author { name } } }"
EVENTS = f"""subscription ($channel: ID!, $after: [EventCursor!], $types: [EventType!], $last: Int = 2) {{
    channelEvents(channelId: $channel, after: $after, types: $types) {{
        {SHOWN} ... on MessageEvent {{ message {{ channel {{ messages(last: $last) {{ nodes {{ content }} }} }} }} }}
    }}
}}"""
MARKED = "viewerCan { post }"
OWN_EVENTS = f"""subscription {{ viewerEvents {{
    {SHOWN} ... on MessageEvent {{ message {{ channel {{ {MARKED} }} }} }}
}} }}"""


@pytest.fixture(scope="module")
async def server(settings: Settings, new_database: Callable[[str], str]) -> AsyncIterator[Live]:
    async with live(settings, new_database("parley_shared")) as running:
        yield running


@pytest.fixture
async def people(server: Live) -> list[Person]:
    """alice, who will own the channels, and others."""
    return [await server.person(name) for name in ("alice", "bob", "carol", "dave")]


@pytest.fixture
async def stack(server: Live) -> AsyncIterator[AsyncExitStack]:
    """Sockets are closed at the end, and with them the groups."""
    async with AsyncExitStack() as opened:
        yield opened
    await eventually(lambda: not server.services.sessions.count)
    # A frame that was just sent may hold the last reference for a moment.
    gc.collect()
    await eventually(lambda: not len(server.services.groups))


async def executions(server: Live) -> list[int]:
    """How many events each group has executed so far."""
    return await server.call(lambda: sorted(group.executions for group in server.services.groups.values()))


async def subscribed(
    server: Live, stack: AsyncExitStack, *asked: tuple[Person, str, dict[str, Any]]
) -> list[tuple[Listener, str]]:
    """Each on a socket of its own, and the operation's id there."""
    found = []
    for number, (person, document, variables) in enumerate(asked):
        listener = await stack.enter_async_context(server.listener(person))
        await listener.subscribe(f"number {number}", document, **variables)
        found.append((listener, f"number {number}"))
    return found


async def told(listener: Listener, id: str, count: int = 1) -> list[bytes]:
    """The events' frames, when there are so many."""
    await listener.until(lambda: len(listener.events[id]) >= count)
    return list(listener.events[id].values())


async def test_a_thousand_subscriptions_are_one_execution_and_the_same_bytes(
    server: Live, people: list[Person], stack: AsyncExitStack
) -> None:
    channel = await create_channel(people[0], "thousand", members=(people[1],))
    cursor = (await people[0].ask("query ($id: ID!) { channel(id: $id) { cursor } }", id=channel))["cursor"]
    listeners = [
        await stack.enter_async_context(server.listener(person)) for person in people for _ in range(SOCKETS_EACH)
    ]
    for place, listener in enumerate(listeners):
        for number in range(SUBSCRIPTIONS_EACH):
            # Where each of them stands is no reason to execute anything again.
            after = {"after": [cursor]} if (place + number) % 2 else {}
            variables = {"channel": channel, **after}
            await listener.client.subscribe(f"{place}-{number}", EVENTS, variables=variables)
    for listener in listeners:
        await listener.until(lambda listener=listener: len(listener.frames) == SUBSCRIPTIONS_EACH)  # type: ignore[misc]  # the default binds it
    assert await server.call(lambda: server.services.sessions.count) == len(people) * SOCKETS_EACH
    assert await executions(server) == [0]
    for content in ("one", "two"):
        await send(people[1], channel, content)
    frames = [tuple(await told(listener, each, 2)) for listener in listeners for each in list(listener.frames)]
    assert await executions(server) == [2]
    assert not any(listener.repeated for listener in listeners)
    assert len(frames) == len(people) * SOCKETS_EACH * SUBSCRIPTIONS_EACH == 1000
    assert len(set(frames)) == 1
    assert [item(frame)["message"]["content"] for frame in frames[0]] == ["one", "two"]


@pytest.mark.parametrize(
    "other",
    [
        {"last": 1},
        {"types": ["MESSAGE_CREATED"]},
        {"types": ["MESSAGE_CREATED", "MESSAGE_UPDATED"]},
    ],
    ids=str,
)
async def test_variables_and_types_split_a_group(
    other: dict[str, Any], server: Live, people: list[Person], stack: AsyncExitStack
) -> None:
    alice, bob, *_ = people
    channel = await create_channel(alice, f"variables {other}")
    same = {"channel": channel}
    asked = [(alice, EVENTS, same), (bob, EVENTS, same), (bob, EVENTS, {**same, **other})]
    found = await subscribed(server, stack, *asked)
    await send(alice, channel)
    for each in found:
        assert len(await told(*each)) == 1
    assert await executions(server) == [1, 1]


@pytest.mark.parametrize(
    "variables, groups",
    [
        ({"last": 2}, 1),  # the default
        ({"after": None, "types": None}, 1),
        ({"after": []}, 1),
        ({"types": ["MESSAGE_CREATED"]}, 2),
    ],
    ids=str,
)
async def test_what_means_the_same_is_one_group(
    variables: dict[str, Any], groups: int, server: Live, people: list[Person], stack: AsyncExitStack
) -> None:
    alice, bob, *_ = people
    channel = await create_channel(alice, f"the same {variables} {groups}")
    await subscribed(
        server, stack, (alice, EVENTS, {"channel": channel}), (bob, EVENTS, {"channel": channel, **variables})
    )
    await send(alice, channel)
    await eventually(lambda: sum(group.executions for group in server.services.groups.values()) == groups)
    assert await executions(server) == [1] * groups


async def test_the_order_of_types_does_not_split_a_group(
    server: Live, people: list[Person], stack: AsyncExitStack
) -> None:
    types = ["MESSAGE_CREATED", "MESSAGE_UPDATED"]
    channel = await create_channel(people[0], "order of types")
    asked = [(people[0], EVENTS, {"channel": channel, "types": order}) for order in (types, types[::-1], types * 2)]
    await subscribed(server, stack, *asked)
    assert await executions(server) == [0]


async def test_other_documents_are_other_groups(server: Live, people: list[Person], stack: AsyncExitStack) -> None:
    alice = people[0]
    channel = {"channel": await create_channel(alice, "documents")}
    renamed = EVENTS.replace("channelEvents(", "renamed: channelEvents(")
    found = await subscribed(server, stack, (alice, EVENTS, channel), (alice, renamed, channel))
    await send(alice, channel["channel"])
    frames = [json.loads((await told(*each))[0])["data"] for each in found]
    assert [list(frame) for frame in frames] == [["channelEvents"], ["renamed"]]
    assert frames[0]["channelEvents"] == frames[1]["renamed"]
    assert await executions(server) == [1, 1]


async def test_channels_share_a_group_and_its_events_do_not_mix(
    server: Live, people: list[Person], stack: AsyncExitStack
) -> None:
    alice, bob, *_ = people
    channels = [await create_channel(alice, f"group {number}") for number in range(2)]
    asked = [(person, EVENTS, {"channel": channel}) for person in (alice, bob) for channel in channels]
    found = await subscribed(server, stack, *asked)
    for number, channel in enumerate(channels):
        await send(alice, channel, f"{number}")
    contents = [[item(frame)["message"]["content"] for frame in await told(*each)] for each in found]
    assert contents == [["0"], ["1"], ["0"], ["1"]]
    assert await executions(server) == [2]


async def test_what_depends_on_the_viewer_is_executed_once_per_viewer(
    server: Live, people: list[Person], stack: AsyncExitStack
) -> None:
    alice, bob, *_ = people
    channel = await create_channel(alice, "viewers", members=(bob,))
    found = await subscribed(server, stack, *[(person, OWN_EVENTS, {}) for person in (alice, bob, alice, bob, alice)])
    assert await executions(server) == [0, 0]
    await send(alice, channel)
    frames = [(await told(*each))[0] for each in found]
    assert await executions(server) == [1, 1]
    assert frames[0] == frames[2] == frames[4]
    assert frames[1] == frames[3]


async def test_without_a_marked_field_all_viewers_share(
    server: Live, people: list[Person], stack: AsyncExitStack
) -> None:
    alice, bob, *_ = people
    channel = await create_channel(alice, "no marks", private=True, members=(bob,))
    shared = OWN_EVENTS.replace(MARKED, "id")
    found = await subscribed(server, stack, (alice, shared, {}), (bob, shared, {}))
    await send(bob, channel)
    frames = {(await told(*each))[0] for each in found}
    assert await executions(server) == [1]
    assert len(frames) == 1


@pytest.mark.parametrize(
    "hidden, fragments",
    [
        ("channel { joinCode @skip(if: true) }", ""),
        ("... { ... on Message { channel { ... on Channel { viewerCan { post } } } } }", ""),
        (
            "...mine",
            """fragment mine on Message { id reactions { ...more } }
            fragment more on ReactionGroup { count ... { key: viewerHasReacted } }""",
        ),
    ],
)
async def test_a_mark_is_found_wherever_it_is(
    hidden: str, fragments: str, server: Live, people: list[Person], stack: AsyncExitStack
) -> None:
    alice, bob, *_ = people
    selected = f"{SHOWN} ... on MessageEvent {{ message {{ {hidden} }} }}"
    document = f"subscription {{ viewerEvents {{ {selected} }} }} {fragments}"
    await subscribed(server, stack, (alice, document, {}), (bob, document, {}))
    assert await executions(server) == [0, 0]
