"""Whether a file that a client sent may be kept: by what is in it, whatever it calls itself."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from app.errors import ErrorCode, Invalid
from app.storage.file_name import clean_name
from app.storage.file_types import ACTIVE, PLAIN, agrees, canonical, claims
from app.storage.incoming import Incoming

HEAD = 64 * 1024  # bytes that libmagic gets
# In which the dimensions of an image must be found: photographs have colour profiles and previews before them.
IMAGE_HEAD = 256 * 1024

_threads = ThreadPoolExecutor(2, thread_name_prefix="content")


@dataclass(frozen=True, slots=True)
class Content:
    content_type: str
    width: int | None = None  # pixels, as shown; of an image where it says so
    height: int | None = None


async def inspect(incoming: Incoming, allowed: frozenset[str], *, field: Sequence[str]) -> Content:
    """What the file is, off the event loop; the content stands at its beginning again.

    Raises Invalid, about `field`, where it is empty, not of an allowed type, or not what it claims to be.
    """
    if incoming.size == 0:
        raise Invalid("This file is empty.", code=ErrorCode.FILE_EMPTY, field=field)
    look = asyncio.get_running_loop().run_in_executor(_threads, _look, incoming)
    found, size = await look
    claimed = claims(clean_name(incoming.name), incoming.content_type)
    if found == PLAIN:
        # Of code that is run where it is opened, only the name tells.
        found = next((claim for claim in claimed if claim in ACTIVE), found)
    for claim in claimed:
        if not agrees(claim, found):
            raise Invalid(
                f"This file claims to be {claim}, but its content is {found}. Give it the right name and type.",
                code=ErrorCode.FILE_TYPE_MISMATCH,
                field=field,
            )
    accepted = {canonical(name) for name in allowed}
    if found not in accepted:
        raise Invalid(
            f"Files of the type {found} are not accepted. Accepted are: {', '.join(sorted(accepted))}.",
            code=ErrorCode.FILE_TYPE_NOT_ALLOWED,
            field=field,
        )
    return Content(found, *size) if size is not None else Content(found)


def _look(incoming: Incoming) -> tuple[str, tuple[int, int] | None]:
    from app.storage import sniffing  # noqa: PLC0415 - it says why

    incoming.content.seek(0)
    head = incoming.content.read(IMAGE_HEAD)
    incoming.content.seek(0)
    found = sniffing.content_type(head[:HEAD])
    # Not of SVG: it is XML, which would have to be parsed.
    has_size = found.startswith("image/") and not found.endswith("xml")
    return found, sniffing.dimensions(head) if has_size else None
