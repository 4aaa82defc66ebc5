"""Event streams of the real API: cut anywhere they go on without a gap or a repeat, and end where they must."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from app.auth import LocalIssuer
from app.main import create_app
from app.settings import Settings
from tests.conftest import Person
from tests.follower import positions
from tests.served import Served
from tests.stream_client import StreamClient, streaming

CREATE = """mutation($name: String!) {
    createChannel(input: { name: $name, isPrivate: true }) { channel { id } errors { code } }
}"""
SEND = """mutation($c: ID!, $t: String!) {
    sendMessage(input: { channelId: $c, content: $t }) { cursor errors { code } }
}"""
ITEM = """{
    __typename ... on Event { cursor type } ... on MessageEvent { message { content } }
    ... on StreamNotice { kind recovered }
}"""
MINE = f"subscription($after: [EventCursor!]) {{ viewerEvents(after: $after) {ITEM} }}"
ONLY_MESSAGES = """subscription($after: [EventCursor!]) {
    viewerEvents(after: $after, types: [MESSAGE_CREATED]) { ... on Event { cursor type } }
}"""
CHANNEL = f"subscription($c: ID!, $after: [EventCursor!]) {{ channelEvents(channelId: $c, after: $after) {ITEM} }}"
MESSAGES = 60
SEND_TEN = (
    "mutation($c: ID!, $t: String!) {"
    + "".join(f"m{number}: sendMessage(input: {{ channelId: $c, content: $t }}) {{ cursor }}" for number in range(10))
    + "}"
)


@pytest.fixture(scope="module")
def served(settings: Settings, new_database: Callable[[str], str]) -> Iterator[Served]:
    with Served(create_app(settings, new_database("parley_stream_resume"), keeps_house=False)) as running:
        yield running


@pytest.fixture
async def ann(served: Served, issuer: LocalIssuer) -> AsyncIterator[Person]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as http:
        yield Person("ann", issuer.issue("ann"), http)


async def channel(person: Person, name: str) -> str:
    return str((await person.ask(CREATE, name=name))["channel"]["id"])


async def here(person: Person) -> str:
    return str((await person.ask("{ viewer { cursor } }"))["cursor"])


async def item(client: StreamClient) -> dict[str, object]:
    [found] = (await client.result())["data"].values()
    return dict(found)


@pytest.mark.parametrize("document", [MINE, ONLY_MESSAGES], ids=["everything", "only messages"])
async def test_a_stream_that_is_cut_anywhere_goes_on_where_it_was(served: Served, ann: Person, document: str) -> None:
    writer, cutter = random.Random(1), random.Random(2)  # noqa: S311 - for repeatable variety
    channels = [await channel(ann, f"resumed {number}") for number in range(4)]
    beginning = await here(ann)

    async def write() -> None:
        for number in range(MESSAGES):
            await ann.ask(SEND, c=writer.choice(channels), t=str(number))

    writing = asyncio.ensure_future(write())
    seen: defaultdict[str, list[int]] = defaultdict(list)
    last_id, connections = "", 0
    while sum(map(len, seen.values())) < MESSAGES:
        connections += 1
        # The same request again and again, as EventSource does; the header says the rest.
        async with streaming(
            served.port, document, ann.token, variables={"after": [beginning]}, method="GET", Last_Event_ID=last_id
        ) as client:
            for _ in range(cutter.randint(1, 8)):
                event = await item(client)
                assert client.last_id is not None
                last_id = client.last_id
                if "cursor" in event:
                    [(stream, seq)] = positions(str(event["cursor"])).items()
                    seen[stream].append(seq)
                if sum(map(len, seen.values())) == MESSAGES:
                    break
            # What else has come is thrown away with the connection, in the middle of a write or not.
    await writing
    first, final = positions(beginning), positions(await here(ann))
    assert seen == {name: list(range(first[name] + 1, final[name] + 1)) for name in seen}
    assert connections > 5, "else this shows nothing"


async def test_one_id_covers_all_streams(served: Served, ann: Person) -> None:
    one, other = await channel(ann, "one"), await channel(ann, "other")
    async with streaming(served.port, MINE, ann.token) as client:
        assert (await item(client))["kind"] == "READY"
        for target in (one, other):
            await ann.ask(SEND, c=target, t="before")
            await item(client)
        assert client.last_id == await here(ann)
    for target in (other, one):
        await ann.ask(SEND, c=target, t="missed")
    async with streaming(served.port, MINE, ann.token, Last_Event_ID=client.last_id) as client:
        assert await item(client) == {"__typename": "StreamNotice", "kind": "READY", "recovered": 2}
        for _ in range(2):
            assert (await item(client))["message"] == {"content": "missed"}
        assert client.last_id == await here(ann)


async def test_the_furthest_of_after_and_the_id_counts(served: Served, ann: Person) -> None:
    target = await channel(ann, "furthest")
    cursors = [(await ann.ask(SEND, c=target, t=str(number)))["cursor"] for number in range(3)]
    for after, last_id, recovered in (
        ([cursors[0]], cursors[1], 1),
        ([cursors[1]], cursors[0], 1),
        ([], cursors[0], 2),
    ):
        variables = {"c": target, "after": after}
        async with streaming(served.port, CHANNEL, ann.token, variables=variables, Last_Event_ID=last_id) as client:
            assert (await item(client))["recovered"] == recovered


@pytest.mark.parametrize("last_id", ["nonsense", "Y0AxOjE", "é"])
async def test_an_id_that_is_no_cursor_is_an_error(served: Served, ann: Person, last_id: str) -> None:
    async with streaming(served.port, MINE, ann.token, Last_Event_ID=last_id) as client:
        assert client.status == 200
        [error] = (await client.result())["errors"]
        assert error["extensions"]["code"] == "CURSOR_INVALID"
        assert "Last-Event-ID" in error["message"]
        assert (await client.event()).event == "complete"


async def test_a_channel_that_is_not_there_is_an_error(served: Served, ann: Person) -> None:
    async with streaming(served.port, CHANNEL, ann.token, variables={"c": "Q2hhbm5lbDo5OTk5"}) as client:
        [error] = (await client.result())["errors"]
        assert error["extensions"]["code"] == "NOT_FOUND"
        assert (await client.event()).event == "complete"


async def test_what_cannot_go_on_is_complete(served: Served, ann: Person) -> None:
    target = await channel(ann, "deleted")
    async with streaming(served.port, CHANNEL, ann.token, variables={"c": target}) as client:
        assert (await item(client))["kind"] == "READY"
        await ann.ask("mutation($c: ID!) { deleteChannel(channelId: $c) { errors { code } } }", c=target)
        assert (await item(client))["type"] == "CHANNEL_DELETED"
        assert (await item(client))["kind"] == "ACCESS_REVOKED"
        assert (await client.event()).event == "complete"
        assert await client.rest() == b""


async def test_a_slow_reader_is_told_so_and_gets_everything_in_order(served: Served, ann: Person) -> None:
    target = await channel(ann, "slow")
    count, text = 130, "x" * 7_900
    async with streaming(served.port, CHANNEL, ann.token, variables={"c": target}, receive_buffer=32 * 1024) as client:
        assert (await item(client))["kind"] == "READY"
        for _ in range(count // 10):
            await ann.send(SEND_TEN, c=target, t=text)
        kinds: set[object] = set()
        seqs: list[int] = []
        while len(seqs) < count:
            found = await item(client)
            if found["__typename"] == "StreamNotice":
                kinds.add(found["kind"])
            else:
                seqs += positions(str(found["cursor"])).values()
        assert kinds == {"SLOW_CONSUMER"}
        assert seqs == list(range(seqs[0], seqs[0] + count))
        await ann.ask(SEND, c=target, t="live again")
        while (found := await item(client))["__typename"] == "StreamNotice":
            pass
        assert found["message"] == {"content": "live again"}
