"""Completing values by their type, all values of a field and level at once.

A column is a list of values that one field has for all parents of a level. Where the type is an object's, all objects
of the column are one level below, be they in lists or not, and start through their plan together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

from schema.execution.leaves import Uncovered
from schema.execution.run import Run

NO_OBJECT = id(None)


class Shape(Protocol):
    """A type, with what is selected from it."""

    def complete(self, column: Sequence[Any], run: Run) -> Sequence[Any]:
        """What stands in the answer for each value. Objects may have entries that `run` fills in later."""


class Fields(Protocol):
    """What is selected from the objects of one type: schema.execution.plan.ObjectPlan."""

    def start(self, parents: Sequence[Any], run: Run) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Nullable:
    """A type without `!`."""

    inner: Shape

    def complete(self, column: Sequence[Any], run: Run) -> Sequence[Any]:
        there = [value for value in column if value is not None]
        if len(there) == len(column):
            return self.inner.complete(column, run)
        if not there:
            return column
        done = iter(self.inner.complete(there, run))
        return [None if value is None else next(done) for value in column]


@dataclass(frozen=True, slots=True)
class Leaves:
    """Scalars and enums. `one` takes care of null, too."""

    one: Callable[[Any], Any]

    def complete(self, column: Sequence[Any], run: Run) -> Sequence[Any]:  # noqa: ARG002 - Shape's
        return list(map(self.one, column))


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists of anything, lists too."""

    inner: Shape

    def complete(self, column: Sequence[Any], run: Run) -> Sequence[Any]:
        lists = [value if value.__class__ is list else _as_list(value) for value in column]
        done = self.inner.complete(list(chain.from_iterable(lists)), run)
        if len(lists) == 1:
            return [done]
        rest = iter(done)
        return [list(islice(rest, len(each))) for each in lists]


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects of one type. One that stands in several places is worked out once: all that is selected is its own."""

    plan: Fields

    def complete(self, column: Sequence[Any], run: Run) -> Sequence[Any]:
        distinct = dict(zip(map(id, column), column, strict=True))
        if NO_OBJECT in distinct:
            raise Uncovered("null for an object")
        if len(distinct) == len(column):
            return self.plan.start(column, run)
        done = dict(zip(distinct, self.plan.start(list(distinct.values()), run), strict=True))
        return list(map(done.__getitem__, map(id, column)))


@dataclass(frozen=True, slots=True)
class Abstract:
    """Objects of the types of an interface or a union, each type by its own plan."""

    typename: Callable[[Any], Any]
    plans: Mapping[str, Fields]

    def complete(self, column: Sequence[Any], run: Run) -> Sequence[Any]:
        if any(value is None for value in column):
            raise Uncovered("null for an object")
        names = [self.typename(value) for value in column]
        done = {}
        for name in dict.fromkeys(names):
            plan = self.plans.get(name) if isinstance(name, str) else None
            if plan is None:
                raise Uncovered("a type that is not known beforehand")
            own = [value for value, of in zip(column, names, strict=True) if of == name]
            done[name] = iter(plan.start(own, run))
        return [next(done[name]) for name in names]


def _as_list(value: Any) -> list[Any]:
    if value is None:
        raise Uncovered("null for a list")
    return list(value)
