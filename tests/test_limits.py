"""What a document may ask for. The database is down here: what is not UNAVAILABLE was answered before any SQL."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import (
    OperationDefinitionNode,
    get_introspection_query,
    get_named_type,
    is_introspection_type,
    is_leaf_type,
    is_object_type,
    parse,
    validate,
)

from app.auth import LocalIssuer
from app.main import create_app
from app.settings import Settings
from schema.limits.cost import LIST_LENGTHS, answer_cost, is_page
from schema.limits.prices import is_list
from schema.root import schema
from tests.served import UNREACHABLE

CORE = schema._schema  # noqa: SLF001 - graphql-core's schema has no public name
INTROSPECTION = get_introspection_query(
    specified_by_url=True,
    directive_is_repeatable=True,
    schema_description=True,
    input_value_deprecation=True,
    one_of=True,
)


@pytest.fixture(scope="module")
async def alice(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    data_dir: Path = tmp_path_factory.mktemp("parley")
    app = create_app(Settings(data_dir=data_dir), UNREACHABLE)
    headers = {
        "authorization": "Bearer " + LocalIssuer(data_dir).issue("alice"),
        "accept": "application/graphql-response+json",
    }
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://parley.test", headers=headers) as client,
    ):
        yield client


async def send(alice: httpx.AsyncClient, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = await alice.post("/graphql", json={"query": query, "variables": variables})
    body: dict[str, Any] = answer.json()
    return body


async def refusal(alice: httpx.AsyncClient, query: str, variables: dict[str, Any] | None = None) -> tuple[str, str]:
    """Code and message of the one error of a request that was not executed."""
    body = await send(alice, query, variables)
    [error] = body["errors"]
    assert "data" not in body
    return error["extensions"]["code"], error["message"]


def fields(count: int, field: str) -> str:
    return " ".join(field.replace("#", str(number)) for number in range(count))


def chained_fragments(count: int, *, spreads: int = 1) -> str:
    chain = [f"fragment F{number} on Query {{ {f'...F{number + 1} ' * spreads} }}" for number in range(count)]
    return f"{{ ...F0 }} {' '.join(chain)} fragment F{count} on Query {{ __typename }}"


DEEP_FRAGMENTS = """
{ channel(id: 1) { ...A } }
fragment A on Channel { messages { nodes { channel { ...B } } } }
fragment B on Channel { messages { nodes { channel { ...C } } } }
fragment C on Channel { messages { nodes { channel { messages { nodes { channel { messages { nodes { channel
  { owner { id } } } } } } } } } } }
