"""The custom scalars; each names its specification."""

from datetime import UTC, datetime
from typing import NewType

import strawberry
from strawberry.types.scalar import ScalarDefinition

URL = NewType("URL", str)
EventCursor = NewType("EventCursor", str)


def write_time(value: datetime) -> str:
    """RFC 3339 in UTC with exactly three fractional digits, as the DateTime specification wants it."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def read_time(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("A DateTime needs an offset, such as 'Z'.")
    return moment


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="A moment, in RFC 3339 with milliseconds: 2026-11-23T15:04:05.000Z.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=write_time,
        parse_value=read_time,
    ),
    URL: strawberry.scalar(
        name="URL",
        description="An absolute https address.",
        specified_by_url="https://url.spec.whatwg.org/",
        serialize=str,
        parse_value=str,
    ),
    EventCursor: strawberry.scalar(
        name="EventCursor",
        description="An opaque position in one event stream (a channel's, or the viewer's own) or in several at once.",
        serialize=str,
        parse_value=str,
    ),
}
