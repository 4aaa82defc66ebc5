"""Requests with files: what is read, and what is refused, whatever the form."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from app.main import create_app
from app.settings import Settings
from tests.conftest import Person
from tests.eventually import eventually
from tests.forms import BOUNDARY, HEADERS, PREFLIGHT, Part, file, form, mapping, operations
from tests.served import NEW, UNREACHABLE, client_of, code
from tests.upload_schema import HELD, SEEN, TAKE, TAKE_ALL, beside

KB128 = 128 * 1024
MB = 1024 * 1024
FROM = "mutation ($holder: Holder!) { takeFrom(holder: $holder) { name } }"
TO_FILE = mapping(a="variables.file")


@pytest.fixture
async def toy(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(beside(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://parley.test") as client:
        yield client


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    SEEN.clear()
    HELD.clear()


async def send(toy: httpx.AsyncClient, person: Person, *parts: Part, **headers: str) -> httpx.Response:
    return await send_body(toy, person, form(*parts), **headers)


async def send_body(toy: httpx.AsyncClient, person: Person, body: bytes, **headers: str) -> httpx.Response:
    own = {**HEADERS, "accept": NEW, "authorization": f"Bearer {person.token}"}
    return await toy.post("/graphql", content=body, headers={**own, **headers})


def value(answer: httpx.Response) -> Any:
    """Of the only root field."""
    assert answer.status_code == 200, answer.text
    [found] = answer.json()["data"].values()
    return found


# ---------------------------------------------------------------- what is read
async def test_a_file_arrives_as_it_was_sent(toy: httpx.AsyncClient, alice: Person) -> None:
    content = bytes(range(256)) * 1000 + b"\r\n--" + BOUNDARY[:-1].encode() + b"\r\n\r\n--\r"
    answer = await send(
        toy, alice, operations(TAKE, file=None), TO_FILE, file("a", content, "Ün🏊 .png", "image/PNG; x=y")
    )
    assert value(answer) == {
        "name": "Ün🏊 .png",
        "contentType": "image/png",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_it_does_not_matter_how_a_body_is_cut(toy: httpx.AsyncClient, alice: Person, step: int) -> None:
    """The last cuts are within the last boundary, and before the line's end that follows it."""
    content = b"\r\n--" * 100 if step == 1 else b"\r\n--" * 4000
    body = form(operations(TAKE, file=None), TO_FILE, file(content=content))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    answer = await toy.post("/graphql", content=pieces(), headers={**HEADERS, "authorization": f"Bearer {alice.token}"})
    assert value(answer)["sha256"] == hashlib.sha256(content).hexdigest()


async def test_ten_files_arrive_in_their_places_in_any_order(toy: httpx.AsyncClient, alice: Person) -> None:
    places = {f"f{number}": f"variables.files.{number}" for number in range(10)}
    parts = [file(name, b"x" * number, f"{number}.txt") for number, name in enumerate(places)]
    answer = await send(toy, alice, operations(TAKE_ALL, files=[None] * 10), mapping(**places), *reversed(parts))
    assert value(answer) == [{"name": f"{number}.txt", "size": number} for number in range(10)]


async def test_a_file_may_be_deep_inside_an_input(toy: httpx.AsyncClient, alice: Person) -> None:
    holder = {"text": "t", "files": [None, None]}
    answer = await send(toy, alice, operations(FROM, holder=holder), mapping(a="variables.holder.files.1"), file())
    assert value(answer) == [None, {"name": "a.txt"}]


async def test_a_form_needs_no_files(toy: httpx.AsyncClient, alice: Person) -> None:
    answer = await send(toy, alice, operations("{ me }"), mapping())
    assert value(answer) == "alice"


@pytest.mark.parametrize(
    "head, name",
    [
        ('form-data; name="a"; filename="a%22b.txt"', 'a"b.txt'),
        ('form-data; name="a"; filename="a\\"b.txt"', 'a"b.txt'),
        ("form-data; name=a; filename=a.txt; filename*=utf-8''%C3%9Cn.txt", "Ün.txt"),
        ('form-data; name="a"; filename=""', ""),
        ('form-data; name="a"; filename="../../etc/passwd"', "../../etc/passwd"),
    ],
)
async def test_names_are_read_as_clients_write_them(
    toy: httpx.AsyncClient, alice: Person, head: str, name: str
) -> None:
    part = Part("a", b"hello", head=b"content-disposition: " + head.encode())
    answer = await send(toy, alice, operations(TAKE, file=None), TO_FILE, part)
    assert (value(answer)["name"], value(answer)["contentType"]) == (name, None)


async def test_an_empty_file_is_a_file(toy: httpx.AsyncClient, alice: Person) -> None:
    answer = await send(toy, alice, operations(TAKE, file=None), TO_FILE, file(content=b""))
    assert value(answer)["size"] == 0


