"""GraphQL over HTTP: what is read, and what is refused before GraphQL looks at it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.served import NEW, OLD, client_of, code, post, real_client, toy_app


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: to make the issuer's key takes a tenth of a second."""
    return tmp_path_factory.mktemp("parley")


@pytest.fixture(scope="module")
async def http(data_dir: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with real_client(data_dir) as client:
        yield client


@pytest.fixture(scope="module")
async def toy(data_dir: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(toy_app(data_dir)) as client:
        yield client


async def test_a_query_may_come_by_get(http: httpx.AsyncClient) -> None:
    parameters = {
        "query": "query Q($name: String!) { __type(name: $name) { name } }",
        "variables": '{"name": "User"}',
        "operationName": "Q",
        "extensions": "",
    }
    answer = await http.get("/graphql", params=parameters)
    assert (answer.status_code, answer.json()) == (200, {"data": {"__type": {"name": "User"}}})


@pytest.mark.parametrize("accept", [NEW, OLD])
@pytest.mark.parametrize("query", ["mutation { add(number: 1) }", "query Q { who } mutation { add(number: 1) }"])
async def test_a_mutation_by_get_is_not_run(toy: httpx.AsyncClient, accept: str, query: str) -> None:
    name = {} if query.startswith("mutation") else {"operationName": "M"}
    query = query if not name else query.replace("mutation", "mutation M")
    answer = await toy.get("/graphql", params={"query": query, **name}, headers={"accept": accept})
    assert (answer.status_code, answer.headers["allow"], code(answer)) == (405, "POST", "BAD_REQUEST")


async def test_a_subscription_is_refused(toy: httpx.AsyncClient) -> None:
    body = {"query": "subscription { count }"}
    answer = await post(toy, body)
    assert (answer.status_code, code(answer), "data" in answer.json()) == (400, "BAD_REQUEST", False)
    assert (await toy.get("/graphql", params=body, headers={"accept": NEW})).status_code == 400


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE"])
async def test_other_methods_are_refused_with_the_allowed_ones(http: httpx.AsyncClient, method: str) -> None:
    answer = await http.request(method, "/graphql")
    assert (answer.status_code, answer.headers["allow"], code(answer)) == (
        405,
        "GET, HEAD, POST, OPTIONS",
        "BAD_REQUEST",
    )


async def test_options_names_the_methods(http: httpx.AsyncClient) -> None:
    answer = await http.options("/graphql")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain;application/json",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=x",
        "application/graphql",
        "application/jsonp",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1; charset=utf-8",
    ],
)
async def test_only_json_in_utf8_is_read(toy: httpx.AsyncClient, content_type: str) -> None:
    """Browsers send the others without a preflight, so a foreign page could."""
    headers = {"content-type": content_type} if content_type else {}
    answer = await toy.post("/graphql", content=b'{"query": "mutation { add(number: 1) }"}', headers=headers)
    assert (answer.status_code, code(answer)) == (415, "BAD_REQUEST")
    assert answer.headers["accept-post"] == "application/json, multipart/form-data"


async def test_a_compressed_body_is_refused(http: httpx.AsyncClient) -> None:
    answer = await post(http, {"query": "{ __typename }"}, **{"content-encoding": "gzip"})
    assert (answer.status_code, code(answer)) == (415, "BAD_REQUEST")


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", ';charset="UTF-8"', "; Charset=utf8"])
async def test_utf8_needs_no_label(http: httpx.AsyncClient, charset: str) -> None:
    body = '{"query": "{ __type(name: \\"Ün🏊\\") { name } }"}'.encode()
    answer = await post(http, body, **{"content-type": OLD + charset})
    assert answer.json() == {"data": {"__type": None}}


