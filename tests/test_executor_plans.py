"""What plans remember: nothing of one request may show in the answer of another. And no mutation is done twice."""

import asyncio
from itertools import permutations
from typing import Any

import orjson
import pytest
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.types.graphql import OperationType

from app.db import Database
from app.errors import BadRequest
from app.limits import JoinCodeGuard
from schema.execution.execute import execute
from schema.execution.leaves import Uncovered
from schema.execution.run import Run
from schema.root import schema
from schema.transport.request import GraphQLRequest
from tests import documents as doc
from tests.both_ways import Viewers, by_plan, channel_called_hall, codes, messages_in_hall, viewers_of_all  # noqa: F401 - fixtures
from tests.documents import select
from tests.writer import Written


async def test_switches_of_one_document(viewers: Viewers, hall: str, messages: list[str]) -> None:
    """Each order of values: what the first request compiled must not show in the second's answer."""
    for number, order in enumerate(permutations((True, False, "absent", "null"))):
        text = f"""query ($id: ID!, $v: Boolean = {"true" if number % 2 else "false"}) {{ # {number}
            channel(id: $id) {{ id name @include(if: $v) ...part @skip(if: $v) messages(first: 1) @include(if: $v) {{
                nodes {{ content @include(if: $v) }} }} }}
        }} fragment part on Channel {{ description }}"""
        for value in order:
            given = {} if value == "absent" else {"v": None if value == "null" else value}
            found, _ = await viewers.ask("bob", text, id=hall, **given)
            if value == "null":
                assert codes(found)
                continue
            is_on = bool(number % 2) if value == "absent" else value
            assert [*found["data"]["channel"]] == (["id", "name", "messages"] if is_on else ["id", "description"])
    assert messages


async def test_a_null_switch_where_nothing_is_selected(viewers: Viewers) -> None:
    document = 'query ($v: Boolean = true) { node(id: "") { ... on User { name @skip(if: $v) } } }'
    found, _ = await viewers.ask("bob", document, v=None)
    assert found == {"data": {"node": None}}


async def test_defaults_nulls_and_nothing(viewers: Viewers, hall: str, messages: list[str]) -> None:
    document = """query ($id: ID!, $first: Int = 1, $archived: Boolean = true) {
        channel(id: $id) { messages(first: $first) { nodes { id } } }
        channels(first: 2, archived: $archived) { nodes { id } }
    }"""
    for given in ({}, {"first": None}, {"first": 2}, {"first": 3.0}, {"archived": None}, {"archived": False}, {}):
        data = await viewers.planned("alice", document, id=hall, **given)
        size = given.get("first", 1)
        assert len(data["channel"]["messages"]["nodes"]) == min(len(messages), 50 if size is None else size)
        assert len(data["channels"]["nodes"]) == (0 if given.get("archived", True) else 1)


@pytest.mark.parametrize("first", [2**31, -(2**31) - 1, 2**100, 1.5, "2", True, [1], {}, -1, 101])
async def test_sizes_that_are_none(viewers: Viewers, first: Any) -> None:
    found, _ = await viewers.ask("alice", "query ($first: Int) { users(first: $first) { nodes { id } } }", first=first)
    if first != [1]:
        assert codes(found) == ["BAD_REQUEST"]


async def test_a_cost_is_not_remembered_for_other_variables(viewers: Viewers) -> None:
    document = (
        """query ($n: Int = 100) { channels(first: 40) { nodes { messages(first: $n) { nodes { content } } } } }"""
    )
    for given, expected in (
        ({"n": "50"}, "BAD_REQUEST"),
        ({"n": {}}, "BAD_REQUEST"),
        ({}, "QUERY_TOO_COSTLY"),
        ({"n": 2}, None),
        ({}, "QUERY_TOO_COSTLY"),
        ({"n": 100}, "QUERY_TOO_COSTLY"),
        ({"n": None}, None),
    ):
        found, _ = await viewers.ask("alice", document, **given)
        assert (codes(found) if expected else found.get("errors")) == ([expected] if expected else None), given


async def test_costs_are_remembered_by_declared_variables_alone(viewers: Viewers) -> None:
    text = "query ($first: Int) { users(first: $first) { pageInfo { hasNextPage } } }"
    for number in range(3):
        await viewers.planned("bob", text, first=5, **{f"unknown{number}": number})
    document = schema.documents.get(text)
    assert document is not None
    assert len(document.costs) == 1


