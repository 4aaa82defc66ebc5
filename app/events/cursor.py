"""Event cursors: a position in one stream, or in several at once. Opaque to clients; carries no authority.

The text inside is `stream@epoch:seq`, comma separated, in base64url. What a reader may see is decided by membership
when it reads.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

from app.db import Position
from app.errors import CursorInvalid

PART = re.compile(r"(w|[cu][1-9][0-9]{0,18})@([1-9][0-9]{0,8}):(0|[1-9][0-9]{0,17})", re.ASCII)


def encode(positions: Mapping[str, Position]) -> str:
    parts = ",".join(f"{stream}@{at.epoch}:{at.seq}" for stream, at in sorted(positions.items()))
    return urlsafe_b64encode(parts.encode()).decode().rstrip("=")


def decode(cursor: str) -> dict[str, Position]:
    """Raises CursorInvalid for anything that `encode` did not make."""
    positions: dict[str, Position] = {}
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError as error:
        raise CursorInvalid("after") from error
    for part in text.split(","):
        match = PART.fullmatch(part)
        if match is None:
            raise CursorInvalid("after")
        positions[match[1]] = Position(epoch=int(match[2]), seq=int(match[3]))
    if encode(positions) != cursor:  # padding, another order, a stream named twice
        raise CursorInvalid("after")
    return positions
