"""The timeline of a channel: its newest page, the page around a message, and many at once."""

import pytest

from tests.conftest import Person
from tests.documents import DELETE_CHANNEL, DELETE_MESSAGE, create_channel, global_id, open_dm, request_error, send

TIMELINE = (
    "query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String, $around: ID) { channel(id: $id) "
    "{ messages(first: $first, after: $after, last: $last, before: $before, around: $around) "
    "{ nodes { id content } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"
)
OF_ALL = (
    "query ($around: ID) { viewer { channels { nodes { name messages(around: $around) { nodes { content } } } } } }"
)
TWICE = (
    "query ($id: ID!) { channel(id: $id) { messages { nodes { channel "
    "{ memberCount members { nodes { user { name } } } messages(last: 1) { nodes { content } } } } } } }"
)


async def filled(person: Person, channel: str, count: int) -> list[str]:
    """The ids of new messages whose texts are their places."""
    return [await send(person, channel, str(place)) for place in range(count)]


async def page(person: Person, channel: str, **arguments: object) -> tuple[list[int], bool, bool]:
    """The places on a page, and whether there is something before and after it."""
    found = (await person.ask(TIMELINE, id=channel, **arguments))["messages"]
    info = found["pageInfo"]
    places = [int(node["content"]) for node in found["nodes"] if node["content"]]
    return places, info["hasPreviousPage"], info["hasNextPage"]


async def test_without_arguments_it_is_the_newest_50(alice: Person) -> None:
    channel = await create_channel(alice)
    assert await page(alice, channel) == ([], False, False)
    await filled(alice, channel, 50)
    assert await page(alice, channel) == ([*range(50)], False, False)
    await send(alice, channel, "50")
    assert await page(alice, channel) == ([*range(1, 51)], True, False)
    assert await page(alice, channel, first=None) == ([*range(1, 51)], True, False)
    assert await page(alice, channel, first=50) == ([*range(50)], False, True)


async def test_a_page_around_a_message_has_it_in_the_middle(alice: Person) -> None:
    channel = await create_channel(alice)
    ids = await filled(alice, channel, 10)
    for place, size, expected in (
        (5, 1, ([5], True, True)),
        (5, 2, ([5, 6], True, True)),
        (5, 3, ([4, 5, 6], True, True)),
        (5, 4, ([4, 5, 6, 7], True, True)),
        (4, 10, ([*range(10)], False, False)),
        (5, 100, ([*range(10)], False, False)),
        (0, 3, ([0, 1], False, True)),
        (9, 3, ([8, 9], True, False)),
        (0, 1, ([0], False, True)),
        (9, 1, ([9], True, False)),
        (1, 3, ([0, 1, 2], False, True)),
        (8, 3, ([7, 8, 9], True, False)),
        (5, 0, ([], True, True)),
    ):
        assert await page(alice, channel, around=ids[place], first=size) == expected, (place, size)


async def test_from_the_page_around_a_message_one_can_walk_both_ways(alice: Person) -> None:
    channel = await create_channel(alice)
    ids = await filled(alice, channel, 10)
    middle = (await alice.ask(TIMELINE, id=channel, around=ids[5], first=3))["messages"]["pageInfo"]
    older = await page(alice, channel, last=100, before=middle["startCursor"])
    newer = await page(alice, channel, first=100, after=middle["endCursor"])
    assert (older, newer) == (([0, 1, 2, 3], False, True), ([7, 8, 9], True, False))


async def test_the_page_around_a_lonely_message_is_that_message(alice: Person) -> None:
    channel = await create_channel(alice)
    (only,) = await filled(alice, channel, 1)
    assert await page(alice, channel, around=only) == ([0], False, False)


async def test_a_deleted_message_can_be_looked_around(alice: Person) -> None:
    channel = await create_channel(alice)
    ids = await filled(alice, channel, 5)
    await alice.ask(DELETE_MESSAGE, messageId=ids[2])
    found = (await alice.ask(TIMELINE, id=channel, around=ids[2], first=3))["messages"]["nodes"]
    assert [node["content"] for node in found] == ["1", None, "3"]


async def test_around_a_message_of_elsewhere_is_nothing(alice: Person, bob: Person) -> None:
    channel, other = await create_channel(alice), await create_channel(alice, "other")
    hidden, gone = await create_channel(bob, private=True), await create_channel(alice, "gone")
    await filled(alice, channel, 3)
    elsewhere = [await send(alice, other), await send(bob, hidden), await send(alice, gone), channel, alice.id]
    await alice.ask(DELETE_CHANNEL, channelId=gone)
    for anchor in (*elsewhere, "", "x", "\x00", "0", global_id("Message:999999999"), global_id("Message:0")):
        assert await page(alice, channel, around=anchor) == ([], False, False), anchor


async def test_around_is_about_one_channel_of_many(alice: Person, bob: Person) -> None:
    await send(alice, await create_channel(alice, "one"), "in one")
    anchor = await send(alice, await create_channel(alice, "two"), "in two")
    await open_dm(alice, bob)
    found = (await alice.ask(OF_ALL, around=anchor))["channels"]["nodes"]
    contents = {node["name"]: [message["content"] for message in node["messages"]["nodes"]] for node in found}
    assert contents == {"one": [], "two": ["in two"], None: []}


@pytest.mark.parametrize("count", [0, 1, 10])
async def test_timelines_of_many_channels_take_one_statement(alice: Person, statements: list[str], count: int) -> None:
    for place in range(count):
        await filled(alice, await create_channel(alice, str(place)), 2)
    statements.clear()
    found = (await alice.ask(OF_ALL))["channels"]["nodes"]
    assert [[message["content"] for message in node["messages"]["nodes"]] for node in found] == [["0", "1"]] * count
    assert len([sql for sql in statements if "messages" in sql]) == min(count, 1)


async def test_a_channel_that_is_met_many_times_has_each_member_and_message_once(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    await filled(alice, channel, 3)
    for node in (await alice.ask(TWICE, id=channel))["messages"]["nodes"]:
        assert [member["user"]["name"] for member in node["channel"]["members"]["nodes"]] == ["alice", "bob"]
        assert node["channel"]["memberCount"] == 2
        assert node["channel"]["messages"]["nodes"] == [{"content": "2"}]


async def test_pages_of_a_nested_timeline_count_for_the_cost(alice: Person) -> None:
    assert await request_error(alice, OF_ALL.replace("around: $around", "around: $around, first: 101")) == "BAD_REQUEST"
    deep = "{ channels(first: 100) { nodes { messages(first: 100) { nodes { author { name } } } } } }"
    assert await request_error(alice, deep) == "QUERY_TOO_COSTLY"


async def test_around_and_another_place_at_once_are_a_bad_request(alice: Person) -> None:
    channel = await create_channel(alice)
    ids = await filled(alice, channel, 3)
    cursor = (await alice.ask(TIMELINE, id=channel, first=1))["messages"]["pageInfo"]["endCursor"]
    for other in ({"after": cursor}, {"before": cursor}):
        assert await request_error(alice, TIMELINE, id=channel, around=ids[0], **other) == "BAD_REQUEST"
