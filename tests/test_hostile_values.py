"""Every argument of every query and mutation, given what nobody sends by accident: never an internal error."""

import logging
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, get_named_type

from schema.root import schema
from tests.conftest import Person

HOSTILE: list[Any] = [
    *("", "\0", "a\0b", "x" * 100_000, "\u202e\U0010ffff", "%_\\", "' OR 1=1 --", "Ym9ndXM", "-1", "2" * 40),
    *(0, -1, 2**31 - 1, 2**31, 2**63, 2**64, 1e308, 0.5),
    *(None, True, [], {}, [None], [[]], ["x"] * 2000),
]
CORE = schema._schema  # noqa: SLF001 - graphql-core's schema has no public name
ROOTS = [
    (operation, name)
    for operation, type_ in (("query", CORE.query_type), ("mutation", CORE.mutation_type))
    if type_ is not None
    for name, field in type_.fields.items()
    if field.args
]


@pytest.fixture
async def known(alice: Person) -> dict[str, Any]:
    """Ids that lead somewhere, by the names of the arguments that take them."""
    made = await alice.ask('mutation { createChannel(input: { name: "target" }) { channel { id } errors { code } } }')
    channel = made["channel"]["id"]
    document = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } errors { code } } }"
    sent = await alice.ask(document, input={"channelId": channel, "content": "target"})
    message = sent["message"]["id"]
    viewer = await alice.ask("{ viewer { cursor } }")
    return {
        "cursor": viewer["cursor"],
        "channelId": channel,
        "messageId": message,
        "parentId": message,
        "userId": alice.id,
        "userIds": [alice.id],
        "memberIds": [alice.id],
        "ids": [channel, message],
        "code": "thumbsup",
    }


def plausible(name: str, type_: Any, known: dict[str, Any]) -> Any:
    """Something that gets past the other arguments, so that the one under attack is looked at."""
    named = get_named_type(type_)
    if isinstance(named, GraphQLInputObjectType):
        return {
            inner: plausible(inner, field.type, known)
            for inner, field in named.fields.items()
            if str(field.type).endswith("!") and field.default_value is None
        }
    if name in known:
        return known[name]
    values = {"ID": "x", "String": "text", "Boolean": True, "Int": 1, "EventCursor": known["cursor"]}
    return values.get(named.name) or next(iter(named.values))


def attacks(type_: Any, base: Any) -> list[Any]:
    """The whole argument replaced, or each field of its input object."""
    named = get_named_type(type_)
    if isinstance(named, GraphQLInputObjectType):
        return [*HOSTILE, *({**base, name: value} for name in named.fields for value in HOSTILE)]
    return HOSTILE + [[value] for value in HOSTILE] * ("[" in str(type_))


@pytest.mark.parametrize("operation, name", ROOTS, ids=[name for _, name in ROOTS])
async def test_no_value_is_an_internal_error(
    alice: Person, known: dict[str, Any], caplog: pytest.LogCaptureFixture, operation: str, name: str
) -> None:
    root = CORE.query_type if operation == "query" else CORE.mutation_type
    assert root is not None
    types = {argument: definition.type for argument, definition in root.fields[name].args.items()}
    head = ", ".join(f"${argument}: {type_}" for argument, type_ in types.items())
    body = ", ".join(f"{argument}: ${argument}" for argument in types)
    document = f"{operation} ({head}) {{ {name}({body}) {{ __typename }} }}"
    base = {argument: plausible(argument, type_, known) for argument, type_ in types.items()}
    assert "INTERNAL" not in str(await alice.send(document, **base))
    with caplog.at_level(logging.WARNING):
        for argument, type_ in types.items():
            for value in attacks(type_, base[argument]):
                answer = await alice.send(document, **{**base, argument: value})
                codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
                assert not {"INTERNAL", "UNAVAILABLE"} & codes, (argument, str(value)[:80], caplog.text)
    assert caplog.text == ""
