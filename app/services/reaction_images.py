"""Images of reactions that were uploaded: in the storage like files, but for everybody to see.

`Reaction.image_url` holds a path on this server for them, which works as long as the reaction is in the catalogue.
"""

import re

from sqlalchemy import select

from app.db import Statements
from app.errors import ErrorCode, Invalid
from app.models import Reaction
from app.services.uploads import Upload, check
from app.storage import Incoming

FOLDER = "/reaction-images/"
TYPES = {"image/gif": "gif", "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
MAX_BYTES = 512 * 1024
MAX_SIDE = 1024  # pixels: what is shown beside a line of text
PATH = re.compile(rf"{FOLDER}([a-z0-9]+)\.({'|'.join(TYPES.values())})", re.ASCII)


async def check_image(incoming: Incoming, field: list[str]) -> Upload:
    if incoming.size > MAX_BYTES:
        raise Invalid("An image has at most 512 KB.", code=ErrorCode.FILE_TOO_LARGE, field=field)
    upload = await check(incoming, frozenset(TYPES), field)
    if not 0 < max(upload.found.width or 0, upload.found.height or 0) <= MAX_SIDE:
        raise Invalid(f"An image has at most {MAX_SIDE} pixels in width and height, and says how many.", field=field)
    return upload


def image_path(key: str, content_type: str) -> str:
    return f"{FOLDER}{key}.{TYPES[content_type]}"


async def find_image(session: Statements, path: str) -> tuple[Reaction, str] | None:
    """The reaction in the catalogue whose image has this path, and the image's type."""
    match = PATH.fullmatch(path)
    if match is None:
        return None
    statement = select(Reaction).where(Reaction.image_key == match[1], Reaction.image_url == path)
    reaction = await session.first(statement.where(Reaction.deleted_at.is_(None)))
    types = {extension: content_type for content_type, extension in TYPES.items()}
    return (reaction, types[match[2]]) if reaction is not None else None
