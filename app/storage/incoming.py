"""A file that a client sends, before anything is decided about it."""

from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, slots=True, eq=False)
class Incoming:
    """What is known of one part of a multipart request, all of it by the client's word but for the size.

    `content` stands at its beginning, and is closed by whoever received it when the request is answered: an unnamed
    temporary file, which a kill leaves nowhere.
    """

    content: BinaryIO
    size: int  # bytes
    name: str
    content_type: str | None
