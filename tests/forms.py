"""Requests of the GraphQL multipart request specification, well-formed or as a test wants them."""

import json
from dataclasses import dataclass
from typing import Any

BOUNDARY = "----parley-test-7d93a1"
PREFLIGHT = {"graphql-preflight": "1"}
HEADERS = {**PREFLIGHT, "content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@dataclass(frozen=True)
class Part:
    """A text where there is no `filename`. `head` replaces all of the part's header lines."""

    name: str
    content: bytes
    filename: str | None = None
    content_type: str | None = None
    head: bytes | None = None

    def encode(self) -> bytes:
        file = "" if self.filename is None else f'; filename="{self.filename}"'
        head = f'Content-Disposition: form-data; name="{self.name}"{file}'
        if self.content_type is not None:
            head += f"\r\nContent-Type: {self.content_type}"
        return b"--%s\r\n%s\r\n\r\n%s\r\n" % (BOUNDARY.encode(), self.head or head.encode(), self.content)


END = b"--%s--\r\n" % BOUNDARY.encode()


def form(*parts: Part) -> bytes:
    return b"".join(part.encode() for part in parts) + END


def operations(query: str, **variables: Any) -> Part:
    return Part("operations", json.dumps({"query": query, "variables": variables}).encode())


def mapping(**places: Any) -> Part:
    """`mapping(a="variables.file")`: the part `a` goes there."""
    return Part("map", json.dumps({name: [path] for name, path in places.items()}).encode())


def file(name: str = "a", content: bytes = b"hello", filename: str = "a.txt", content_type: str = "text/plain") -> Part:
    return Part(name, content, filename, content_type)
