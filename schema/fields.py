"""The kinds of fields. A parent is a row (or a small object) whose attributes are named like the fields.

attribute   the parent's attribute of that name
leaf        a pure function of the parent
batched     everything that needs data beyond its own row: `async (parents, args, info) -> values`, one value per
parent, in order. graphql-core reaches it through a DataLoader; an executor that works level by level calls it as it
is.
streamed    a subscription: a start function makes it part of what is delivered.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from inspect import Parameter, Signature
from typing import Any, NamedTuple, get_type_hints

import strawberry
from strawberry.schema_directive import Location

from schema.context import Batch, Info


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="viewer",
    description=(
        "The value depends on who asks. A subscription that selects no such field is executed once per event, "
        "however many subscribers asked for it."
    ),
)
class ViewerDirective:
    """Marks a field as private to its viewer."""


class NoArguments(NamedTuple):
    """The arguments of a field that takes none."""


def attribute(description: str, *, viewer: bool = False) -> Any:
    return strawberry.field(description=description, directives=[ViewerDirective()] if viewer else [])


def query(description: str, *, once: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A root field that reads. With `once`, it also counts: it must not run again to complete one answer."""

    def decorate(resolver: Callable[..., Any]) -> Any:
        return strawberry.field(resolver=resolver, description=description, metadata={"once": once})

    return decorate


def leaf(function: Callable[[Any], Any], description: str) -> Any:
    def resolve(root: Any) -> Any:
        return function(root)

    del resolve.__annotations__["return"]  # the class's annotation is the type
    return strawberry.field(resolver=resolve, description=description, metadata={"leaf": function})


def batched(batch: Batch, description: str, *, arguments: type[Any] = NoArguments, viewer: bool = False) -> Any:
    """A field behind a batch function.

    `arguments` is a NamedTuple class: its fields become the field's arguments, an instance is what the function gets.
    """

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        return await info.context.load(batch, root, arguments(**given), info)

    _sign(resolve, arguments)
    return strawberry.field(
        resolver=resolve,
        description=description,
        directives=[ViewerDirective()] if viewer else [],
        metadata={"batch": batch, "arguments": arguments},
    )


def streamed(start: Callable[..., Any], description: str, *, arguments: type[Any], item: Any) -> Any:
    """A subscription whose results are `item`s.

    `start` gets the prepared operation, the session and the sink (schema/execution/subscribe.py). The generator is only
    how Strawberry learns of the field: results are made once for everybody, which a generator per subscriber cannot do.
    """

    async def stream(root: Any, info: Info, **given: Any) -> Any:  # noqa: ARG001 - the signature is Strawberry's
        raise RuntimeError("Subscriptions are started by schema.execution.subscribe.")
        yield  # type: ignore[unreachable]  # it makes this a generator

    _sign(stream, arguments)
    stream.__annotations__["return"] = AsyncGenerator[item, None]
    return strawberry.subscription(resolver=stream, description=description, metadata={"start": start})


def _sign(function: Any, arguments: type[Any]) -> None:
    """Give the function the signature that Strawberry reads: the fields of a NamedTuple class as keywords."""
    hints = get_type_hints(arguments, include_extras=True)
    defaults = arguments._field_defaults
    parameters = [
        Parameter("root", Parameter.POSITIONAL_OR_KEYWORD, annotation=Any),
        Parameter("info", Parameter.POSITIONAL_OR_KEYWORD, annotation=Info),
        *(
            Parameter(name, Parameter.KEYWORD_ONLY, default=defaults.get(name, Parameter.empty), annotation=hints[name])
            for name in arguments._fields
        ),
    ]
    function.__signature__ = Signature(parameters)
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def in_order(found: dict[Any, Any], keys: Sequence[Any]) -> list[Any]:
    """One value per key, None where there is none."""
    return list(map(found.get, keys))
