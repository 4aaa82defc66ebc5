"""The fields of an operation's root: resolved one by one, their results completed by plans."""

from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, TypeAlias

from graphql import FieldNode, GraphQLField, GraphQLObjectType, GraphQLResolveInfo, get_argument_values
from graphql.execution import Executor
from graphql.pyutils import Path

from schema.context import Context
from schema.execution.run import Run
from schema.execution.shapes import Shape


@dataclass(frozen=True, slots=True)
class Typename:
    """`__typename` of the root."""

    key: str
    name: str

    async def answer(self, run: Run) -> Any:  # noqa: ARG002 - as a field's
        return self.name


@dataclass(frozen=True, slots=True)
class RootField:
    """A field with a resolver, which gets what graphql-core would give it."""

    key: str
    field: GraphQLField
    nodes: list[FieldNode]
    parent: GraphQLObjectType
    executor: Executor[Any]  # of the first request with this plan: what is the same for all is read from it
    shape: Shape

    async def answer(self, run: Run) -> Any:
        answer = self.shape.complete([await self.resolve(run)], run)[0]
        await run.finish()
        return answer

    async def resolve(self, run: Run) -> Any:
        assert self.field.resolve is not None  # noqa: S101 - every root field of ours has a resolver
        arguments = get_argument_values(self.field, self.nodes[0], run.variables)
        value = self.field.resolve(None, self._info(run), **arguments)
        return await value if isawaitable(value) else value

    def _info(self, run: Run) -> GraphQLResolveInfo[Context]:
        executor = self.executor
        return GraphQLResolveInfo(
            self.nodes[0].name.value,
            self.nodes,
            self.field.type,
            self.parent,
            Path(None, self.key, self.parent.name),
            executor.schema,
            executor.fragment_definitions,
            None,
            executor.operation,
            run.variables,
            run.context,
            executor.is_awaitable,
            None,
            executor.async_helpers,
        )


Root: TypeAlias = Typename | RootField
