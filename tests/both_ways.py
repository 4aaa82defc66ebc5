"""One request answered by its plan, and by the reference executor."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from strawberry.types.graphql import OperationType

from app.auth import Claims
from app.limits import JoinCodeGuard
from schema.context import Context, Services
from schema.execution.encode import encode_result
from schema.execution.execute import Answer, execute
from schema.execution.tally import answered
from schema.root import schema
from schema.transport.request import GraphQLRequest
from tests.conftest import Person
from tests.documents import create_channel, reply, send
from tests.writer import Written

ALLOWED = (OperationType.QUERY, OperationType.MUTATION)
ERROR_ID = re.compile(rb',"errorId":"\w+"')


@dataclass
class Viewers:
    """`claims` by name; nobody has no token."""

    services: Services
    claims: Mapping[str, Claims | None]

    def context(self, viewer: str) -> Context:
        """Every context has its own limit of join codes: what is compared is not how often one may try."""
        return Context(replace(self.services, join_codes=JoinCodeGuard()), self.claims[viewer], None)

    async def by_plan(self, viewer: str, request: Written) -> tuple[bytes, dict[str, int]]:
        """The answer of the executor, and how it came about."""
        async with self.context(viewer) as context:
            return await by_plan(context, request)

    async def by_reference(self, viewer: str, request: Written) -> bytes:
        async with self.context(viewer) as context:
            return await by_reference(context, request)

    async def ask(self, viewer: str, text: str, /, **variables: Any) -> tuple[dict[str, Any], dict[str, int]]:
        """What both answer, and how the executor did it."""
        request = Written(text, variables or None)
        found, how = await self.by_plan(viewer, request)
        assert ERROR_ID.sub(b"", found) == ERROR_ID.sub(b"", await self.by_reference(viewer, request))
        return orjson.loads(found), how

    async def planned(self, viewer: str, text: str, /, **variables: Any) -> Any:
        """The data that both answer, the executor by plan alone."""
        found, how = await self.ask(viewer, text, **variables)
        assert "errors" not in found, found
        assert how == {"plan": 1}
        return found["data"]


async def by_plan(context: Context, request: Written) -> tuple[bytes, dict[str, int]]:
    before = answered.copy()
    given = GraphQLRequest(request.text, request.operation_name, request.variables)
    answer = await execute(schema, given, context, ALLOWED)
    return encoded(answer), dict(answered - before)


async def by_reference(context: Context, request: Written) -> bytes:
    context.release()
    result: Any = await schema.execute(
        request.text,
        variable_values=request.variables,
        context_value=context,
        operation_name=request.operation_name,
        allowed_operation_types=ALLOWED,
    )
    return encoded(result)


def is_failed(answer: bytes) -> bool:
    """Whether there are errors beside the data."""
    return "errors" in orjson.loads(answer)


def encoded(answer: Answer) -> bytes:
    return answer if isinstance(answer, bytes) else encode_result(answer.data, answer.errors)


async def viewers_of(services: Services, *people: Person) -> Viewers:
    verified = {person.name: await services.authenticator.verify(person.token) for person in people}
    return Viewers(services, {**verified, "nobody": None})


@pytest.fixture(name="viewers")
async def viewers_of_all(app: Starlette, alice: Person, bob: Person, carol: Person, root: Person) -> Viewers:
    return await viewers_of(app.state.services, alice, bob, carol, root)


@pytest.fixture(name="hall")
async def channel_called_hall(alice: Person, bob: Person) -> str:
    return await create_channel(alice, "hall", members=(bob,))


@pytest.fixture(name="messages")
async def messages_in_hall(alice: Person, bob: Person, hall: str) -> list[str]:
    """A message of alice's, bob's answer, hers to that, and another one of bob's."""
    top = await send(alice, hall)
    answer = await reply(bob, top)
    return [top, answer, await reply(alice, answer), await send(bob, hall)]


def codes(found: Mapping[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in found["errors"]]