async def test_introspection_and_names_of_types(viewers: Viewers) -> None:
    assert await viewers.planned("nobody", "{ __typename a: __typename serverInfo { __typename } }")
    for document in ("{ __schema { types { name } } viewer { cursor } }", '{ __type(name: "User") { name } }'):
        found, how = await viewers.ask("bob", document)
        assert "errors" not in found
        assert how == {"introspection": 1}


async def test_operations_of_one_document(viewers: Viewers) -> None:
    text = "query A { viewer { user { name } } } query B { viewer { user { id } } } mutation C { __typename }"
    for name, expected in (("A", ["name"]), ("B", ["id"]), ("A", ["name"])):
        found, how = await viewers.by_plan("bob", Written(text, None, name))
        assert [*orjson.loads(found)["data"]["viewer"]["user"]] == expected
        assert how == {"plan": 1}
        assert found == await viewers.by_reference("bob", Written(text, None, name))
    for nameless in (None, "D"):
        found, how = await viewers.by_plan("bob", Written(text, None, nameless))
        assert codes(orjson.loads(found)) == ["BAD_REQUEST"]
        assert how == {}


async def test_everybody_at_the_same_time(viewers: Viewers, messages: list[str]) -> None:
    """One plan serves them all."""
    document = (
        "query ($id: ID!) { viewer { user { name email } } message(id: $id) { clientKey content author { email } } }"
    )
    names = ["alice", "bob", "carol", "root", "nobody"] * 4
    asked = [(name, Written(document, {"id": messages[number % 4]})) for number, name in enumerate(names)]
    found = await asyncio.gather(*(viewers.by_plan(*each) for each in asked))
    for each, (answer, _) in zip(asked, found, strict=True):
        assert answer == await viewers.by_reference(*each)


async def test_a_mutation_where_none_is_allowed(viewers: Viewers, database: Database, hall: str) -> None:
    before = await doc.snapshot(database)
    text = f'mutation {{ sendMessage(input: {{channelId: "{hall}", content: "hi"}}) {{ cursor }} }}'
    async with viewers.context("alice") as context:
        with pytest.raises(InvalidOperationTypeError):
            await execute(schema, GraphQLRequest(text, None, None), context, (OperationType.QUERY,))
    assert await doc.snapshot(database) == before


@pytest.mark.parametrize("first", [1, 2])
async def test_several_mutations_of_which_one_is_not_covered(
    viewers: Viewers, database: Database, hall: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`first` is at which of them the plan gives up."""
    sent = " ".join(
        f'm{number}: sendMessage(input: {{channelId: "{hall}", content: "{number}"}}) {{ message {{ content }} }}'
        for number in range(3)
    )
    calls: list[Run] = []
    finish = Run.finish

    async def give_up(run: Run) -> None:
        calls.append(run)
        if len(calls) == first:
            raise Uncovered("for the test")
        await finish(run)

    monkeypatch.setattr(Run, "finish", give_up)
    found, how = await viewers.by_plan("alice", Written(f"mutation {{ {sent} }}"))
    assert how == {"for the test": 1}
    assert orjson.loads(found)["data"] == {f"m{number}": {"message": {"content": str(number)}} for number in range(3)}
    rows = await select(database, "SELECT content FROM messages ORDER BY seq")
    assert [row.content for row in rows] == ["0", "1", "2"]


async def test_a_failed_mutation_is_not_tried_again(
    viewers: Viewers, hall: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Any] = []

    async def fail(*given: Any, **_: Any) -> Any:
        tries.append(given)
        raise BadRequest("Not now.")

    monkeypatch.setattr("schema.messages.send_message", fail)
    text = f'mutation {{ a: sendMessage(input: {{channelId: "{hall}", content: "hi"}}) {{ cursor }} __typename }}'
    async with viewers.context("alice") as context:
        found, how = await by_plan(context, Written(text))
    assert codes(orjson.loads(found)) == ["BAD_REQUEST"]
    assert how == {"BadRequest": 1}
    assert len(tries) == 1


async def test_a_try_of_a_join_code_counts_once(
    viewers: Viewers, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[Any] = []
    check = JoinCodeGuard.check

    def counted(self: JoinCodeGuard, *given: Any) -> None:
        checks.append(given)
        check(self, *given)

    monkeypatch.setattr(JoinCodeGuard, "check", counted)
    text = f"""{{ channelByJoinCode(joinCode: "wrong") {{ name }}
        message(id: "{messages[0]}") {{ replyChain(first: 1, after: "nonsense") {{ nodes {{ id }} }} }} }}"""
    found, _ = await viewers.by_plan("bob", Written(text))
    assert codes(orjson.loads(found)) == ["CURSOR_INVALID"]
    assert len(checks) == 1
