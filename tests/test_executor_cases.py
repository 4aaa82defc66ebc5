"""The executor where it must not be wrong: nulls that reach far, errors, odd leaves, and rows in several places."""

from typing import Any

import pytest

from app.errors import BadRequest
from schema.context import Context
from tests import documents as doc
from tests.both_ways import Viewers, by_plan, channel_called_hall, codes, messages_in_hall, viewers_of_all  # noqa: F401 - fixtures
from tests.conftest import Person

TIMELINE = """query ($id: ID!) { channel(id: $id) {
    name messages(last: 5) { edges { node { id content } } nodes { seq author { name } } }
} }"""
NODES = "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id ... on Message { author { name } replyCount } } }"


async def test_null_where_none_may_be_reaches_as_far_as_it_does_by_the_reference(
    viewers: Viewers, hall: str, messages: list[str], bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Context.users

    async def without_bob(*given: Any) -> Any:
        return {key: row for key, row in (await find(*given)).items() if key != doc.number(bob.id)}

    monkeypatch.setattr(Context, "users", without_bob)
    found, how = await viewers.ask("alice", TIMELINE, id=hall)
    assert found["data"] == {"channel": None}
    assert codes(found) == ["INTERNAL"] * len(found["errors"])
    assert how == {"null for an object": 1}
    # Here it ends at the item of a list.
    found, how = await viewers.ask("alice", NODES, ids=messages)
    assert [node is None for node in found["data"]["nodes"]] == [False, True, False, True]
    assert [error["path"] for error in found["errors"]] == [["nodes", 1, "author"], ["nodes", 3, "author"]]
    assert how == {"null for an object": 1}
    # What nobody asks for is not missed.
    await viewers.planned("alice", "query ($id: ID!) { message(id: $id) { content } }", id=messages[1])


@pytest.mark.parametrize(
    "count, shown",
    [(2**31 - 1, 2**31 - 1), (-5, -5), (2**31, None), ("3", 3), (3.0, 3), (0.5, None), (True, 1), (None, None)],
)
async def test_a_leaf_of_another_kind(
    viewers: Viewers, messages: list[str], count: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def counts(_reader: Any, rows: Any) -> dict[int, Any]:
        return {row.id: count for row in rows}

    monkeypatch.setattr("schema.messages.chain_lengths", counts)
    found, how = await viewers.ask("bob", NODES, ids=messages[:1])
    (node,) = found["data"]["nodes"]
    assert node == (None if shown is None else {**node, "replyCount": shown})
    assert ("errors" in found) == (shown is None)
    assert (how == {"plan": 1}) == (type(count) is int and shown is not None)


@pytest.mark.parametrize("wrong", [[], [None] * 9])
async def test_a_batch_of_another_length(
    viewers: Viewers, messages: list[str], wrong: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schema.messages.in_order", lambda *_: wrong)
    found, how = await viewers.ask("bob", NODES, ids=messages)
    assert found["data"] == {"nodes": [None] * 4}
    assert set(codes(found)) == {"INTERNAL"}
    assert how == {"a batch of another length": 1}


async def test_an_expected_failure_of_a_batch(
    viewers: Viewers, hall: str, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> Any:
        raise BadRequest("No authors today.")

    monkeypatch.setattr(Context, "users", fail)
    found, how = await viewers.ask("alice", TIMELINE, id=hall)
    assert found["data"] == {"channel": None}
    assert set(codes(found)) == {"BAD_REQUEST"}
    assert how == {"BadRequest": 1}
    assert messages


@pytest.mark.parametrize(
    "bad",
    ['after: "nonsense"', "first: 1, last: 1", 'after: "", first: 2', 'around: "", after: ""', 'before: "\\u0000"'],
)
async def test_errors_have_the_paths_of_aliases(viewers: Viewers, hall: str, bad: str) -> None:
    document = f"""query ($id: ID!) {{
        one: channel(id: $id) {{ good: messages(first: 2) {{ nodes {{ id }} }} bad: messages({bad}) {{ __typename }} }}
        two: channel(id: $id) {{ name }}
    }}"""
    found, how = await viewers.ask("bob", document, id=hall)
    assert found["data"] == {"one": None, "two": {"name": "hall"}}
    assert [error["path"] for error in found["errors"]] == [["one", "bad"]]
    assert "plan" not in how


async def test_what_the_database_refuses_is_told_as_such(viewers: Viewers) -> None:
    found, _ = await viewers.ask("bob", r'{ users(nameContains: "\u0000") { nodes { id } } }')
    assert codes(found) == ["BAD_REQUEST"]
    found, _ = await viewers.ask(
        "bob", r'{ a: reactions(codeContains: "\u0000", first: 1) { nodes { id } } viewer { cursor } }'
    )
    assert "INTERNAL" not in codes(found)


async def test_one_row_in_several_places(viewers: Viewers, alice: Person, messages: list[str]) -> None:
    document = """query ($id: ID!) {
        message(id: $id) {
            author { name } reply { author { id } reply { author { bio isActive } channel { owner { createdAt } } } }
            channel { messages(first: 4) { nodes { author { ...both } } edges { node { author { id x: bio } } } } }
            reactions { reaction { id } }
        }
        again: message(id: $id) { author { id } ...same ...same2 }
        viewer { user { name email } }
    }
    fragment both on User { presence } fragment same on Message { author { name id } channel { id } }
    fragment same2 on Message { author { bio } channel { name owner { id } } }"""
    data = await viewers.planned("alice", document, id=messages[0])
    assert data["again"] == {
        "author": {"id": alice.id, "name": "alice", "bio": None},
        "channel": {"id": data["again"]["channel"]["id"], "name": "hall", "owner": {"id": alice.id}},
    }
    assert [*data["again"]["author"]] == ["id", "name", "bio"]
    assert data["message"]["channel"]["messages"]["nodes"][0] == {"author": {"presence": "OFFLINE"}}


async def test_each_type_of_an_interface_has_its_own_selection(
    viewers: Viewers, alice: Person, hall: str, messages: list[str]
) -> None:
    document = """query ($ids: [ID!]!) { nodes(ids: $ids) {
        ... on User { x: bio other: name }
        ... on Channel { x: description members(first: 1) { nodes { ... on Node { id } } } }
        ... on Message { y: seq } ... on Node { __typename ... on Channel { id } }
    } }"""
    data = await viewers.planned("bob", document, ids=[alice.id, messages[0], hall, "nothing", alice.id])
    shapes = [node and [*node] for node in data["nodes"]]
    assert shapes == [
        ["x", "other", "__typename"],
        ["y", "__typename"],
        ["x", "members", "__typename", "id"],
        None,
        shapes[0],
    ]