async def test_the_largest_file_is_not_too_large(toy: httpx.AsyncClient, alice: Person) -> None:
    answer = await send(toy, alice, operations(TAKE, file=None), TO_FILE, file(content=b"x" * MB))
    assert value(answer)["size"] == MB


@pytest.mark.parametrize("document", [TAKE, TAKE.replace("take(", "breaks(")])
async def test_files_are_closed_when_the_request_is_answered(
    toy: httpx.AsyncClient, alice: Person, document: str
) -> None:
    await send(toy, alice, operations(document, file=None), TO_FILE, file())
    [seen] = SEEN
    await eventually(lambda: seen.content.closed)


# ---------------------------------------------------------------- who may send
@pytest.mark.parametrize("headers", [{}, {"graphql-preflight": " "}, {"apollo-require-preflight": "1"}])
async def test_a_form_without_the_header_changes_nothing(
    toy: httpx.AsyncClient, alice: Person, headers: dict[str, str]
) -> None:
    """Browsers send forms for any page without asking: the header makes them ask."""
    body = form(operations(TAKE, file=None), TO_FILE, file())
    own = {"content-type": HEADERS["content-type"], "authorization": f"Bearer {alice.token}", **headers}
    answer = await toy.post("/graphql", content=body, headers=own)
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    assert "GraphQL-Preflight" in answer.json()["errors"][0]["message"]
    assert SEEN == []


async def test_browsers_are_told_that_the_header_may_be_sent(settings: Settings) -> None:
    origin = "https://chat.example.org"
    async with client_of(create_app(replace(settings, cors_allow_origins=(origin,)), UNREACHABLE)) as client:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "graphql-preflight"}
        answer = await client.options("/graphql", headers={"origin": origin, **asked})
    assert answer.status_code == 200
    assert "graphql-preflight" in answer.headers["access-control-allow-headers"]


async def test_a_stranger_sends_no_files(toy: httpx.AsyncClient) -> None:
    body = form(operations(TAKE, file=None), TO_FILE, file())
    answer = await toy.post("/graphql", content=body, headers=HEADERS)
    assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED")
    assert (answer.headers["www-authenticate"], SEEN) == ("Bearer", [])


async def test_a_deactivated_user_sends_no_files(toy: httpx.AsyncClient, alice: Person, root: Person) -> None:
    change = "mutation ($id: ID!) { setUserActive(userId: $id, active: false) { errors { code } } }"
    await root.ask(change, id=alice.id)
    answer = await send(toy, alice, operations(TAKE, file=None), TO_FILE, file())
    assert (answer.status_code, code(answer), SEEN) == (403, "USER_INACTIVE", [])


# ---------------------------------------------------------------- what is refused
OPERATIONS = operations(TAKE, file=None)
WITH_LIST = operations(TAKE_ALL, files=[None, None])


def raw_map(text: str) -> tuple[Part, ...]:
    return OPERATIONS, Part("map", text.encode()), file()


def deep(levels: int) -> Part:
    text = '{"query": "{ me }", "variables": {"a": ' + "[" * levels + "]" * levels + "}}"
    return Part("operations", text.encode())


