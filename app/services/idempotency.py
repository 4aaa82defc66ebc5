"""Client keys: a retry with the same key gets the first result and writes nothing.

A key is unique per user and kind of thing (messages, channels, files): one index each decides, and a table of all keys
would be a third write for every message. Clients draw keys at random, so the same key for two does not happen.

The unique index decides, not a look beforehand: fifty parallel retries all try, one wins, the others find it.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from unicodedata import normalize

import orjson
from sqlalchemy.exc import IntegrityError

from app.db import Database, Statements, Write, Written, violated
from app.errors import AppError, Conflict, ErrorCode, Invalid, RequestError
from app.text import clean_line

MAX_KEY_LENGTH = 128
KEY_INDEXES = frozenset(
    {"uq_messages_author_id_client_key", "uq_channels_creator_id_client_key", "uq_files_uploader_id_client_key"}
)


class Keyed(Protocol):
    """A row that remembers the input that made it."""

    @property
    def client_digest(self) -> bytes | None: ...


K = TypeVar("K", bound=Keyed)


class KeyReused(Conflict):
    """Under this key something else was made."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.KEY_REUSED,
            "This client key was used before: with other input, or for what is gone. Choose a new key.",
            field=["clientKey"],
        )


@dataclass(frozen=True, slots=True)
class ClientKey:
    """The key that a client chose, and a digest of the input that came with it."""

    key: str | None
    digest: bytes | None


def client_key(key: str | None, *facts: Any) -> ClientKey:
    """`facts` is the whole input, in JSON terms; another input under the same key is refused."""
    if key is None:
        return ClientKey(None, None)
    if len(key) > MAX_KEY_LENGTH or clean_line(key, ["clientKey"], maximum=MAX_KEY_LENGTH) != normalize("NFC", key):
        raise Invalid(f"Use 1 to {MAX_KEY_LENGTH} characters without spaces around them.", field=["clientKey"])
    # Checked, but kept to the letter: the client finds its optimistic copy by it.
    return ClientKey(key, hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).digest()[:16])


async def once(
    database: Database,
    key: ClientKey,
    unit: Callable[[Write], Awaitable[K]],
    find: Callable[[Statements], Awaitable[Written[K] | None]],
) -> tuple[Written[K], bool]:
    """Run `unit`, or find what an earlier run under this key made. The second value says which: True for found."""
    try:
        return await database.write(unit), False
    except (AppError, IntegrityError) as error:
        # Also after a refusal: the first try may have succeeded before the channel was archived, the parent
        # answered, ...
        if key.key is None or isinstance(error, RequestError):
            raise
        async with database.read() as reader:
            found = await find(reader)
        # What the key made may be hidden or deleted by now: a retry is then refused like any other, the key is taken.
        is_taken = isinstance(error, IntegrityError) and violated(error) in KEY_INDEXES
        if found is None and not is_taken:
            raise
        if found is None or not is_made_by(found.value, key):
            raise KeyReused from error
        return found, True


def is_made_by(found: Keyed, key: ClientKey) -> bool:
    """Whether the input was the same, as far as it is still known."""
    return found.client_digest in {key.digest, b""}
