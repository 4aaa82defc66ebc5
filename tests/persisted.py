"""Manifests as the generators write them, and servers that have them, asked on every transport."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from hashlib import md5, sha256
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from app.auth import LocalIssuer
from app.main import create_app
from app.settings import Settings, load_settings
from tests.served import NEW, OLD
from tests.socket_client import connected
from tests.socket_server import SettledServed
from tests.stream_client import EVENTS

ME = "query Me {\n  viewer {\n    user {\n      name\n    }\n  }\n}"
RENAME = "mutation Rename($input: UpdateProfileInput!) { updateProfile(input: $input) { user { name } } }"
FOLLOW = "subscription Follow { viewerEvents { ... on StreamNotice { kind } } }"
SEVERAL = "query One { viewer { user { name } } } query Two { __typename }"
TYPENAME = "{ __typename }"
INTROSPECTION = "query Types { __schema { types { name } } }"

TRUSTED = (ME, RENAME, FOLLOW, SEVERAL)

Result = dict[str, Any]
Way = Callable[["PersistedServer", Result], Awaitable[Result]]


READER: Result = {"data": {"viewer": {"user": {"name": "reader"}}}}
READY: Result = {"data": {"viewerEvents": {"kind": "READY"}}}


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def relays_id(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def apollos(*texts: str) -> Result:
    """What @apollo/generate-persisted-query-manifest writes."""
    operations = [
        {"id": digest(text), "name": text.split()[1].partition("(")[0], "type": text.split()[0], "body": text}
        for text in texts
    ]
    return {"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations}


def relays(*texts: str) -> Result:
    """What relay-compiler writes, and GraphQL Code Generator with other hashes."""
    return {relays_id(text): text for text in texts}


def write(folder: Path, manifest: Any) -> Path:
    """The manifest's file; bytes are written as they are."""
    path = folder / "manifest.json"
    path.write_bytes(manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode())
    return path


class PersistedServer(NamedTuple):
    port: int
    url: str
    token: str

    def headers(self, accept: str = NEW) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", "accept": accept}


@contextmanager
def persisting(settings: Settings, url: str, **environ: str) -> Iterator[PersistedServer]:
    """A server on the migrated database at `url`, with these settings besides."""
    own = load_settings({"PARLEY_DATA_DIR": str(settings.data_dir), **environ}, env_file=None)
    with SettledServed(create_app(own, url, keeps_house=False)) as served:
        yield PersistedServer(served.port, served.url, LocalIssuer(settings.data_dir).issue("reader"))


# Each asks with the members of a request, and returns its first result or the errors.


async def by_post(server: PersistedServer, members: Result, accept: str = NEW) -> Result:
    async with httpx.AsyncClient() as http:
        answer = await http.post(server.url, json=members, headers=server.headers(accept))
    return _checked(answer)


async def by_get(server: PersistedServer, members: Result) -> Result:
    async with httpx.AsyncClient() as http:
        answer = await http.get(server.url, params=_in_url(members), headers=server.headers())
    return _checked(answer)


async def by_form(server: PersistedServer, members: Result) -> Result:
    """Without files, which are no concern of documents."""
    form = {"operations": (None, json.dumps(members)), "map": (None, "{}")}
    headers = {**server.headers(), "graphql-preflight": "1"}
    async with httpx.AsyncClient() as http:
        return _checked(await http.post(server.url, files=form, headers=headers))


async def by_stream(server: PersistedServer, members: Result) -> Result:
    return await _streamed(server, "POST", json=members)


async def by_stream_of_get(server: PersistedServer, members: Result) -> Result:
    return await _streamed(server, "GET", params=_in_url(members))


async def by_socket(server: PersistedServer, members: Result) -> Result:
    async with connected(server.port, server.token) as client:
        await client.send({"id": "1", "type": "subscribe", "payload": members})
        answer = await client.receive()
    return {"errors": answer["payload"]} if answer["type"] == "error" else dict(answer["payload"])


FOR_ALL: dict[str, Way] = {
    "POST": by_post,
    "form": by_form,
    "event stream": by_stream,
    "WebSocket": by_socket,
}
FOR_QUERIES: dict[str, Way] = {**FOR_ALL, "GET": by_get, "event stream by GET": by_stream_of_get}
FOR_SUBSCRIPTIONS: dict[str, Way] = {
    "event stream": by_stream,
    "event stream by GET": by_stream_of_get,
    "WebSocket": by_socket,
}


async def _streamed(server: PersistedServer, method: str, **request: Any) -> Result:
    async with (
        httpx.AsyncClient() as http,
        http.stream(method, server.url, headers=server.headers(EVENTS), **request) as answer,
    ):
        if not answer.headers["content-type"].startswith(EVENTS):
            await answer.aread()
            return _checked(answer)
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                found: Result = json.loads(line.removeprefix("data: "))
                return found
    raise AssertionError("the stream had no result")


def _in_url(members: Result) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in members.items()}


def _checked(answer: httpx.Response) -> Result:
    assert answer.headers["content-type"].partition(";")[0] in {NEW, OLD}
    body: Result = answer.json()
    if answer.headers["content-type"].startswith(NEW):
        assert answer.status_code == (200 if "data" in body else 400), answer.text
    return body


def hashed(sha256_hash: Any, version: Any = 1) -> Result:
    return {"extensions": {"persistedQuery": {"version": version, "sha256Hash": sha256_hash}}}


def refusal(result: Result) -> str:
    """The code of the only error of what did not run."""
    [error] = result["errors"]
    assert "data" not in result
    assert error["message"]
    return str(error["extensions"]["code"])


# What names no document, and a few more things that nobody should send.
BAD: list[Result] = [
    {"documentId": ""},
    {"documentId": " "},
    {"documentId": 7},
    {"documentId": ["a"]},
    {"documentId": {"id": "a"}},
    {"documentId": "\0"},
    {"documentId": "é" * 50_000},
    {"documentId": "sha256:"},
    {"documentId": f"SHA256:{digest(ME)}"},
    {"documentId": digest(ME).upper()},
    {"documentId": "unheard-of", "query": TYPENAME},
    {"documentId": None, "query": None},
    {"extensions": {"persistedQuery": None}},
    {"extensions": {"persistedQuery": "text"}},
    {"extensions": {"persistedQuery": []}},
    {"extensions": {"persistedQuery": {}}},
    {"extensions": {"persistedQuery": {"version": 1}}},
    {"extensions": {"persistedQuery": {"sha256Hash": digest(ME)}}},
    {"extensions": []},
    hashed(None),
    hashed(1),
    hashed({}),
    hashed(""),
    hashed(digest(ME), version=2),
    hashed(digest(ME), version=True),
    hashed(digest(ME), version="1"),
    hashed("\0" * 64),
]