MALFORMED: dict[str, tuple[Part, ...]] = {
    "no parts": (),
    "operations only": (OPERATIONS,),
    "map first": (TO_FILE, OPERATIONS, file()),
    "file first": (file(), OPERATIONS, TO_FILE),
    "file before map": (OPERATIONS, file(), TO_FILE),
    "operations twice": (OPERATIONS, OPERATIONS, TO_FILE, file()),
    "operations at the end": (OPERATIONS, TO_FILE, file(), OPERATIONS),
    "map twice": (OPERATIONS, TO_FILE, TO_FILE, file()),
    "operations no JSON": (Part("operations", b"{"), TO_FILE, file()),
    "operations empty": (Part("operations", b""), TO_FILE, file()),
    "operations null": (Part("operations", b"null"), TO_FILE, file()),
    "operations number": (Part("operations", b"5"), TO_FILE, file()),
    "operations without query": (Part("operations", b'{"variables": {"file": null}}'), TO_FILE, file()),
    "operations not UTF-8": (Part("operations", b'{"query": "\xff"}'), TO_FILE, file()),
    "operations a file": (Part("operations", OPERATIONS.content, "blob", "application/json"), TO_FILE, file()),
    "a batch": (Part("operations", b"[" + OPERATIONS.content + b"]"), mapping(a="0.variables.file"), file()),
    "nested too deeply": (deep(60_000), mapping()),
    "variables a list": (Part("operations", b'{"query": "{ me }", "variables": [null]}'), TO_FILE, file()),
    "no variables": (Part("operations", json.dumps({"query": TAKE}).encode()), TO_FILE, file()),
    "map a file": (OPERATIONS, Part("map", TO_FILE.content, "blob"), file()),
    "map no JSON": raw_map("nonsense"),
    "map null": raw_map("null"),
    "map a list": raw_map('[["variables.file"]]'),
    "map of numbers": raw_map('{"a": 5}'),
    "map of text": raw_map('{"a": "variables.file"}'),
    "map of lists of numbers": raw_map('{"a": [5]}'),
    "map of null": raw_map('{"a": [null]}'),
    "map to nothing": raw_map('{"a": []}'),
    "map of empty path": raw_map('{"a": [""]}'),
    "map to variables": raw_map('{"a": ["variables"]}'),
    "map to the empty name": raw_map('{"a": ["variables."]}'),
    "map to operations": raw_map('{"a": ["operations"]}'),
    "map to query": raw_map('{"a": ["query"]}'),
    "map to a batch": raw_map('{"a": ["0.variables.file"]}'),
    "map of operations": raw_map('{"operations": ["variables.file"]}'),
    "map of map": raw_map('{"map": ["variables.file"]}'),
    "a file in two places": (
        WITH_LIST,
        Part("map", b'{"a": ["variables.files.0", "variables.files.1"]}'),
        file(),
    ),
    "two files in a place": (OPERATIONS, mapping(a="variables.file", b="variables.file"), file("a"), file("b")),
    "place not there": (OPERATIONS, mapping(a="variables.other"), file()),
    "place not null": (operations(TAKE, file="text"), TO_FILE, file()),
    "place an object": (operations(FROM, holder={}), mapping(a="variables.holder"), file()),
    "through null": (OPERATIONS, mapping(a="variables.file.deeper"), file()),
    "through a text": (operations(TAKE, file="text"), mapping(a="variables.file.0"), file()),
    "prototype": (OPERATIONS, mapping(a="variables.__proto__.polluted"), file()),
    "class": (OPERATIONS, mapping(a="variables.__class__"), file()),
    "no entry": (OPERATIONS, TO_FILE, file(), file("b")),
    "no part": (WITH_LIST, mapping(a="variables.files.0", b="variables.files.1"), file()),
    "part twice": (OPERATIONS, TO_FILE, file(), file()),
    "text for a file": (OPERATIONS, TO_FILE, Part("a", b"hello")),
    "extra text": (OPERATIONS, TO_FILE, file(), Part("comment", b"hello")),
    "eleven files": (
        operations(TAKE_ALL, files=[None] * 11),
        mapping(**{f"f{number}": f"variables.files.{number}" for number in range(11)}),
        *(file(f"f{number}") for number in range(11)),
    ),
    "part without a name": (OPERATIONS, TO_FILE, Part("", b"", head=b"Content-Disposition: form-data")),
    "part without a head": (OPERATIONS, TO_FILE, Part("", b"", head=b"Content-Type: text/plain")),
    "part of another kind": (OPERATIONS, TO_FILE, Part("", b"", head=b'Content-Disposition: attachment; name="a"')),
    "head not UTF-8": (OPERATIONS, TO_FILE, Part("", b"", head=b'Content-Disposition: form-data; name="\xff"')),
    "head no header": (OPERATIONS, TO_FILE, Part("", b"", head=b"nonsense")),
    "head too long": (OPERATIONS, TO_FILE, Part("", b"", head=b"X: " + b"a" * 10_000)),
    "too many headers": (OPERATIONS, TO_FILE, Part("", b"", head=b"X: a\r\n" * 50 + b"Y: b")),
    "length of its own": (
        OPERATIONS,
        TO_FILE,
        Part("a", b"hello", head=b'Content-Disposition: form-data; name="a"; filename="a"\r\nContent-Length: 1'),
    ),
    **{
        f"index {index}": (WITH_LIST, mapping(a=f"variables.files.{index}"), file())
        for index in ("2", "-1", "00", "1e0", "x", "", "\u0660", "99999999999999999999", "length")
    },
}


@pytest.mark.parametrize("parts", [pytest.param(parts, id=name) for name, parts in MALFORMED.items()])
async def test_a_malformed_form_is_a_bad_request(
    toy: httpx.AsyncClient, alice: Person, parts: tuple[Part, ...], caplog: pytest.LogCaptureFixture
) -> None:
    answer = await send(toy, alice, *parts)
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    assert len(answer.json()["errors"][0]["message"]) < 400
    assert (SEEN, caplog.records) == ([], [])