# ---------------------------------------------------------------- malformed requests
MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b'{ "not a JSON',
    "null": b"null",
    "number": b"5",
    "text": b'"query"',
    "NaN": b'{"query": "{ __typename }", "variables": {"a": NaN}}',
    "infinity": b'{"query": "{ __typename }", "variables": {"a": 1e999}}',
    "invalid UTF-8": b'{"query": "\xff"}',
    "lone surrogate": b'{"query": "{ __typename }", "variables": {"a": "\\ud800"}}',
    "lone surrogate in bytes": b'{"query": "\xed\xa0\x80"}',
    "nested too deeply": b'{"query": "{ __typename }", "variables": ' + b"[" * 100_000,
    "nested objects": b'{"a":' * 20_000,
    "batch": b'[{"query": "{ __typename }"}, {"query": "{ __typename }"}]',
    "batch of 1,000": b"[" + b",".join([b'{"query": "{ __typename }"}'] * 1000) + b"]",
    "typo": b'{"qeury": "{ __typename }"}',
    "query null": b'{"query": null}',
    "query number": b'{"query": 5}',
    "query object": b'{"query": {}}',
    "query list": b'{"query": ["{ __typename }"]}',
    "query blank": b'{"query": " \\n"}',
    "variables text": b'{"query": "{ __typename }", "variables": "{}"}',
    "variables list": b'{"query": "{ __typename }", "variables": [7]}',
    "variables false": b'{"query": "{ __typename }", "variables": false}',
    "operationName number": b'{"query": "{ __typename }", "operationName": 0}',
    "operationName object": b'{"query": "{ __typename }", "operationName": {}}',
    "extensions text": b'{"query": "{ __typename }", "extensions": "x"}',
    "extensions list": b'{"query": "{ __typename }", "extensions": []}',
}


@pytest.mark.parametrize("accept", [NEW, OLD])
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_body_is_a_bad_request(http: httpx.AsyncClient, body: bytes, accept: str) -> None:
    answer = await post(http, body, accept)
    assert (answer.status_code, code(answer), list(answer.json())) == (400, "BAD_REQUEST", ["errors"])


async def test_a_refused_batch_says_what_to_send(http: httpx.AsyncClient) -> None:
    answer = await post(http, MALFORMED["batch"])
    assert "one request per operation" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    "query_string",
    [
        "",
        "query=",
        "qeury={__typename}",
        "query={__typename}&variables=5",
        "query={__typename}&variables={",
        "query={__typename}&extensions=[]",
        "query={__typename}&query={__typename}",
        "query=%ff",
        "query=%ed%a0%80",
        "&".join(f"a{number}=1" for number in range(60)),
    ],
)
async def test_a_malformed_query_string_is_a_bad_request(http: httpx.AsyncClient, query_string: str) -> None:
    answer = await http.get("/graphql?" + query_string, headers={"accept": NEW})
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")


async def test_a_long_query_string_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/graphql?query=" + "a" * 16_384, headers={"accept": NEW})
    assert (answer.status_code, code(answer)) == (414, "BAD_REQUEST")


@pytest.mark.parametrize("extra", ["variables", "operationName", "extensions"])
async def test_null_is_as_good_as_missing(http: httpx.AsyncClient, extra: str) -> None:
    assert (await post(http, {"query": "{ __typename }", extra: None})).json() == {"data": {"__typename": "Query"}}


async def test_what_is_not_understood_is_ignored(http: httpx.AsyncClient) -> None:
    body = b'{"query": "nonsense", "query": "{ __typename }", "id": 1, "extensions": {"persistedQuery": {}}}'
    assert (await post(http, body)).json() == {"data": {"__typename": "Query"}}


async def test_a_persisted_query_is_asked_for_in_full(http: httpx.AsyncClient) -> None:
    """In the words that the links of Apollo and urql wait for."""
    hashed = {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}
    by_post = await post(http, {"extensions": hashed, "variables": {}})
    parameters = {"extensions": json.dumps(hashed), "operationName": "Me"}
    by_get = await http.get("/graphql", params=parameters, headers={"accept": NEW})
    for answer in (by_post, by_get):
        assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
        assert answer.json()["errors"][0]["message"] == "PersistedQueryNotSupported"
    in_full = await post(http, {"query": "{ __typename }", "extensions": hashed})
    assert in_full.json() == {"data": {"__typename": "Query"}}
