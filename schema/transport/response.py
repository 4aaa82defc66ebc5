"""From a result to bytes and a status. Three regimes, by media type: see docs/http.md for the reasons."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import orjson
from graphql import GraphQLError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from schema.errors import TopLevelCode, settle_exception
from schema.execution.encode import encode_result
from schema.execution.execute import Answer
from schema.transport import sse
from schema.transport.accept import EVENT_STREAM, JSON

# What an intermediary should see although the operation ran and its answer is `data: null`.
SERVICE_STATUSES: Mapping[str, int] = {
    TopLevelCode.UNAUTHENTICATED: 401,
    TopLevelCode.TOKEN_EXPIRED: 401,
    TopLevelCode.USER_INACTIVE: 403,
    TopLevelCode.RATE_LIMITED: 429,
    TopLevelCode.UNAVAILABLE: 503,
    TopLevelCode.INTERNAL: 500,
}
# Answers depend on who asks and on the moment: no cache may keep them, be it the browser's own disk.
COMMON_HEADERS = {
    "Cache-Control": "no-store",
    "Vary": "Accept, Authorization",
    "X-Content-Type-Options": "nosniff",
}
UNAVAILABLE_RETRY_SECONDS = 1


class Encoded:
    """A good answer. Starlette's Response would work out the same headers each time."""

    __slots__ = ("_body", "_media_type")

    def __init__(self, body: bytes, media_type: str) -> None:
        self._body = body
        self._media_type = media_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        length = (b"content-length", b"%d" % len(self._body))
        headers = [length, *_raw_headers(self._media_type)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


def respond_result(result: Answer, media_type: str) -> Response | Encoded:
    if isinstance(result, bytes):
        return Encoded(sse.event(result) + sse.COMPLETE if media_type == EVENT_STREAM else result, media_type)
    if media_type == EVENT_STREAM:
        # Always 200: graphql-sse repeats what gets another status, and a mutation may have been done.
        body = sse.event(encode_result(result.data, result.errors)) + sse.COMPLETE
        return _response(200, body, media_type)
    errors = result.errors or []
    # An error that belongs to no field was found before execution: then there is no `data` entry, not even null.
    executed = result.data is not None or not errors or any(error.path is not None for error in errors)
    payload: dict[str, Any] = {"data": result.data} if executed else {}
    if errors:
        payload["errors"] = [error.formatted for error in errors]
    try:
        body = orjson.dumps(payload)
    except orjson.JSONEncodeError as error:
        return respond_errors([settle_exception(error)], media_type)
    if media_type == JSON or result.data is not None or not errors:
        return _response(200, body, media_type)
    return _response(_status(errors, 200 if executed else 400), body, media_type, _advice(errors))


def respond_errors(
    errors: Sequence[GraphQLError], media_type: str, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """A request that never became an operation: the status tells it in both media types of JSON."""
    if media_type == EVENT_STREAM:
        media_type = JSON
    body = orjson.dumps({"errors": [error.formatted for error in errors]})
    return _response(status or _status(errors, 400), body, media_type, {**_advice(errors), **(headers or {})})


def is_service_error(errors: Sequence[GraphQLError]) -> bool:
    """Whether the operation as such may be good: another time, or for somebody else, it could be answered."""
    return _status(errors, 0) != 0


def _response(status: int, body: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        body, status, headers={**COMMON_HEADERS, **(headers or {}), "Content-Type": _content_type(media_type)}
    )


def _content_type(media_type: str) -> str:
    return f"{media_type}; charset=utf-8"


@cache
def _raw_headers(media_type: str) -> tuple[tuple[bytes, bytes], ...]:
    """As ASGI wants them; there are three media types."""
    headers = {**COMMON_HEADERS, "Content-Type": _content_type(media_type)}
    return tuple((name.lower().encode(), value.encode()) for name, value in headers.items())


def _status(errors: Sequence[GraphQLError], otherwise: int) -> int:
    codes = [(error.extensions or {}).get("code", "") for error in errors]
    return next((SERVICE_STATUSES[code] for code in codes if code in SERVICE_STATUSES), otherwise)


def _advice(errors: Sequence[GraphQLError]) -> dict[str, str]:
    """The header that HTTP wants beside a status (RFC 6750, section 3; RFC 9110, section 10.2.3)."""
    for error in errors:
        extensions = error.extensions or {}
        match extensions.get("code"):
            case TopLevelCode.UNAUTHENTICATED | TopLevelCode.TOKEN_EXPIRED:
                return {"WWW-Authenticate": "Bearer"}
            case TopLevelCode.RATE_LIMITED:
                return {"Retry-After": str(math.ceil(extensions.get("retryAfterMs", 1000) / 1000))}
            case TopLevelCode.UNAVAILABLE:
                return {"Retry-After": str(UNAVAILABLE_RETRY_SECONDS)}
    return {}
