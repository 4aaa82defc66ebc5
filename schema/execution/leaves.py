"""Leaf values: expressions for generated code, and the same as functions.

Each passes on what it knows to be right as it is, in the common case without a call. Anything else, and null where none
may be, raises Uncovered: what that is in GraphQL's terms is for the reference executor to say.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from graphql import GraphQLEnumType, GraphQLOutputType, get_named_type, is_non_null_type

from schema.scalars import write_time

# What the server itself sends as text, and never as anything else.
TEXTS = frozenset({"String", "ID", "URL", "EventCursor"})
# GraphQL's Int, section 3.5.1 of its specification.
LEAST, MOST = -(2**31), 2**31 - 1
CHECKS = {
    **dict.fromkeys(TEXTS, "v.__class__ is str or isinstance(v, str)"),
    "Boolean": "v is True or v is False",
    "Int": f"v.__class__ is int and {LEAST} <= v <= {MOST}",
}


class Uncovered(Exception):
    """The plan does not say what to do here. No failure yet: the reference executor answers."""


def uncovered(value: Any) -> Any:
    raise Uncovered(f"a {type(value).__name__} as a leaf")


def time(value: Any) -> str:
    return write_time(value) if isinstance(value, datetime) else uncovered(value)


class Names(dict[Any, str]):
    """The names of an enum's values, by whatever stands for them."""

    def __init__(self, type_: GraphQLEnumType) -> None:
        super().__init__()
        self._type = type_

    def __missing__(self, value: Any) -> str:
        found: str = self._type.serialize(value)
        self[value] = found
        return found


def expression(type_: GraphQLOutputType, source: str, names: dict[str, Any]) -> str:
    """Python for what stands in the answer for the value of the expression `source`; `names` gets what it refers to."""
    nullable = not is_non_null_type(type_)
    leaf: Any = get_named_type(type_)
    names["uncovered"] = uncovered
    if leaf.name in CHECKS:
        null = "v is None or " if nullable else ""
        check = CHECKS[leaf.name].replace("v", f"(v := {source})", 1) if not nullable else CHECKS[leaf.name]
        first = null.replace("v", f"(v := {source})", 1)
        return f"(v if {first}{check} else uncovered(v))"
    if leaf.name == "DateTime":
        names.update(time=time, write_time=write_time, datetime=datetime)
        call = "(write_time(v) if (v := {}).__class__ is datetime else time(v))"
    elif isinstance(leaf, GraphQLEnumType):
        name = f"names_of_{leaf.name}"
        names[name] = Names(leaf)
        call = f"{name}[{{}}]"
    else:
        raise Uncovered(f"the scalar {leaf.name}")
    return f"(None if (v := {source}) is None else {call.format('v')})" if nullable else call.format(source)


def function(type_: GraphQLOutputType) -> Callable[[Any], Any]:
    """The same as a function of the value."""
    names: dict[str, Any] = {}
    code = f"lambda given: {expression(type_, 'given', names)}"
    return cast("Callable[[Any], Any]", eval(code, names))  # noqa: S307 - made of the above, and of the schema's names
