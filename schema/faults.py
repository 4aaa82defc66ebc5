"""What went wrong inside the server: which failures a retry may cure, and what the log may say about the others."""

import logging
import traceback
from uuid import uuid4

from sqlalchemy import exc as sql

logger = logging.getLogger("parley.errors")

# SQLSTATE classes (PostgreSQL manual, appendix A) that another try may not meet: connection lost, deadlock and
# serialization, resources exhausted, operator intervention (a shutdown; 57014: a statement over its timeout). 55P03 is
# a lock over its timeout.
_PASSING_CLASSES = frozenset({"08", "40", "53", "57"})
_PASSING_STATES = frozenset({"55P03"})
# The driver reports a connection that died between two statements without a SQLSTATE.
_LOST_CONNECTION = ("connection is closed", "connection was closed", "connection has been closed")
# These are worded from names and types. Other texts may repeat a message, a token or a variable's value
# ("invalid literal for int() with base 10: ..."), so the log has the kind and the line instead.
_TELLABLE: tuple[type[Exception], ...] = (
    *(ArithmeticError, AttributeError, ImportError, NameError, OSError, RuntimeError, TypeError),
    *(sql.ArgumentError, sql.CompileError, sql.InvalidRequestError),
)
_TEXT_LIMIT = 200


def _driver_error(error: BaseException) -> BaseException:
    if isinstance(error, sql.DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's five-character code of a failed statement; empty for anything else."""
    return getattr(_driver_error(error), "sqlstate", None) or ""


def is_passing(error: BaseException) -> bool:
    """Whether a part of the server cannot be reached right now, rather than being wrong."""
    # OSError covers refused connections, which asyncpg raises bare, and asyncio's timeouts.
    if isinstance(error, OSError | sql.TimeoutError):
        return True
    if isinstance(error, sql.DBAPIError) and error.connection_invalidated:
        return True
    state = sqlstate(error)
    if state[:2] in _PASSING_CLASSES or state in _PASSING_STATES:
        return True
    return isinstance(error, sql.InterfaceError) and any(text in str(error.orig) for text in _LOST_CONNECTION)


def _text(error: BaseException) -> str:
    """Errors of the database quote the statement's parameters and whole rows: only code and constraint are told."""
    if sqlstate(error):
        constraint = getattr(_driver_error(error), "constraint_name", None)
        return f": SQLSTATE {sqlstate(error)}" + (f", constraint {constraint}" if constraint else "")
    return f": {str(error)[:_TEXT_LIMIT]}" if isinstance(error, _TELLABLE) else ""


def _chain(error: BaseException) -> str:
    """The traceback with all causes, as Python prints it, but for the texts of database errors."""
    parts: list[str] = []
    seen: list[BaseException] = []  # `raise error from error` is its own cause
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        frames = "".join(traceback.format_tb(current.__traceback__))
        parts.append(f"{frames}{type(current).__module__}.{type(current).__qualname__}{_text(current)}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n\nThe direct cause of the above was:\n".join(parts)


def log_passing(error: BaseException) -> None:
    """Note, without a traceback, that something the server needs did not answer."""
    logger.warning("unavailable: %s%s", type(error).__qualname__, _text(error))


def log_fault(error: BaseException, *, operation: str | None, path: str) -> str:
    """Log an unexpected error and return the id under which it is found."""
    error_id = uuid4().hex
    # Both texts are the client's: of any length, and with line breaks that would fake entries.
    logger.error("internal error %s in operation %.100r at %.100r\n%s", error_id, operation, path, _chain(error))
    return error_id


def place(error: BaseException) -> tuple[type[BaseException], str, int]:
    """Kind and source line of an error: the rows of one list that fail alike are one fault, not a thousand."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    if not frames:
        return type(error), "", 0
    return type(error), frames[0].filename, frames[0].lineno or 0
