"""One run of a plan: the batch functions that are waiting to be called, level by level."""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, TypeAlias

from graphql.execution.values import VariableValues

from schema.context import Context
from schema.execution.leaves import Uncovered

Batch: TypeAlias = Callable[..., Awaitable[Sequence[Any]]]
Fill: TypeAlias = Callable[[Sequence[Any]], None]


class Run:
    """Stands in for Strawberry's Info with the batch functions, which use the context alone."""

    __slots__ = ("_wanted", "context", "variables")

    def __init__(self, context: Context, variables: VariableValues) -> None:
        self.context = context
        self.variables = variables
        self._wanted: dict[tuple[Batch, Hashable], list[tuple[Sequence[Any], Fill]]] = {}

    def want(self, batch: Batch, arguments: Hashable, parents: Sequence[Any], fill: Fill) -> None:
        """Have `fill` called with the values for these parents before the run is over.

        Whoever wants the same of other parents meanwhile, be it for another type, is served by the same call.
        """
        self._wanted.setdefault((batch, arguments), []).append((parents, fill))

    async def finish(self) -> None:
        while self._wanted:
            level, self._wanted = self._wanted, {}
            # One after the other: they read through one connection, so at the same time none would be sooner.
            for (batch, arguments), requests in level.items():
                parents = [parent for some, _ in requests for parent in some] if len(requests) > 1 else requests[0][0]
                values = await batch(parents, arguments, self)
                if len(values) != len(parents):
                    raise Uncovered("a batch of another length")
                start = 0
                for some, fill in requests:
                    fill(values[start : start + len(some)] if len(requests) > 1 else values)
                    start += len(some)
