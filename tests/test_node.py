"""Any object by its global id: `node` and `nodes`."""

import pytest

from app.db import Database
from tests.conftest import Person
from tests.documents import (
    MEMBERS,
    NODE,
    create_channel,
    global_id,
    ids_of_nothing,
    number,
    open_dm,
    request_error,
    select,
    send,
)
from tests.uploads import upload

NODES = "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"
DETAILS = (
    "query ($ids: [ID!]!) { nodes(ids: $ids) { id "
    "... on User { name } ... on Channel { label: name } ... on Message { content } "
    "... on Reaction { code } ... on ChannelMember { role user { name } } } }"
)
TYPES = ["User", "Channel", "Message", "File", "Reaction", "ChannelMember"]


async def member_id(viewer: Person, channel: str) -> str:
    """The id of the first member of a channel."""
    found = await viewer.ask("query ($id: ID!) { channel(id: $id) { members { nodes { id } } } }", id=channel)
    return str(found["members"]["nodes"][0]["id"])


async def reaction_id(viewer: Person) -> str:
    found = await viewer.ask('{ reactions(codeContains: "tada") { nodes { id } } }')
    return str(found["nodes"][0]["id"])


async def one_of_each(person: Person, *, private: bool = False) -> dict[str, str]:
    channel = await create_channel(person, private=private)
    return {
        "User": person.id,
        "Channel": channel,
        "Message": await send(person, channel),
        "File": await upload(person, channel),
        "Reaction": await reaction_id(person),
        "ChannelMember": await member_id(person, channel),
    }


async def test_everything_with_an_id_is_found_by_it(alice: Person, bob: Person) -> None:
    for typename, id_ in (await one_of_each(alice)).items():
        assert await bob.ask(NODE, id=id_) == {"__typename": typename, "id": id_}


async def test_fields_of_the_types_can_be_selected(alice: Person) -> None:
    found = await one_of_each(alice)
    ids = [found[typename] for typename in ("Message", "Reaction", "User", "Channel")]
    assert await alice.ask(DETAILS, ids=ids) == [
        {"id": found["Message"], "content": "hello"},
        {"id": found["Reaction"], "code": "tada"},
        {"id": found["User"], "name": "alice"},
        {"id": found["Channel"], "label": "general"},
    ]


async def test_nodes_come_in_the_order_of_their_ids(alice: Person, bob: Person) -> None:
    ids = [bob.id, global_id("User:999999999"), alice.id, "", bob.id]
    found = await alice.ask(NODES, ids=ids)
    assert [node and node["id"] for node in found] == [bob.id, None, alice.id, None, bob.id]


async def test_at_most_100_nodes_at_once(alice: Person) -> None:
    assert await alice.ask(NODES, ids=[]) == []
    assert len(await alice.ask(NODES, ids=[alice.id] * 100)) == 100
    assert await request_error(alice, NODES, ids=[alice.id] * 101) == "BAD_REQUEST"


async def test_an_id_of_nothing_is_null(alice: Person) -> None:
    for typename in TYPES:
        strange = [id_ for id_ in ids_of_nothing(typename, alice) if id_ not in {alice.id, global_id("Reaction:1")}]
        assert await alice.ask(NODES, ids=strange) == [None] * len(strange)
        assert await alice.ask(NODE, id=strange[0]) is None


async def test_a_type_without_ids_is_no_node(alice: Person) -> None:
    for inside in ("Viewer:1", "Query:1", "ReactionGroup:1", "Node:1", "PageInfo:1", "__Type:1", "Mutation:1"):
        assert await alice.ask(NODE, id=global_id(inside)) is None


async def test_an_object_has_one_id(alice: Person) -> None:
    for other in (f"{alice.id}==", f" {alice.id}", f"{alice.id}\n", f"!{alice.id}", f"{alice.id}\x00"):
        assert await alice.ask(NODE, id=other) is None, other


async def test_a_number_is_an_id_of_nothing(alice: Person) -> None:
    assert await alice.ask(NODE, id=1) is None
    assert await alice.ask("{ node(id: 1) { id } }") is None
    for wrong in (1.5, True, None, ["x"], {"id": "x"}):
        assert await request_error(alice, NODE, id=wrong) == "BAD_REQUEST"


async def test_what_is_hidden_is_null(alice: Person, bob: Person, root: Person) -> None:
    channel = await create_channel(alice, private=True)
    dm = await open_dm(alice)
    hidden = [channel, await send(alice, channel), dm, await send(alice, dm)]
    for outsider in (bob, root):
        assert await outsider.ask(NODES, ids=hidden) == [None] * 4
    assert [node["id"] for node in await alice.ask(NODES, ids=hidden)] == hidden


async def test_a_hidden_membership_is_null(alice: Person, bob: Person) -> None:
    hidden = await member_id(alice, await create_channel(alice, private=True))
    shown = await member_id(alice, await create_channel(alice))
    assert await bob.ask(NODE, id=hidden) is None
    assert (await bob.ask(NODE, id=shown))["id"] == shown
    assert (await alice.ask(NODES, ids=[hidden, shown, hidden]))[2]["id"] == hidden


@pytest.mark.parametrize("count", [0, 1, 10])
async def test_the_number_of_nodes_does_not_change_the_number_of_statements(
    alice: Person, statements: list[str], count: int
) -> None:
    channel = await create_channel(alice)
    messages = [await send(alice, channel) for _ in range(count)]
    statements.clear()
    await alice.ask(NODES, ids=[channel, *messages])
    about_messages = [sql for sql in statements if "FROM messages" in sql]
    assert len(about_messages) == min(count, 1)


async def test_ids_say_nothing_but_type_and_number(alice: Person, database: Database) -> None:
    rows = await select(database, "SELECT id FROM users WHERE name = 'alice'")
    assert (alice.id, number(alice.id)) == (global_id(f"User:{rows[0].id}"), rows[0].id)
    assert await alice.ask(MEMBERS, id=alice.id) is None
