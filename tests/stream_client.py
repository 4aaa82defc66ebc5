"""A client of event streams that sees every byte, and reads only when it is told to."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlencode

EVENTS = "text/event-stream"
SECONDS = 10.0


class Event(NamedTuple):
    """`data` as it was sent; None for a line that is not there."""

    event: str
    id: str | None
    data: str

    @property
    def result(self) -> dict[str, Any]:
        assert self.event == "next"
        found: dict[str, Any] = json.loads(self.data)
        return found


class StreamClient:
    """One response, after its head. Every wait is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        first, *lines = head.split("\r\n")
        self.writer = writer
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
        self.last_id: str | None = None
        self._reader = reader
        self._received = b""

    async def chunk(self) -> bytes:
        """What the server wrote at once; empty at the end. Raises IncompleteReadError or ConnectionError if cut off."""
        async with asyncio.timeout(SECONDS):
            if "content-length" in self.headers:
                length, self.headers["content-length"] = int(self.headers["content-length"]), "0"
                return await self._reader.readexactly(length)
            length = int(await self._reader.readuntil(b"\r\n"), 16)
            data = await self._reader.readexactly(length + 2)
            return data[:-2]

    async def block(self) -> bytes:
        """Everything up to and with the next empty line."""
        while b"\n\n" not in self._received:
            chunk = await self.chunk()
            assert chunk, "the stream has ended"
            self._received += chunk
        block, _, self._received = self._received.partition(b"\n\n")
        return block + b"\n\n"

    async def event(self) -> Event:
        """The next event; other blocks are skipped."""
        while not (block := await self.block()).startswith(b"event:"):
            pass
        fields = dict(line.split(":", 1) for line in block.decode().split("\n")[:-2])
        found = Event(fields["event"].removeprefix(" "), fields.get("id"), fields["data"].removeprefix(" "))
        if found.id is not None:
            found = found._replace(id=found.id.removeprefix(" "))
            self.last_id = found.id
        return found

    async def result(self) -> dict[str, Any]:
        return (await self.event()).result

    async def rest(self) -> bytes:
        """All that is left of a response that ends as it should."""
        data, self._received = self._received, b""
        while chunk := await self.chunk():
            data += chunk
        return data

    async def code(self) -> str:
        """That of the only error of a response that is one piece of JSON."""
        assert self.headers["content-type"].endswith("json; charset=utf-8")
        [error] = json.loads(await self.rest())["errors"]
        assert error["message"]
        return str(error["extensions"]["code"])

    async def is_cut(self) -> bool:
        """Read to the end, and whether that came in the middle of the response."""
        try:
            await self.rest()
        except (asyncio.IncompleteReadError, ConnectionError):
            return True
        return False


@asynccontextmanager
async def streaming(
    port: int,
    query: str,
    token: str | None = None,
    *,
    method: str = "POST",
    accept: str = EVENTS,
    receive_buffer: int | None = None,
    variables: dict[str, Any] | None = None,
    **headers: str,
) -> AsyncGenerator[StreamClient, None]:
    """A request of which the head of the response has come. The connection is cut at the end."""
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.setblocking(False)  # noqa: FBT003 - its only parameter
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    # The reader's own buffer, of twice the limit, is small: what is not read stays with the server.
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**16 if receive_buffer is None else 1024)
    try:
        body = json.dumps({"query": query, "variables": variables}).encode() if method == "POST" else b""
        target = "/graphql"
        if method != "POST":
            target += "?" + urlencode({"query": query, "variables": json.dumps(variables) if variables else ""})
        sent = {"Host": "parley.test", "Accept": accept, **({"Authorization": f"Bearer {token}"} if token else {})}
        if method == "POST":
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        sent |= {name.replace("_", "-"): text for name, text in headers.items()}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {text}" for name, text in sent.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        async with asyncio.timeout(SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().removesuffix("\r\n\r\n")
        yield StreamClient(reader, writer, head)
    finally:
        writer.transport.abort()