GOOD = form(OPERATIONS, TO_FILE, file())
BROKEN: dict[str, bytes] = {
    "empty": b"",
    "no form": b"nonsense",
    "other boundary": GOOD.replace(BOUNDARY.encode(), b"other"),
    "no end": GOOD[: -len(BOUNDARY) - 6],
    "half of the end": GOOD[:-4],
    "no blank line": GOOD.replace(b"\r\n\r\nhello", b""),
    "bare line feeds": GOOD.replace(b"\r\n", b"\n"),
    "text behind a boundary": GOOD.replace(BOUNDARY.encode(), BOUNDARY.encode() + b"x", 2),
    "endless text before the first part": b"x" * (2 * MB),
    "endless line before the first part": b"\r\n" * MB,
}


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in BROKEN.items()])
async def test_a_broken_body_is_a_bad_request(toy: httpx.AsyncClient, alice: Person, body: bytes) -> None:
    answer = await send_body(toy, alice, body)
    assert (answer.status_code, code(answer), SEEN) == (400, "BAD_REQUEST", [])


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        ";",
        "; boundary=",
        '; boundary=""',
        "; boundary=" + "a" * 71,
        '; boundary="a\\"b"',
        "; boundary=ä",
        "; b=" * 999,
    ],
)
async def test_a_form_needs_a_boundary(toy: httpx.AsyncClient, alice: Person, parameters: str) -> None:
    headers = {**PREFLIGHT, "authorization": f"Bearer {alice.token}"}
    encoded = {name.encode(): text.encode() for name, text in headers.items()}
    content_type = f"multipart/form-data{parameters}".encode()
    answer = await toy.post("/graphql", content=GOOD, headers={**encoded, b"content-type": content_type})
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    assert "boundary" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("name", ["operations", "map"])
async def test_the_texts_of_a_form_are_limited(toy: httpx.AsyncClient, alice: Person, name: str) -> None:
    parts = [
        Part(part.name, part.content + b" " * KB128) if part.name == name else part for part in (OPERATIONS, TO_FILE)
    ]
    answer = await send(toy, alice, *parts, file())
    assert (answer.status_code, code(answer)) == (413, "BAD_REQUEST")


@pytest.mark.parametrize("length", [True, False], ids=["with its length", "without"])
async def test_a_file_that_is_too_large_is_413(toy: httpx.AsyncClient, alice: Person, *, length: bool) -> None:
    body = form(OPERATIONS, TO_FILE, file(content=b"x" * (MB + 1)))

    async def whole() -> AsyncIterator[bytes]:
        yield body

    headers = {**HEADERS, "authorization": f"Bearer {alice.token}"}
    answer = await toy.post("/graphql", content=body if length else whole(), headers=headers)
    assert (answer.status_code, code(answer), SEEN) == (413, "FILE_TOO_LARGE", [])
    assert "1 MB" in answer.json()["errors"][0]["message"]


async def test_a_compressed_form_is_refused(toy: httpx.AsyncClient, alice: Person) -> None:
    answer = await send_body(toy, alice, GOOD, **{"content-encoding": "gzip"})
    assert (answer.status_code, code(answer)) == (415, "BAD_REQUEST")


async def test_a_subscription_comes_without_files(toy: httpx.AsyncClient, alice: Person) -> None:
    document = "subscription ($file: Upload!) { subscribes(file: $file) }"
    answer = await send(
        toy, alice, operations(document, file=None), TO_FILE, file(), accept=f"{NEW}, text/event-stream"
    )
    assert (answer.status_code, code(answer), SEEN) == (400, "BAD_REQUEST", [])


# ---------------------------------------------------------------- a file is nothing but a file
@pytest.mark.parametrize("given", ["text", 5, True, [], {}, {"content": "x", "size": 1}])
async def test_json_is_no_file(toy: httpx.AsyncClient, alice: Person, given: Any) -> None:
    headers = {"authorization": f"Bearer {alice.token}", "accept": NEW}
    answer = await toy.post("/graphql", json={"query": TAKE, "variables": {"file": given}}, headers=headers)
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    assert "multipart/form-data" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("literal", ['"text"', "5", "{a: 1}", "[]", "ENUM", "true"])
async def test_a_literal_is_no_file(toy: httpx.AsyncClient, alice: Person, literal: str) -> None:
    query = f"mutation {{ take(file: {literal}) {{ name }} }}"
    headers = {"authorization": f"Bearer {alice.token}", "accept": NEW}
    answer = await toy.post("/graphql", json={"query": query}, headers=headers)
    assert (answer.status_code, code(answer)) == (400, "VALIDATION_FAILED")
    assert "multipart/form-data" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    "argument",
    [
        "string: String",
        "int: Int",
        "id: ID",
        "boolean: Boolean",
        "dateTime: DateTime",
        "url: URL",
        "eventCursor: EventCursor",
    ],
)
async def test_a_file_is_no_other_value(toy: httpx.AsyncClient, alice: Person, argument: str) -> None:
    name, kind = argument.split(": ")
    document = f"query ($file: {kind}) {{ echo({name}: $file) }}"
    answer = await send(toy, alice, operations(document, file=None), TO_FILE, file(filename="secret.txt"))
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    assert "secret" not in answer.text
