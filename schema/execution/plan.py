"""What is asked of the objects of one type, made ready to run for many objects at a time."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from schema.execution.run import Batch, Run
from schema.execution.shapes import Shape


@dataclass(frozen=True, slots=True)
class Inner:
    """A field whose value the parent has: an object or a list."""

    key: str
    get: Callable[[Any], Any]
    shape: Shape

    def start(self, parents: Sequence[Any], answers: Sequence[dict[str, Any]], run: Run) -> None:
        values = self.shape.complete(list(map(self.get, parents)), run)
        for answer, value in zip(answers, values, strict=True):
            answer[self.key] = value


@dataclass(frozen=True, slots=True)
class Batched:
    """A field behind a batch function, which is called once per level."""

    key: str
    batch: Batch
    arguments: Callable[[Run], Hashable]
    shape: Shape

    def start(self, parents: Sequence[Any], answers: Sequence[dict[str, Any]], run: Run) -> None:
        def fill(values: Sequence[Any]) -> None:
            for answer, value in zip(answers, self.shape.complete(values, run), strict=True):
                answer[self.key] = value

        run.want(self.batch, self.arguments(run), parents, fill)


@dataclass(frozen=True, slots=True)
class ObjectPlan:
    """`build` makes each object's answer, with its leaves and the places of all other fields, in order."""

    build: Callable[[Sequence[Any]], list[dict[str, Any]]]
    children: tuple[Inner | Batched, ...]

    def start(self, parents: Sequence[Any], run: Run) -> list[dict[str, Any]]:
        """The answers, of which some entries come when `run` has been finished."""
        answers = self.build(parents)
        if parents:
            for child in self.children:
                child.start(parents, answers, run)
        return answers
