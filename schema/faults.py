"""What went wrong inside the server: which failures a retry may cure, and what the log may say about the others."""

import logging
import traceback
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from graphql import GraphQLError
from sqlalchemy import exc as sql

logger = logging.getLogger("parley.errors")

# SQLSTATE classes (PostgreSQL manual, appendix A) that another try may not meet: connection lost, deadlock and
# serialization, resources exhausted, operator intervention (a shutdown). 55P03 is a lock over its timeout.
_PASSING_CLASSES = frozenset({"08", "40", "53", "57"})
_PASSING_STATES = frozenset({"55P03"})
# "query_canceled", by whoever may: here it is the statement's own time limit (app/db.py).
_OVER_TIME = "57014"
# Where an error came from is told by our own lines; the last ones are mostly in a library.
_ROOT = Path(__file__).parents[1]
_OURS = (f"{_ROOT / 'app'}/", f"{_ROOT / 'schema'}/")
_STATEMENTS = {str(_ROOT / "app" / name) for name in ("db.py", "read_pool.py")}
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


def is_over_time(error: BaseException) -> bool:
    """Whether a statement ran into its time limit."""
    return sqlstate(error) == _OVER_TIME


def _constraint(error: BaseException) -> str:
    return getattr(_driver_error(error), "constraint_name", None) or ""


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


def is_outage(error: BaseException) -> bool:
    """Whether an error of a result says that the database is away; not that one statement takes too long."""
    while isinstance(error, GraphQLError) and error.original_error is not None:
        error = error.original_error
    return is_passing(error) and not is_over_time(error)


def _text(error: BaseException) -> str:
    """Errors of the database quote the statement's parameters and whole rows: only code and constraint are told."""
    if sqlstate(error):
        constraint = _constraint(error)
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


@dataclass(frozen=True, slots=True)
class Place:
    """Two failures of one operation with the same place are one fault: the rows of a list fail alike, a thousand times.

    SQL errors all end in the same line of a library, so the last line of ours counts (those of app/db.py and
    app/read_pool.py, through which every statement goes, do not), and what PostgreSQL says.
    """

    kind: type[BaseException]
    file: str
    line: int
    sqlstate: str
    constraint: str


def place(error: BaseException) -> Place:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_OURS) and frame.filename not in _STATEMENTS]
    last = (ours or frames or [traceback.FrameSummary("", 0, "")])[-1]
    return Place(type(error), last.filename, last.lineno or 0, sqlstate(error), _constraint(error))
