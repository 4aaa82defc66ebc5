"""Images of reactions at addresses that stay: the storage's own end after an hour.

Without a token, because an <img> sends none. The address has a key in it that nobody can guess, and only what was
uploaded for everybody in the workspace has such an address.
"""

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from app.errors import StorageUnavailable, Unavailable
from app.services.reaction_images import FOLDER, find_image
from schema.context import Services

SECONDS = 3600
# Half of it: whoever kept the redirection that long can still follow it.
CACHED = {"Cache-Control": f"public, max-age={SECONDS // 2}", "Cross-Origin-Resource-Policy": "cross-origin"}
NOT_CACHED = {"Cache-Control": "no-store"}


async def _show(request: Request) -> Response:
    services: Services = request.app.state.services
    try:
        async with services.database.read() as reader:
            found = await find_image(reader, request.url.path)
        if found is None:
            return PlainTextResponse("There is no such image.", 404, NOT_CACHED)
        reaction, content_type = found
        url = await services.storage.url(
            reaction.image_key or "", name=reaction.code, content_type=content_type, seconds=SECONDS, inline=True
        )
    except (StorageUnavailable, Unavailable, OSError, SQLAlchemyError):
        return PlainTextResponse("The image cannot be read at the moment.", 503, NOT_CACHED)
    return RedirectResponse(url, 302, CACHED)


route = Route(f"{FOLDER}{{name}}", _show)
