"""What a document costs does not depend on how many rows it returns: as many statements for 50 as for one."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from app import statements
from app.settings import Settings
from schema.channels import MESSAGES
from schema.ids import encode
from tests.plans import recorded
from tests.workspace import Workspace, workspace

SCRIPT = Path(__file__).parent / "small_set.sql"

FRAGMENTS = {
    "person": "fragment person on User { id name email }",
    "short": "fragment short on Message { id content author { ...person } }",
    "message": """fragment message on Message {
        seq clientKey deletedAt replyCount
        ...short channel { name owner { ...person } }
        parent { ...short } reply { ...short reply { ...short } }
        replyChain(first: 3) { nodes { ...short } }
        files { ...file }
        reactions { count viewerHasReacted reaction { code } users(first: 3) { nodes { ...person } } }
    }""",
    "file": "fragment file on File { name size uploader { ...person } channel { name } message { content } }",
    "member": "fragment member on ChannelMember { id role joinedAt user { ...person } channel { name } }",
    "channel": """fragment channel on Channel {
        id title: name memberCount joinCode cursor viewerCan { post } owner { ...person }
        members(first: 20) { nodes { ...member } }
        messages(last: 1) { nodes { ...short parent { id } reactions { count } } }
    }""",
}

# Each returns `$n` rows, of which the first has whatever a row can have, and the others lack this or that.
LISTS = {
    "timeline": "query ($n: Int, $here: ID!, $key: String) { channel(id: $here) {"
    " messages(last: $n, before: $key) { nodes { ...message } } } }",
    "chain": "query ($n: Int, $top: ID!) { message(id: $top) { replyChain(first: $n) { nodes { ...message } } } }",
    "files": "query ($n: Int, $here: ID!) { channel(id: $here) { files(first: $n) { nodes { ...file } } } }",
    "files of channels": "query ($n: Int) { channels(first: $n) { nodes { files(first: 3) { nodes { ...file } } } } }",
    "channels": "query ($n: Int) { channels(first: $n) { nodes { ...channel } } }",
    "own channels": "query ($n: Int) { viewer { channels(first: $n, isDm: false) { nodes { ...channel } } } }",
    "direct messages": "query ($n: Int) { viewer { channels(first: $n, isDm: true) { nodes { ...channel } } } }",
    "members": "query ($n: Int, $here: ID!) { channel(id: $here) { members(first: $n) { nodes { ...member } } } }",
    "moderators": "query ($n: Int, $here: ID!) { channel(id: $here) {"
    " members(first: $n, role: MODERATOR) { nodes { ...member } } } }",
    "people": "query ($n: Int) { users(first: $n) { edges { cursor node { ...person } } } }",
    "people by name": 'query ($n: Int) { users(first: $n, nameContains: "user") { nodes { ...person } } }',
    "catalogue": "query ($n: Int) { reactions(first: $n) { nodes { id code } } }",
    "people who reacted": "query ($n: Int, $loved: ID!) { message(id: $loved) {"
    " reactions { users(first: $n) { nodes { ...person } } } } }",
}
PLACES = {
    "here": encode("Channel", 1),
    "top": encode("Message", 1),
    "loved": encode("Message", 350),
    "key": MESSAGES.cursor((263,)),  # before it stands 262: a reply with reactions and a reply, which has one too
}


def complete(operation: str) -> str:
    """The operation with the fragments that it uses, and those that they use."""
    document = operation
    for name in ("channel", "member", "message", "file", "short", "person"):
        if f"...{name} " in document:
            document += f"\n{FRAGMENTS[name]}"
    return document


@pytest.fixture(scope="module")
async def small(settings: Settings, new_database: Callable[[str], str]) -> AsyncGenerator[Workspace, None]:
    url = new_database("statements")
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
    async with connection.transaction():
        await connection.execute(SCRIPT.read_text(encoding="utf-8"))
    await connection.close()
    async with workspace(settings, url) as opened:
        yield opened


async def ask(small: Workspace, operation: str, /, *, is_known: bool = False, **variables: Any) -> tuple[int, Any]:
    """How many statements user 1's operation took, and the value of its only root field.

    No user or reaction is remembered, unless `is_known`.
    """
    document = complete(operation)
    used = {name: value for name, value in {**PLACES, **variables}.items() if f"${name}:" in document}
    await small.person(1).ask("{ viewer { user { id } } }")  # whoever was here before need not be looked up
    for rows in (small.services.known_rows.users, small.services.known_rows.reactions):
        rows.most = 1_000 if is_known else 0
        if not is_known:
            rows.clear()
    with recorded(small.database.engine) as sent:
        value = await small.person(1).ask(document, **used)
    return len(sent), value


def rows_of(value: Any) -> list[Any]:
    """The rows of the only list at the end of the only path into an answer."""
    while isinstance(value, dict):
        (value,) = value.values()
    if value and isinstance(value[0], dict) and value[0].keys() == {"users"}:
        return rows_of(value[0])
    assert isinstance(value, list)
    return value


@pytest.mark.parametrize("name", LISTS)
async def test_fifty_rows_cost_what_one_row_costs(name: str, small: Workspace) -> None:
    counts = {}
    for size in (0, 1, 10, 50):
        counts[size], value = await ask(small, LISTS[name], n=size)
        assert len(rows_of(value)) == size, "for this test to mean anything"
    assert counts[1] == counts[10] == counts[50]
    assert counts[0] <= counts[1]


async def test_fifty_reactions_cost_what_one_costs(small: Workspace) -> None:
    operation = """query ($id: ID!) { message(id: $id) {
        reactions { count viewerHasReacted reaction { code } users { nodes { ...person } } } } }"""
    counts = {}
    for size in (0, 1, 10, 50):
        counts[size], value = await ask(small, operation, id=encode("Message", 300 + size))
        assert len(value["reactions"]) == size
    assert counts[0] <= counts[1] == counts[10] == counts[50]


NODES = """query ($ids: [ID!]!) { nodes(ids: $ids) {
    ... on User { ...person } ... on Channel { ...channel } ... on ChannelMember { ...member }
    ... on Message { ...message } ... on File { ...file } ... on Reaction { code } } }"""
KEYS: dict[str, list[tuple[int, ...]]] = {
    "User": [(number,) for number in range(1, 21)],
    "Channel": [(number,) for number in range(1, 21)],
    "ChannelMember": [(1, number) for number in range(1, 21)],
    "Message": [(number,) for number in range(262, 242, -1)],
    "File": [(number,) for number in range(1, 21)],
    "Reaction": [(number,) for number in range(1, 21)],
}


@pytest.mark.parametrize("typename", KEYS)
async def test_nodes_cost_what_one_node_costs(typename: str, small: Workspace) -> None:
    counts = set()
    for size in (1, 10, 20):
        count, value = await ask(small, NODES, ids=[encode(typename, *key) for key in KEYS[typename][:size]])
        assert None not in value
        counts.add(count)
    assert len(counts) == 1


async def test_a_hundred_nodes_of_all_kinds_cost_what_one_of_each_costs(small: Workspace) -> None:
    ids = [encode(typename, *KEYS[typename][place]) for place in range(16) for typename in KEYS]
    operation = """query ($ids: [ID!]!) { nodes(ids: $ids) {
        ... on User { ...person } ... on Channel { title: name owner { ...person } } ... on ChannelMember { ...member }
        ... on Message { ...short reply { ...short } } ... on File { ...file } ... on Reaction { code } } }"""
    few, _ = await ask(small, operation, ids=ids[: len(KEYS)])
    many, value = await ask(small, operation, ids=ids)
    assert len(value) == 96
    assert few == many


async def test_one_channel_seen_from_many_messages_is_read_once(small: Workspace) -> None:
    """Each of them shows the same page, once."""
    operation = """query ($n: Int, $here: ID!) { channel(id: $here) { messages(last: $n) { nodes {
        channel { members(first: 2) { nodes { id } } messages(last: 2) { nodes { replyChain { nodes { id } } } } }
    } } } }"""
    one, alone = await ask(small, operation, n=1)
    ten, together = await ask(small, operation, n=10)
    assert one == ten
    (shown,) = alone["messages"]["nodes"]
    assert together["messages"]["nodes"] == [shown] * 10
    assert len(shown["channel"]["messages"]["nodes"]) == 2


# The documents that a client sends all day, and what each takes: with no user and reaction known, and with all of them.
BUDGETS = {
    "a client starts": (
        """query { viewer { cursor user { ...person }
            channels(first: 50) { nodes { id name isDm cursor viewerCan { post } } } } }""",
        (5, 5),
    ),
    "its list of channels": (LISTS["own channels"], (13, 10)),
    "a timeline": (
        """query ($n: Int, $here: ID!) { channel(id: $here) { messages(last: $n) { nodes {
            ...short createdAt replyCount reactions { count viewerHasReacted reaction { code } } } } } }""",
        (6, 4),
    ),
    "a message with its chain of 100": (
        """query ($n: Int, $top: ID!) { message(id: $top) {
            ...short replyCount replyChain(first: $n) { nodes { ...short } } } }""",
        (5, 3),
    ),
    "a page of members": (LISTS["members"], (4, 3)),
    "a timeline with files": (
        """query ($n: Int, $here: ID!) { channel(id: $here) { messages(last: $n) { nodes {
            ...short files { name contentType size width height } } } } }""",
        (4, 3),
    ),
    "sending a message": (
        """mutation { sendMessage(input: {channelId: "Q2hhbm5lbDo1", content: "Hello"}) {
            errors { code } message { ...short } } }""",
        (4, 3),
    ),
}


@pytest.mark.parametrize("name", BUDGETS)
async def test_main_document_takes_so_many_statements(name: str, small: Workspace) -> None:
    operation, budget = BUDGETS[name]
    none_known, _ = await ask(small, operation, n=100)
    await ask(small, operation, is_known=True, n=100)
    all_known, _ = await ask(small, operation, is_known=True, n=100)
    assert (none_known, all_known) == budget


@pytest.mark.parametrize("operation", [*LISTS.values(), *(operation for operation, _ in BUDGETS.values())])
async def test_no_statement_is_made_anew(operation: str, small: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """To write one with SQLAlchemy, and to compile it, takes longer than to run it."""
    made: list[Any] = []

    class Noted(statements.Prepared):
        def __init__(self, statement: Any) -> None:
            made.append(statement)
            super().__init__(statement)

    monkeypatch.setattr(statements, "Prepared", Noted)
    await ask(small, operation, n=3)
    made.clear()
    await ask(small, operation, n=5)
    assert not made, str(made[0])
