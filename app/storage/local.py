"""Files on the local disk, for the server that needs nothing else."""

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from app.errors import StorageUnavailable
from app.settings import StartError
from app.storage.calls import Body, Calls
from app.storage.file_name import content_disposition
from app.storage.signed_url import SignedUrls, read_secret

KEY = re.compile(r"[a-z0-9]{8,64}")
CHUNK = 1 << 20
REFUSED = "This address is not valid, or not any more. Ask for a new one."
MISSING = "This file was deleted."
# Even opened in a browser, nothing in a file gets to run, to load anything, or to be taken for another type. Pages of
# any origin may show it: whoever has the address may read it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LocalStorage:
    """The object `abcd...` is the file `ab/abcd...` in the folder."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self._folder = folder
        self._base_url = base_url
        self._calls = Calls(str(folder), (OSError,))
        self._urls: SignedUrls | None = None  # until the start

    @property
    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/files/{key}", self._serve)]

    async def start(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._urls = SignedUrls(read_secret(self._folder / "signing-key"))
        except OSError as error:
            advice = "Set PARLEY_DATA_DIR to a folder of your own, or AWS_S3_BUCKET_NAME to keep files in S3."
            raise StartError(f"Files cannot be kept in {self._folder} ({error.strerror}). {advice}") from None

    async def stop(self) -> None:
        """Nothing is held."""

    async def put(self, key: str, content: BinaryIO, *, size: int, content_type: str) -> None:  # noqa: ARG002 - `url` is given the type
        await self._calls.upload(partial(_write, self._path(key)), content, size)

    async def remove(self, key: str) -> None:
        await self._calls.run(_remove, self._path(key))

    async def url(self, key: str, *, name: str, content_type: str, seconds: int, inline: bool = False) -> str:
        assert self._urls is not None  # noqa: S101 - the server answers nobody before the start
        query = self._urls.sign(key, name=name, content_type=content_type, seconds=seconds, inline=inline)
        return f"{self._base_url}/files/{key}?{query}"

    def _path(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError("no key of the server")  # never a path that somebody thought of
        return self._folder / key[:2] / key

    async def _serve(self, request: Request) -> Response:
        assert self._urls is not None  # noqa: S101 - as above
        key = request.path_params["key"]
        granted = self._urls.check(key, request.query_params)
        if granted is None:
            return _refusal(REFUSED, 403)
        path = self._path(key)
        try:
            found = await self._calls.run(_look, path)
        except StorageUnavailable as error:
            return _refusal(error.message, 503)
        if found is None:
            return _refusal(MISSING, 404)
        headers = {
            **HEADERS,
            "Cache-Control": f"private, max-age={granted.seconds_left}",
            "Content-Disposition": content_disposition(granted.name, inline=granted.inline),
        }
        return _FileResponse(path, headers=headers, media_type=granted.content_type, stat_result=found)


class _FileResponse(FileResponse):
    chunk_size = 256 * 1024  # each is read in a thread, so not too many


def _refusal(reason: str, status: int) -> Response:
    return PlainTextResponse(reason, status, {**HEADERS, "Cache-Control": "no-store"})


def _write(path: Path, body: Body) -> None:
    """A crash leaves the whole of it or a `.part`, which is never served, and removed with the object."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    part = _part(path)
    try:
        _copy(body, part)
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # else a crash may lose the name
    finally:
        os.close(folder)


def _copy(body: Body, target: Path) -> None:
    with open(target, "wb", opener=partial(os.open, mode=0o600)) as file:
        while chunk := body.read(CHUNK):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _part(path).unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _look(path: Path) -> os.stat_result | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found if S_ISREG(found.st_mode) else None
