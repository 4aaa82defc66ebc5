"""The messages of graphql-transport-ws that clients send.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md: whatever is no such message closes the socket (4400).
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

MAX_ID_LENGTH = 128
BAD_MESSAGE = 4400


class Violation(Exception):
    """The socket is to be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ConnectionInit:
    """The first message; `payload` has the token."""

    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered by a pong with the same payload."""

    payload: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Pong:
    """Nothing to do."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Any operation, queries and mutations too. `payload` has members of the right types."""

    id: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Complete:
    """The client wants no more of this operation."""

    id: str


ClientMessage: TypeAlias = ConnectionInit | Ping | Pong | Subscribe | Complete


def read_message(text: str) -> ClientMessage:
    """Raises Violation."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Violation(BAD_MESSAGE, f"The message is not valid JSON: {error.msg}.") from None
    if not isinstance(message, dict):
        raise Violation(BAD_MESSAGE, f"A message must be a JSON object, not {_kind(message)}.")
    match message.get("type"):
        case "connection_init":
            return ConnectionInit(_object(message, "payload") or {})
        case "ping":
            return Ping(_object(message, "payload"))
        case "pong":
            _object(message, "payload")
            return Pong()
        case "subscribe":
            return Subscribe(_id(message), _operation(message))
        case "complete":
            return Complete(_id(message))
        case str() as other:
            raise Violation(BAD_MESSAGE, f"There is no message type '{other[:30]}'.")
        case _:
            raise Violation(BAD_MESSAGE, "A message must have a 'type', which is a text.")


def _id(message: dict[str, Any]) -> str:
    found = message.get("id")
    if not isinstance(found, str) or not 0 < len(found) <= MAX_ID_LENGTH:
        raise Violation(BAD_MESSAGE, f"'id' must be a text of 1 to {MAX_ID_LENGTH} characters.")
    return found


def _operation(message: dict[str, Any]) -> dict[str, Any]:
    payload = _object(message, "payload")
    if payload is None:
        raise Violation(BAD_MESSAGE, "A 'subscribe' must have a 'payload' with the 'query'.")
    extensions = _object(payload, "extensions") or {}
    _object(payload, "variables")
    for name in ("query", "documentId", "operationName"):
        if not isinstance(payload.get(name), str | None):
            raise Violation(BAD_MESSAGE, f"'{name}' must be a text, not {_kind(payload[name])}.")
    has_id = payload.get("documentId") is not None or extensions.get("persistedQuery") is not None
    if payload.get("query") is None and not has_id:
        raise Violation(BAD_MESSAGE, "The 'payload' must have a 'query', the GraphQL document as text.")
    return payload


def _object(source: dict[str, Any], name: str) -> dict[str, Any] | None:
    found = source.get(name)
    if not isinstance(found, dict | None):
        raise Violation(BAD_MESSAGE, f"'{name}' must be an object, not {_kind(found)}.")
    return found


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "an array"
        case _:
            return "an object"
