"""The custom scalars; each names its specification."""

from datetime import UTC, datetime
from typing import NewType, NoReturn

import orjson
import strawberry
from graphql import ValueNode
from strawberry.types.scalar import ScalarDefinition

from app.storage import Incoming

Upload = NewType("Upload", Incoming)
URL = NewType("URL", str)
EventCursor = NewType("EventCursor", str)

HOW_TO_UPLOAD = (
    "A file cannot be a value in the document or in JSON. Send the request as multipart/form-data, with the file in a "
    "part of its own: https://github.com/jaydenseric/graphql-multipart-request-spec"
)


def write_time(value: datetime) -> str:
    """RFC 3339 in UTC with exactly three fractional digits, as the DateTime specification wants it."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    if value.microsecond:
        return f"{orjson.dumps(value)[1:24].decode()}Z"  # a third of what isoformat takes
    return value.isoformat(timespec="milliseconds")[:23] + "Z"


def read_time(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("A DateTime needs an offset, such as 'Z'.")
    return moment


def read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("It must be a text.")  # noqa: TRY004 - as read_upload
    return value


def read_upload(value: object) -> Incoming:
    """Only the transport makes an Incoming, from a part of a form: whatever else is there came as JSON."""
    if not isinstance(value, Incoming):
        raise ValueError(HOW_TO_UPLOAD)  # noqa: TRY004 - a wrong value of the client's, as those of the other scalars
    return value


def refuse_literal(_node: ValueNode, _variables: object = None) -> NoReturn:
    raise ValueError(HOW_TO_UPLOAD)


def refuse_output(_value: object) -> NoReturn:
    raise TypeError("An Upload is only ever an input.")


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="A moment, in RFC 3339 with milliseconds: 2026-11-23T15:04:05.000Z.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=write_time,
        parse_value=read_time,
    ),
    Upload: strawberry.scalar(
        name="Upload",
        description="A file: the variable is null, and a part of a multipart/form-data request takes its place.",
        specified_by_url="https://github.com/jaydenseric/graphql-multipart-request-spec",
        serialize=refuse_output,
        parse_value=read_upload,
        parse_literal=refuse_literal,
    ),
    URL: strawberry.scalar(
        name="URL",
        description="An absolute https address.",
        specified_by_url="https://url.spec.whatwg.org/",
        serialize=str,
        parse_value=read_text,
    ),
    EventCursor: strawberry.scalar(
        name="EventCursor",
        description="An opaque position in one event stream (a channel's, or the viewer's own) or in several at once.",
        serialize=str,
        parse_value=read_text,
    ),
}