"""
GUESS = 'a#: joinChannelByCode(joinCode: "#") { errors { code } }'
JOIN = 'a#: joinChannel(channelId: "#") { channel { id } errors { code message } }'
JOINS = (
    f"fragment A on Mutation {{ {fields(6, JOIN)} }} fragment B on Mutation {{ {fields(6, JOIN.replace('a#', 'b#'))} }}"
)
DEEP = "channel(id: 1) { messages { edges { node { " * 15 + "id" + " } } } }" * 15
PAGES = (
    "{ channels(first: 100) { nodes { messages(first: 100) { nodes { replyChain(first: 100) { nodes { id } } } } } } }"
)

REFUSED: dict[str, tuple[str, str, str]] = {
    "depth": (f"{{ {DEEP} }}", "QUERY_TOO_COSTLY", "Depth of the document: 61; the limit is 15"),
    "depth by fragments": (
        DEEP_FRAGMENTS,
        "QUERY_TOO_COSTLY",
        "Depth of the document: 18",
    ),
    "nesting the parser refuses": ("{ channel(id: 1) " + "{ channel " * 250, "QUERY_TOO_COSTLY", "nested too deeply"),
    "aliases": (
        f"{{ {fields(101, 'a#: __typename')} }}",
        "QUERY_TOO_COSTLY",
        "Aliases in the document: 101; the limit is 30",
    ),
    "aliased guesses": (
        f"mutation {{ {fields(101, GUESS)} }}",
        "QUERY_TOO_COSTLY",
        "Aliases in the document: 101",
    ),
    "mutations": (
        f"mutation {{ {fields(11, JOIN)} }}",
        "QUERY_TOO_COSTLY",
        "Mutations in one operation: 11; the limit is 10",
    ),
    "mutations by fragments": (
        f"mutation {{ ...A ...B }} {JOINS}",
        "QUERY_TOO_COSTLY",
        "Mutations in one operation: 12",
    ),
    "repeated field": (
        f"{{ {'__typename ' * 500} }}",
        "QUERY_TOO_COSTLY",
        "Repeats of one field in one place: 500; the limit is 10",
    ),
    "conflicting fields": (
        f"{{ {fields(500, 'x: user(id: #) { id }')} }}",
        "QUERY_TOO_COSTLY",
        "more than 2000 tokens",
    ),
    "conflicts within the tokens": (f"{{ {fields(150, 'user(id: #) { id }')} }}", "QUERY_TOO_COSTLY", "Repeats"),
    "conflicts between fragments": (
        "{"
        + fields(50, "...F#")
        + "}"
        + fields(50, "fragment F# on Query { channel(id: 1) { id name owner { id name } } }"),
        "QUERY_TOO_COSTLY",
        "Too many fields of the same name",
    ),
    "1,000 directives": (f"{{ __typename {'@aa ' * 1000} }}", "QUERY_TOO_COSTLY", "more than 2000 tokens"),
    "11 directives": (
        f"{{ __typename {'@aa ' * 11} }}",
        "QUERY_TOO_COSTLY",
        "Directives in one place: 11; the limit is 10",
    ),
    "10 directives": (f"{{ __typename {'@aa ' * 10} }}", "VALIDATION_FAILED", "Unknown directive '@aa'"),
    "directives everywhere": (
        "{ user(id: 1) {"
        + "".join(f"... @a @b {{ {name} @c }} " for name in ("id", "name", "bio", "isActive") * 5)
        + "} }",
        "QUERY_TOO_COSTLY",
        "Directives in the document: 60; the limit is 50",
    ),
    "selections": (f"{{ {fields(501, 'f#')} }}", "QUERY_TOO_COSTLY", "Selected fields: 501; the limit is 500"),
    "tokens": (f"{{ user(id: 1) {{ {fields(2000, 'f#')} }} }}", "QUERY_TOO_COSTLY", "more than 2000 tokens"),
    "comments": ("#\n" * 3000 + "{ __typename }", "QUERY_TOO_COSTLY", "more than 2000 tokens"),
    "length": ('{ user(id: "' + "a" * 33_000 + '") { id } }', "QUERY_TOO_COSTLY", "more than 32768 code points"),
    "3,000 fragments": (chained_fragments(3_000), "QUERY_TOO_COSTLY", "Parsing aborted"),
    "100 fragments": (
        chained_fragments(100),
        "QUERY_TOO_COSTLY",
        "Operations and fragments in the document: 102; the limit is 60",
    ),
    "exponential fragments": (chained_fragments(50, spreads=2), "QUERY_TOO_COSTLY", "Selected fields: "),
    "fragment cycle": (
        "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
        "VALIDATION_FAILED",
        "spreads itself, directly or through others",
    ),
    "cycle in unused fragments": ("{ __typename } fragment A on Query { ...A }", "VALIDATION_FAILED", "spreads itself"),
    "pages in pages": (PAGES, "QUERY_TOO_COSTLY", "Cost of the answer at its largest: 1,210,100; the limit is 16,000"),
    "pages of nodes": (
        "{ nodes(ids: [" + '"x",' * 100 + "]) { ... on Channel { messages(last: 100) { nodes { author { id } } } } } }",
        "QUERY_TOO_COSTLY",
        "Cost of the answer at its largest: 22,100",
    ),
    "500 events with many contents": (
        '{ eventsSince(after: ["x"], first: 500) { events { ... on MessageEvent { message { '
        + fields(7, "a#: content")
        + " } } } } }",
        "QUERY_TOO_COSTLY",
        "Cost of the answer at its largest: 18,500; the limit is 16,000",
    ),
    "too many events": (
        '{ eventsSince(after: ["x"], first: 501) { hasMore } }',
        "BAD_REQUEST",
        "'first' of 'eventsSince' is 501, but must be from 0 to 500",
    ),
    "negative page": ("{ channels(first: -1) { nodes { id } } }", "BAD_REQUEST", "'first' of 'channels' is -1"),
    "huge page": ("{ users(first: 2147483647) { nodes { id } } }", "BAD_REQUEST", "must be from 0 to 100"),
    "huge page inside": (
        "{ channels(first: 1) { nodes { messages(last: 1000) { nodes { id } } } } }",
        "BAD_REQUEST",
        "'last' of 'messages' is 1,000",
    ),
    "circular introspection": (
        "{ __schema { types { " + "fields { type { " * 5 + "name" + " } }" * 5 + " } } }",
        "QUERY_TOO_COSTLY",
        "Maximum introspection depth exceeded",
    ),
    "deep introspection": (
        "{ __schema { types {" + " ofType {" * 100 + " name" + " }" * 100 + " } } }",
        "QUERY_TOO_COSTLY",
        "Depth of the introspection: 103; the limit is 20",
    ),
    "introspection many times": (
        f"{{ {fields(30, 'a#: __schema { types { fields { args { name } } } }')} }}",
        "QUERY_TOO_COSTLY",
        "Cost of the answer at its largest: ",
    ),
    "contents under many names": (
        "{ nodes(ids: [" + '"x",' * 100 + "]) { ... on Channel { messages(last: 10) { nodes {"
        f"{fields(10, 'a#: content')} }} }} }} }} }}",
        "QUERY_TOO_COSTLY",
        "Cost of the answer at its largest: 51,100; the limit is 16,000",
    ),
    "leaves under many names": (
        "{ channels(first: 100) { nodes { messages(last: 40) { nodes { " + fields(30, "a#: revision") + " } } } } }",
        "QUERY_TOO_COSTLY",
        "Cost of the answer at its largest: 16,100",
    ),
    "long aliases": (
        f"{{ {'a' * 65}: __typename }}",
        "QUERY_TOO_COSTLY",
        "Characters in an alias: 65; the limit is 64",
    ),
}


@pytest.mark.parametrize("query, code, message", REFUSED.values(), ids=REFUSED)
async def test_what_is_too_much_is_refused_before_it_costs(
    alice: httpx.AsyncClient, query: str, code: str, message: str
) -> None:
    fastest = float("inf")
    for _ in range(3):
        started = time.process_time()
        found, text = await refusal(alice, query)
        fastest = min(fastest, time.process_time() - started)
        assert found == code
        assert message in text
    # 50 ms on a machine that does nothing else. The event loop stands still for everybody meanwhile.
    assert fastest < 0.1


TIMELINE = """
query Start($channels: Int!, $members: Int = 20) {
  viewer {
    user { ...Person }
    channels(first: $channels) {
      edges { node { id name isPrivate viewerCan { post invite } last: messages(last: 1) { edges { node { ...Line } } }
        members(first: $members) { nodes { role user { ...Person } } } } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
fragment Person on User { __typename id name picture }
fragment Line on Message { __typename id seq content createdAt author { ...Person } }
"""
CHANNEL = """
query Channel($id: ID!, $last: Int, $before: String) {
  channel(id: $id) {
    id name description owner { ...Person }
    messages(last: $last, before: $before) {
      edges { cursor node { ...Line replyCount parent { ...Line } reactions { ...Count } } }
      pageInfo { hasPreviousPage startCursor }
    }
  }
}
fragment Person on User { __typename id name picture }
fragment Line on Message { __typename id seq content createdAt author { ...Person } }
fragment Count on ReactionGroup { count viewerHasReacted reaction { id code imageUrl } }
"""
REACTED = """
query Reacted($id: ID!) {
  channel(id: $id) {
    __typename id
    messages(last: 100) {
      __typename
      edges { __typename node { __typename id content createdAt author { __typename id name } replyCount
        reactions { __typename count reaction { __typename id code } } } }
    }
  }
}
"""
COMPONENTS = (
    "{ channels(first: 20) { nodes { id messages(last: 20) { nodes { __typename id "
    + fields(25, "...C#")
    + " } } } } }"
    + fields(25, " fragment C# on Message { __typename id content author { __typename id name } }")
)
TYPED_CHANNEL = CHANNEL.replace("edges {", "edges { __typename").replace("eaction {", "eaction { __typename")
EVENTS = """
query Missed($after: [EventCursor!]!) {
  eventsSince(after: $after, first: 500) {
    cursor hasMore resyncRequired
    events {
      __typename id type stream cursor at channelId actor { ...Person }
      ... on MessageEvent { message { ...Line deletedAt revision replyCount parent { id } } }
      ... on ReactionEvent { message { id reactions { count reaction { code } } } reaction { code } user { ...Person } }
      ... on ChannelEvent { channel { ...Room } changedFields }
      ... on ChannelPrivacyEvent { channel { ...Room } wasPrivate isPrivate }
      ... on MemberEvent { channel { ...Room } user { ...Person } role previousRole }
      ... on UserEvent { user { ...Person } }
      ... on CatalogueEvent { reaction { id code } }
    }
  }
}
fragment Person on User { id name }
fragment Line on Message { id seq content createdAt author { ...Person } }
fragment Room on Channel { id name isPrivate archivedAt }
"""
DEEPEST = (
    "{ viewer { channels(first: 2) { edges { node { messages(last: 5) { edges { node { reactions { users(first: 5) "
    "{ edges { node { id } } } } } } } } } } } }"
)
ALLOWED: dict[str, tuple[str, dict[str, Any]]] = {
    "100 channels with last messages and members": (TIMELINE, {"channels": 100}),
    "100 messages with reactions": (REACTED, {"id": "x"}),
    "a page with all of reactions and parents": (CHANNEL, {"id": "x"}),
    "the same with type names": (TYPED_CHANNEL, {"id": "x"}),
    "25 components that share fields": (COMPONENTS, {}),
    "the deepest": (DEEPEST, {}),
    "500 events of all kinds": (EVENTS, {"after": ["x"]}),
    "an empty page": ("{ channels(first: 0) { nodes { messages { nodes { id } } } } }", {}),
    "100 nodes": (
        "query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Message { content author { id name } } } }",
        {"ids": ["x"] * 100},
    ),
    "10 mutations": (
        f"mutation {{ {fields(10, JOIN)} }}",
        {},
    ),
}


@pytest.mark.parametrize("query, variables", ALLOWED.values(), ids=ALLOWED)
async def test_what_clients_need_is_allowed(alice: httpx.AsyncClient, query: str, variables: dict[str, Any]) -> None:
    body = await send(alice, query, variables)
    assert {error["extensions"]["code"] for error in body["errors"]} == {"UNAVAILABLE"}


async def test_the_standard_introspection_is_allowed(alice: httpx.AsyncClient) -> None:
    body = await send(alice, INTROSPECTION)
    assert "errors" not in body
    assert len(body["data"]["__schema"]["types"]) > 50


@pytest.mark.parametrize(
    "sizes, allowed",
    [
        ({"channels": 100, "members": 20}, True),
        ({"channels": 100}, True),  # members by the variable's default
        ({"channels": 100, "members": None}, False),  # null: by the default page, 50
        ({"channels": 100, "members": 100}, False),
        ({"channels": 100.0, "members": 60}, False),
        ({"channels": 10, "members": 100}, True),
    ],
)
async def test_the_cost_counts_the_variables(alice: httpx.AsyncClient, sizes: dict[str, Any], allowed: bool) -> None:
    body = await send(alice, TIMELINE, sizes)
    expected = "UNAVAILABLE" if allowed else "QUERY_TOO_COSTLY"
    assert [error["extensions"]["code"] for error in body["errors"]] == [expected]


@pytest.mark.parametrize("size", [-1, 101, 2**31 - 1, 2**31, 1e30])
async def test_a_page_size_in_a_variable_is_checked(alice: httpx.AsyncClient, size: float) -> None:
    code, _ = await refusal(alice, "query ($n: Int) { channels(first: $n) { nodes { id } } }", {"n": size})
    assert code == "BAD_REQUEST"


@pytest.mark.parametrize("value", ["50", True, [1], {"a": 1}, 1.5])
async def test_a_page_size_that_is_no_integer_is_a_bad_request(alice: httpx.AsyncClient, value: Any) -> None:
    code, message = await refusal(alice, "query ($n: Int) { channels(first: $n) { nodes { id } } }", {"n": value})
    assert code == "BAD_REQUEST"
    assert message.startswith("Variable '$n'")


async def test_a_remembered_document_is_limited_like_a_new_one(alice: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await send(alice, TIMELINE, {"channels": 1}))["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
        assert (await refusal(alice, TIMELINE, {"channels": 100, "members": 100}))[0] == "QUERY_TOO_COSTLY"
        assert (await refusal(alice, TIMELINE, {"channels": None}))[0] == "BAD_REQUEST"


async def test_nodes_and_edges_cost_the_same(alice: httpx.AsyncClient) -> None:
    by_nodes = "{ channels(first: 100) { nodes { messages(first: 100) { nodes { content } } } } }"
    by_edges = (
        by_nodes.replace("nodes { content }", "edges { node { content } }").replace("nodes {", "edges { node {") + " }"
    )
    texts = {(await refusal(alice, query))[1] for query in (by_nodes, by_edges)}
    assert len(texts) == 1


ADD = "mutation ($ids: [ID!]!) { addMembers(channelId: 1, userIds: $ids) { members { user { bio } } } }"


@pytest.mark.parametrize(
    "query, variables, cost",
    [
        (ADD, {"ids": ["x"] * 100}, 301),
        (ADD, {"ids": ["x"] * 3}, 10),
        (ADD.replace("$ids)", '["x", "y"])').replace(" ($ids: [ID!]!)", ""), {}, 7),
        (ADD, {"ids": "x"}, 301),  # the most there can be
        (ADD.replace("members { user { bio } }", "errors { message }"), {"ids": ["x"] * 100}, 3),
        ("{ message(id: 1) { reactions { count } } }", {}, 7),
        ("{ message(id: 1) { reactions { reaction { kind } } } }", {}, 17),
        ("{ message(id: 1) { content a: content seq } }", {}, 12),
        ("{ message(id: 1) { content ...A } } fragment A on Message { content }", {}, 6),
        ("{ viewer { user { bio picture __typename } } }", {}, 5),
        ("{ channel(id: 1) { messages(last: 10) { nodes { replyCount } } } }", {}, 19),
        ("{ channel(id: 1) { messages(last: 10) { nodes { createdAt } pageInfo { hasNextPage } } } }", {}, 14),
        ('{ eventsSince(after: ["x", "y"]) { events { type } cursor } }', {}, 111),
        ('{ eventsSince(after: ["x"], first: null) { events { type } cursor } }', {}, 111),
        ('query ($n: Int) { eventsSince(after: ["x"], first: $n) { events { type } hasMore } }', {"n": 10}, 12),
        ("{ __schema { types { name description } } }", {}, len(CORE.type_map)),
    ],
)
def test_every_field_has_its_price(query: str, variables: dict[str, Any], cost: int) -> None:
    document = parse(query)
    assert validate(CORE, document) == []
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    assert answer_cost(CORE, document, operation, variables) == cost


def test_the_most_that_a_list_can_hold_is_known() -> None:
    """Pages and ids aside, which say it themselves."""
    unbounded = {
        name
        for type_ in CORE.type_map.values()
        if is_object_type(type_) and not is_introspection_type(type_) and not is_page(type_.name)
        for name, field in type_.fields.items()
        if is_list(field) and not is_leaf_type(get_named_type(field.type)) and not field.args
    }
    assert unbounded == LIST_LENGTHS.keys()
