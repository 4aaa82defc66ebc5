"""From any failure to what a client is told: a sentence for people, and `extensions.code` out of a closed list.

The errors of a result are settled in place (`settle_errors`) by the schema itself, so that every transport can send
`error.formatted` as it is.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from graphql import GraphQLError, GraphQLSyntaxError

from app.db import ReaderClosed
from app.errors import AppError, RateLimited, Unavailable
from schema import faults


class TopLevelCode(StrEnum):
    """Every `extensions.code` there is. Expected failures of mutations are no errors of this kind: they are data."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - an error code
    USER_INACTIVE = "USER_INACTIVE"
    BAD_REQUEST = "BAD_REQUEST"
    FILE_TOO_LARGE = "FILE_TOO_LARGE"
    PARSE_FAILED = "PARSE_FAILED"
    VALIDATION_FAILED = "VALIDATION_FAILED"
    QUERY_TOO_COSTLY = "QUERY_TOO_COSTLY"
    PERSISTED_DOCUMENT_REQUIRED = "PERSISTED_DOCUMENT_REQUIRED"
    PERSISTED_DOCUMENT_NOT_FOUND = "PERSISTED_DOCUMENT_NOT_FOUND"
    PERSISTED_DOCUMENT_MISMATCH = "PERSISTED_DOCUMENT_MISMATCH"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"  # automatic ones, in Apollo's word
    RATE_LIMITED = "RATE_LIMITED"
    CURSOR_INVALID = "CURSOR_INVALID"
    SUBSCRIPTION_LIMIT = "SUBSCRIPTION_LIMIT"
    NOT_FOUND = "NOT_FOUND"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


_CODES = frozenset(code.value for code in TopLevelCode)

INTERNAL_MESSAGE = "Internal error. The server's log has the details under this errorId."
OVER_TIME_MESSAGE = "This took too long. Ask for less, or try again later."
CLOSED_MESSAGE = "Another part of the request failed first."
TEXT_REFUSED = "A text contains a character that cannot be stored, such as NUL. Remove it and try again."
# PostgreSQL's code for text that has no place in a UTF-8 database.
_CHARACTER_NOT_IN_REPERTOIRE = "22021"
# A request error repeats itself: ten unknown directives are one mistake. More than five are read by nobody.
MAX_REQUEST_ERRORS = 5
# Messages of the GraphQL library quote what they were sent, be it 100 KB.
_MESSAGE_LIMIT = 500
_SUGGESTION = re.compile(r"\s*Did you mean [^?]*\?")


@dataclass(slots=True)
class _Logged:
    """What the log has of one operation: each passing failure once, each fault once and under which id."""

    passing: set[faults.Place] = field(default_factory=set)
    internal: dict[faults.Place, str] = field(default_factory=dict)


def coded(message: str, code: TopLevelCode, **details: object) -> GraphQLError:
    """A settled error that belongs to no field."""
    return GraphQLError(message, extensions={"code": code.value, **details})


def is_settled(error: GraphQLError) -> bool:
    return (error.extensions or {}).get("code") in _CODES


def settle_errors(errors: list[GraphQLError], *, operation: str | None, suggestions: bool) -> None:
    """Give every error its code and a text that may leave the server; log what is our own fault. In place."""
    logged = _Logged()
    for error in errors:
        if not is_settled(error):
            _settle(error, operation, logged)
        if not suggestions:
            error.message = _SUGGESTION.sub("", error.message)
        if len(error.message) > _MESSAGE_LIMIT:
            error.message = error.message[:_MESSAGE_LIMIT] + "…"
    if all(error.path is None for error in errors):
        first_of_each: dict[str, GraphQLError] = {}
        for error in errors:
            first_of_each.setdefault(error.message, error)
        errors[:] = list(first_of_each.values())[:MAX_REQUEST_ERRORS]


def settle_exception(error: Exception) -> GraphQLError:
    """The settled form of an exception that was raised outside of any field."""
    settled = GraphQLError(str(error), original_error=error)
    settle_errors([settled], operation=None, suggestions=False)
    return settled


def _settle(error: GraphQLError, operation: str | None, logged: _Logged) -> None:
    cause = _cause(error)
    if isinstance(cause, AppError):
        _settle_expected(error, cause)
    elif isinstance(cause, GraphQLSyntaxError):
        # "Parsing aborted.": the parser's limits of tokens and of nesting, which have no class of their own.
        aborted = cause.description.endswith("Parsing aborted.")
        _set(error, TopLevelCode.QUERY_TOO_COSTLY if aborted else TopLevelCode.PARSE_FAILED)
    elif isinstance(cause, GraphQLError) and (error.path is None or cause.message.startswith("Argument ")):
        # What is refused before any field runs: the variables, the operation's name. Likewise one field's argument.
        _set(error, TopLevelCode.BAD_REQUEST)
    elif isinstance(cause, ReaderClosed):
        # Of no consequence and not logged: the answer was complete, or failed by an error that is logged itself.
        _set(error, TopLevelCode.UNAVAILABLE, CLOSED_MESSAGE)
    elif faults.sqlstate(cause) == _CHARACTER_NOT_IN_REPERTOIRE:
        _set(error, TopLevelCode.BAD_REQUEST, TEXT_REFUSED)
    elif faults.is_passing(cause):
        place = faults.place(cause)
        if place not in logged.passing:
            logged.passing.add(place)
            faults.log_passing(cause)
        over_time = faults.is_over_time(cause)
        _set(error, TopLevelCode.UNAVAILABLE, OVER_TIME_MESSAGE if over_time else Unavailable().message)
    else:
        place = faults.place(cause)
        if place not in logged.internal:
            path = ".".join(str(key) for key in error.path or ())
            logged.internal[place] = faults.log_fault(cause, operation=operation, path=path)
        _set(error, TopLevelCode.INTERNAL, INTERNAL_MESSAGE, errorId=logged.internal[place])


def _cause(error: GraphQLError) -> Exception:
    """The exception that a resolver raised; the error itself (or the library's own below it) where none did."""
    cause: Exception = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        # The library wraps what a scalar says about a variable twice. That is no exception of ours.
        if error.path is None and cause is not error:
            return cause
        cause = cause.original_error
    return cause


def _settle_expected(error: GraphQLError, cause: AppError) -> None:
    # A code that only payloads have (FORBIDDEN, INVALID_INPUT, ...) can reach a query through a shared rule.
    code = TopLevelCode(cause.code) if cause.code in _CODES else TopLevelCode.BAD_REQUEST
    if isinstance(cause, RateLimited):
        _set(error, code, cause.message, retryAfterMs=cause.retry_after_ms)
        return
    _set(error, code, cause.message)


def _set(error: GraphQLError, code: TopLevelCode, message: str | None = None, **details: object) -> None:
    if message is not None:
        error.message = message
    error.extensions = {"code": code.value, **details}
