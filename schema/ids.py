"""Global ids (Relay's object identification): opaque to clients, and each says what it is an id of."""

import re
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from typing import Any

# One spelling per number, and none that PostgreSQL's bigint cannot hold.
NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


def encode(typename: str, *key: int | str) -> str:
    text = f"{typename}:{key[0]}" if len(key) == 1 else ":".join((typename, *map(str, key)))
    # The same as by the URL-safe alphabet, but four times as fast: only '>', '?' and '~' would make a difference.
    return b2a_base64(text.encode(), newline=False).decode().rstrip("=")


def id_of(typename: str) -> Callable[[Any], str]:
    """The id of a row of this type, as `encode` would make it: a function for where there are hundreds."""
    prefix = f"{typename}:".encode()

    def encode_row(row: Any) -> str:
        return b2a_base64(b"%b%d" % (prefix, row.id), newline=False).decode().rstrip("=")

    return encode_row


def decode(global_id: str) -> tuple[str, tuple[int, ...]] | None:
    """The type's name and the key inside, or None for anything that `encode` did not make."""
    try:
        typename, *key = urlsafe_b64decode(global_id + "=" * (-len(global_id) % 4)).decode("ascii").split(":")
    except ValueError:
        return None
    if not key or not all(NUMBER.fullmatch(part) for part in key):
        return None
    found = typename, tuple(map(int, key))
    # base64 drops what it does not know; an object has one id, or a client's cache would hold it twice.
    return found if encode(typename, *found[1]) == global_id else None


def key_of(global_id: str, typename: str) -> int | None:
    """The key in an id of this type. None for any other: an id of another type is an id of nothing here."""
    found = decode(global_id)
    return found[1][0] if found is not None and found[0] == typename and len(found[1]) == 1 else None


def keys_of(global_ids: Sequence[str], typename: str) -> list[int | None]:
    return [key_of(global_id, typename) for global_id in global_ids]
