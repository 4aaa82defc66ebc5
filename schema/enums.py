"""Enums of the API over enums of the rules, so that a row's plain text is already the value."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar, cast

import strawberry

E = TypeVar("E", bound=Enum)


def described(enum: type[E], description: str, members: Mapping[E, str]) -> type[E]:
    """The enum as a GraphQL enum, with a description of itself and of each member."""
    wrapped: Any = strawberry.enum(enum, description=description)
    for value in wrapped.__strawberry_definition__.values:
        value.description = members[enum(value.value)]
    return cast("type[E]", wrapped)
