"""Requests with files: https://github.com/jaydenseric/graphql-multipart-request-spec, without its batches.

Strawberry's own reading of forms takes texts for files, and lets malformed forms raise. Here a file goes to the disk as
it comes, so that memory does not depend on sizes, and limits count while reading.
"""

import re
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from urllib.parse import unquote

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from starlette.requests import Request

from app.storage import Incoming
from schema.errors import TopLevelCode
from schema.transport.body import Pace, PacedBody
from schema.transport.file_places import MAP, MAX_FILES, OPERATIONS, FilePlaces, read_operations
from schema.transport.refusal import Refused
from schema.transport.request import FORM, MAX_BODY_BYTES, SentRequest
from schema.transport.spool import Spool
from schema.transport.upload_slots import UploadSlots

DISK_THREADS = 4
# Of everything that is no file: `operations`, `map`, the heads of parts.
REST_BYTES = 1024 * 1024
MAX_CONTENT_TYPE = 300
# With the first part's head. Before it there may be a text for people (RFC 2046, section 5.1.1), which nobody sends.
MAX_PREAMBLE_BYTES = 64 * 1024
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, section 5.1.1
# RFC 7578 forbids it, .NET sends it: beside it stands what MIME makes of the name in ASCII.
_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=\s*utf-8'[^']{0,20}'([^\s;]+)", re.IGNORECASE)


class Forms:
    """Reads the forms of one process."""

    def __init__(self, *, pace: Pace | None = None, slots: UploadSlots | None = None) -> None:
        self._pace = pace or Pace()
        self._slots = slots or UploadSlots()
        # Of their own: a disk that hangs must not take the threads of others along.
        self._disk = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="spool")

    @asynccontextmanager
    async def read(self, request: Request, user_id: int, max_file_bytes: int) -> AsyncGenerator[SentRequest, None]:
        """The request with its files, which are closed in the end. Raises Refused, RateLimited and Unavailable."""
        boundary = _boundary(request.headers.get("content-type", ""))
        limit = MAX_FILES * max_file_bytes + REST_BYTES
        too_large = _too_large(f"The files of this request are too large: each may have {_size(max_file_bytes)}.")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise too_large
        spools: list[Spool] = []
        with self._slots.hold(user_id):
            try:
                body = PacedBody(request.receive, limit=limit, too_large=too_large, pace=self._pace)
                # Not strict: that refuses the line's end behind the last boundary if it comes in another TCP segment.
                parts = _Parts(body, PushMultipartParser(boundary))
                yield await self._read(parts, max_file_bytes, spools)
            finally:
                for spool in spools:
                    spool.close()

    async def _read(self, parts: "_Parts", max_file_bytes: int, spools: list[Spool]) -> SentRequest:
        request = read_operations(await parts.text(OPERATIONS))
        places = FilePlaces(request, await parts.text(MAP))
        while (part := await parts.next()) is not None:
            name = part.name or ""
            places.check(name)
            if part.filename is None:
                raise Refused(400, f"The part '{name[:50]}' is a text, not a file: it has no file name.")
            spool = Spool(self._disk)
            spools.append(spool)
            while piece := await parts.piece():
                if spool.size + len(piece) > max_file_bytes:
                    shown = part.filename[:50]
                    raise _too_large(f"The file '{shown}' is too large: {_size(max_file_bytes)} is the limit.")
                await spool.write(piece)
            content = await spool.finish()
            places.put(name, Incoming(content, spool.size, _file_name(part, part.filename), part.content_type))
        places.check_complete()
        return request


class _Parts:
    """The parser's events, one at a time. Malformed bodies raise Refused."""

    def __init__(self, body: PacedBody, parser: PushMultipartParser) -> None:
        self._body = body
        self._parser = parser
        self._events: Iterator[MultipartSegment | bytes | None] = iter(())
        self._has_begun = False
        self._preamble = 0

    async def next(self) -> MultipartSegment | None:
        """The head of the next part, when the one before was read to its end; None behind the last."""
        event = await self._event()
        assert event is None or isinstance(event, MultipartSegment)  # noqa: S101 - the parser's order
        return event

    async def piece(self) -> bytes:
        """More of the current part; empty at its end."""
        event = await self._event()
        assert not isinstance(event, MultipartSegment)  # noqa: S101 - the parser's order
        return event or b""

    async def text(self, name: str) -> bytes:
        """The next part, which must be the text of this name."""
        part = await self.next()
        if part is None or part.name != name or part.filename is not None:
            order = f"'{OPERATIONS}', then '{MAP}', both as texts without a file name, then the files"
            raise Refused(400, f"The parts of a form are {order}. Here '{name}' was expected.")
        text = bytearray()
        while piece := await self.piece():
            text += piece
            if len(text) > MAX_BODY_BYTES:
                raise Refused(413, f"The part '{name}' is limited to {MAX_BODY_BYTES:,} bytes.")
        return bytes(text)

    async def _event(self) -> MultipartSegment | bytes | None:
        """None at the end of a part, and of the body."""
        try:
            while True:
                for event in self._events:
                    self._has_begun = True
                    return event
                if not self._has_begun and self._preamble > MAX_PREAMBLE_BYTES:
                    raise Refused(400, "The body does not begin with the boundary that its Content-Type names.")
                piece = await self._body.read()
                self._preamble += len(piece)
                self._events = iter(self._parser.parse(piece))
                if not piece:
                    return next(self._events, None)
        except MultipartError as error:
            raise Refused(400, f"The body is not well-formed {FORM}: {error.args[0]}.") from None


def _boundary(content_type: str) -> str:
    if len(content_type) <= MAX_CONTENT_TYPE:
        boundary: str = parse_options_header(content_type)[1].get("boundary", "")
        if _BOUNDARY.fullmatch(boundary):
            return boundary
    raise Refused(400, f"'Content-Type: {FORM}' needs a 'boundary' of 1 to 70 characters. Let your HTTP client set it.")


def _file_name(part: MultipartSegment, sent: str) -> str:
    extended = _EXTENDED_NAME.search(part.header("Content-Disposition", ""))
    return unquote(extended[1], errors="replace") if extended else sent


def _too_large(message: str) -> Refused:
    return Refused(413, message, code=TopLevelCode.FILE_TOO_LARGE)


def _size(count: int) -> str:
    return f"{count / 1024 / 1024:g} MB"
