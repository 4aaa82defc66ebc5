"""What every mutation answers with: its object, the expected failures as data, and the cursor of its event."""

import functools
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import strawberry

from app.errors import AppError, ErrorCode, RateLimited, RequestError
from schema.context import Info
from schema.enums import described
from schema.scalars import EventCursor

ERROR_DESCRIPTIONS = {
    ErrorCode.INVALID_INPUT: "The input breaks a rule; the message says which.",
    ErrorCode.NOT_FOUND: "Not there, or not visible to you: the two are never told apart.",
    ErrorCode.FORBIDDEN: "Visible to you, but not yours to do.",
    ErrorCode.RATE_LIMITED: "Too many tries; `retryAfterMs` says when the next can succeed.",
    ErrorCode.KEY_REUSED: "The client key was used before, with other input.",
    ErrorCode.NAME_TAKEN: "A public channel has this name already.",
    ErrorCode.CHANNEL_ARCHIVED: "The channel is archived, and so read-only.",
    ErrorCode.DM_MUST_BE_PRIVATE: "A direct message cannot become public.",
    ErrorCode.DM_MEMBERSHIP_FIXED: "The people of a direct message, and their roles, do not change.",
    ErrorCode.INVALID_JOIN_CODE: "No channel has this join code (any more).",
    ErrorCode.JOIN_CODE_NOT_ALLOWED: "Only private channels that are no direct messages have join codes.",
    ErrorCode.NOT_MEMBER: "You, or the user you name, are not a member of the channel.",
    ErrorCode.LAST_OWNER: "A channel keeps an owner: hand it over first.",
    ErrorCode.ROLE_TOO_LOW: "Your role in the channel does not allow this.",
    ErrorCode.USER_INACTIVE: "The user you name is deactivated.",
    ErrorCode.REPLY_EXISTS: "The message has its one direct reply already; the payload carries it.",
    ErrorCode.PARENT_DELETED: "The message that you answer was deleted.",
    ErrorCode.PARENT_IN_OTHER_CHANNEL: "The message that you answer is in another channel.",
    ErrorCode.MESSAGE_TOO_LONG: "The text is longer than `serverInfo.maxMessageLength`.",
    ErrorCode.MESSAGE_DELETED: "The message was deleted.",
    ErrorCode.EDIT_CONFLICT: "The message was edited since the revision that you expected.",
    ErrorCode.REACTION_UNKNOWN: "The catalogue has no such reaction.",
    ErrorCode.REACTION_CODE_TAKEN: "The catalogue has a reaction with this code already.",
    ErrorCode.SYSTEM_REACTION_IMMUTABLE: "The system's own reactions cannot be changed.",
    ErrorCode.FILE_TOO_LARGE: "The file is larger than `serverInfo.maxFileSizeBytes`.",
    ErrorCode.FILE_TYPE_NOT_ALLOWED: "The content is of a type that is not in `serverInfo.allowedFileTypes`.",
    ErrorCode.FILE_TYPE_MISMATCH: "The content is not of the type that the name or the upload says.",
    ErrorCode.FILE_EMPTY: "The file has no content.",
    ErrorCode.STORAGE_UNAVAILABLE: "The storage of files does not answer. Everything else works; try again later.",
}

described(ErrorCode, "Why a mutation did not do what it was asked. More codes may be added.", ERROR_DESCRIPTIONS)


@strawberry.type(description="An expected failure.")
class UserError:
    """An AppError as data."""

    code: ErrorCode = strawberry.field(description="For programs.")
    message: str = strawberry.field(description="For people.")
    field: list[str] | None = strawberry.field(description="Where in the input, for forms.", default=None)
    retry_after_ms: int | None = strawberry.field(description="With RATE_LIMITED: milliseconds to wait.", default=None)


@strawberry.interface(description="What every mutation answers with.")
class Payload:
    """A failed mutation has `errors`, nothing else, and has written nothing."""

    errors: list[UserError] = strawberry.field(description="Empty if it was done.", default_factory=list)
    cursor: EventCursor | None = strawberry.field(
        description="The position of the event that was written; null if nothing changed. "
        "A stream that has passed it has delivered the change.",
        default=None,
    )


@strawberry.type(description="What was deleted.")
class DeletedPayload(Payload):
    """Only the id remains."""

    deleted_id: strawberry.ID | None = strawberry.field(description="The id of what is gone.", default=None)


P = TypeVar("P", bound=Payload)


def mutation(description: str, payload: type[P]) -> Callable[[Callable[..., Awaitable[P]]], Any]:
    """A mutation whose expected failures become the payload's `errors`."""

    def decorate(resolver: Callable[..., Awaitable[P]]) -> Any:
        @functools.wraps(resolver)
        async def resolve(self: Any, info: Info, **arguments: Any) -> P:
            await info.context.actor()
            await info.context.renew()  # the payload reads what was written, not the snapshot that knew the user
            try:
                return await resolver(self, info, **arguments)
            except RequestError:
                raise
            except AppError as error:
                return failed(payload, error)

        return strawberry.mutation(resolver=resolve, description=description)

    return decorate


def failed(payload: type[P], error: AppError, **extra: Any) -> P:
    return payload(errors=[user_error(error)], **extra)


def user_error(error: AppError) -> UserError:
    retry_after_ms = error.retry_after_ms if isinstance(error, RateLimited) else None
    return UserError(
        code=ErrorCode(error.code), message=error.message, field=error.field, retry_after_ms=retry_after_ms
    )


def argument(description: str) -> Any:
    return strawberry.argument(description=description)


ChannelId = Annotated[strawberry.ID, argument("The channel.")]
UserId = Annotated[strawberry.ID, argument("The user.")]
UserIds = Annotated[list[strawberry.ID], argument("The users.")]
MessageId = Annotated[strawberry.ID, argument("The message.")]
FileId = Annotated[strawberry.ID, argument("The file.")]


def given(source: Any, *names: str) -> dict[str, Any]:
    """The fields of an input that the client wrote down, null or not."""
    values = {name: getattr(source, name) for name in names}
    return {name: value for name, value in values.items() if value is not strawberry.UNSET}
