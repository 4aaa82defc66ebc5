"""Every failure a caller can cause, as one tree.

AppError
├── Invalid          the input breaks a rule (INVALID_INPUT, MESSAGE_TOO_LONG, ...)
├── NotFound         missing, or hidden from this caller: the two are never told apart
├── Forbidden        visible to the caller, but not allowed
├── Conflict         allowed, but the current state says no (REPLY_EXISTS, NAME_TAKEN, ...)
├── RateLimited      too many tries; carries when to come back
├── StorageUnavailable
└── RequestError     the whole request fails, as a top-level GraphQL error
    ├── Unauthenticated, TokenExpired, UserInactive
    ├── BadRequest, CursorInvalid
    └── Unavailable  the database (or another part) cannot be reached; a retry may succeed
"""

from collections.abc import Sequence
from enum import StrEnum


class ErrorCode(StrEnum):
    """Codes of expected failures; mutations return them as data."""

    INVALID_INPUT = "INVALID_INPUT"
    NOT_FOUND = "NOT_FOUND"
    FORBIDDEN = "FORBIDDEN"
    RATE_LIMITED = "RATE_LIMITED"
    KEY_REUSED = "KEY_REUSED"
    NAME_TAKEN = "NAME_TAKEN"
    CHANNEL_ARCHIVED = "CHANNEL_ARCHIVED"
    DM_MUST_BE_PRIVATE = "DM_MUST_BE_PRIVATE"
    DM_MEMBERSHIP_FIXED = "DM_MEMBERSHIP_FIXED"
    INVALID_JOIN_CODE = "INVALID_JOIN_CODE"
    JOIN_CODE_NOT_ALLOWED = "JOIN_CODE_NOT_ALLOWED"
    NOT_MEMBER = "NOT_MEMBER"
    LAST_OWNER = "LAST_OWNER"
    ROLE_TOO_LOW = "ROLE_TOO_LOW"
    USER_INACTIVE = "USER_INACTIVE"
    REPLY_EXISTS = "REPLY_EXISTS"
    PARENT_DELETED = "PARENT_DELETED"
    PARENT_IN_OTHER_CHANNEL = "PARENT_IN_OTHER_CHANNEL"
    MESSAGE_TOO_LONG = "MESSAGE_TOO_LONG"
    MESSAGE_DELETED = "MESSAGE_DELETED"
    EDIT_CONFLICT = "EDIT_CONFLICT"
    REACTION_UNKNOWN = "REACTION_UNKNOWN"
    REACTION_CODE_TAKEN = "REACTION_CODE_TAKEN"
    SYSTEM_REACTION_IMMUTABLE = "SYSTEM_REACTION_IMMUTABLE"
    FILE_TOO_LARGE = "FILE_TOO_LARGE"
    FILE_TYPE_NOT_ALLOWED = "FILE_TYPE_NOT_ALLOWED"
    FILE_TYPE_MISMATCH = "FILE_TYPE_MISMATCH"
    FILE_EMPTY = "FILE_EMPTY"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"


class AppError(Exception):
    """An expected failure: a stable `code` for programs, a `message` for people, the input `field` it is about."""

    def __init__(self, code: str, message: str, *, field: Sequence[str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = list(field) if field is not None else None


class Invalid(AppError):
    """The input breaks a rule that does not depend on anybody's rights."""

    def __init__(
        self, message: str, *, code: ErrorCode = ErrorCode.INVALID_INPUT, field: Sequence[str] | None = None
    ) -> None:
        super().__init__(code, message, field=field)


class NotFound(AppError):
    """Missing or hidden. The message names only the kind of thing, so that the two cases read the same."""

    def __init__(self, kind: str, *, field: Sequence[str] | None = None) -> None:
        super().__init__(ErrorCode.NOT_FOUND, f"There is no such {kind}, or you may not see it.", field=field)


class Forbidden(AppError):
    """The caller may see the thing, but not do this to it."""

    def __init__(
        self, message: str, *, code: ErrorCode = ErrorCode.FORBIDDEN, field: Sequence[str] | None = None
    ) -> None:
        super().__init__(code, message, field=field)


class Conflict(AppError):
    """Allowed and well-formed, but the current state does not permit it."""

    def __init__(self, code: ErrorCode, message: str, *, field: Sequence[str] | None = None) -> None:
        super().__init__(code, message, field=field)


class RateLimited(AppError):
    """Too many tries; `retry_after_ms` says when the next one can succeed."""

    def __init__(self, message: str, *, retry_after_ms: int) -> None:
        super().__init__(ErrorCode.RATE_LIMITED, message)
        self.retry_after_ms = retry_after_ms


class StorageUnavailable(AppError):
    """The storage of files does not answer, or not as it should. Everything else goes on."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STORAGE_UNAVAILABLE, "Files cannot be stored or read at the moment. Try again in a while."
        )


class RequestError(AppError):
    """The whole request fails. Never part of a payload."""


class Unauthenticated(RequestError):
    """No token where one is needed, or one that does not verify."""

    def __init__(self, message: str = "Send a valid access token: 'Authorization: Bearer <token>'.") -> None:
        super().__init__("UNAUTHENTICATED", message)


class TokenExpired(RequestError):
    """The token was good once; a fresh one will do."""

    def __init__(self) -> None:
        super().__init__("TOKEN_EXPIRED", "The access token has expired. Get a new one and send the request again.")


class UserInactive(RequestError):
    """A workspace admin has deactivated this user."""

    def __init__(self) -> None:
        super().__init__("USER_INACTIVE", "This user is deactivated. A workspace admin can activate it again.")


class BadRequest(RequestError):
    """The request as such is malformed."""

    def __init__(self, message: str) -> None:
        super().__init__("BAD_REQUEST", message)


class CursorInvalid(RequestError):
    """A cursor that this server did not make, or made for another list."""

    def __init__(self, argument: str, message: str | None = None) -> None:
        own = f"'{argument}' is not a cursor of this list. Start again without it."
        super().__init__("CURSOR_INVALID", message or own)


class Unavailable(RequestError):
    """A part of the server cannot be reached right now, or takes too long. A retry may succeed.

    A mutation may have been done all the same: its answer got lost. A client key makes the retry safe.
    """

    def __init__(self, message: str = "The server cannot reach its database. Try again shortly.") -> None:
        super().__init__("UNAVAILABLE", message)
