"""GraphQL over HTTP: which media type and which status an answer has, and who it is for."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.auth import LocalIssuer
from tests.served import NEW, OLD, client_of, code, post, real_client, toy_app

NAMED = {"query": "query A { a: __typename } query B { b: __typename }"}


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


# ---------------------------------------------------------------- negotiation


@pytest.mark.parametrize(
    "accept, media_type",
    [
        (None, OLD),
        ("", OLD),
        ("*/*", OLD),
        ("application/*", OLD),
        ("application/json", OLD),
        ("APPLICATION/JSON; charset=utf-8", OLD),
        ("application/graphql-response+json", NEW),
        ("application/graphql-response+json, application/json;q=0.9", NEW),
        ("application/json;q=0.9, application/graphql-response+json;q=0.8", OLD),
        ("application/json, text/plain, */*", OLD),
        ("application/graphql-response+json, */*;q=0.1", NEW),
        ("application/json;q=0, */*", NEW),
        ("application/graphql-response+json;q=0, */*;q=0.5", OLD),
        # urql sends this with every query; Strawberry answers it by an event stream.
        (f"{NEW}, application/graphql+json, application/json, text/event-stream, multipart/mixed", NEW),
        ("text/html, application/json;q=0.5", OLD),
        ("application/json;q=nonsense", OLD),
    ],
)
async def test_accept_decides_the_media_type(http: httpx.AsyncClient, accept: str | None, media_type: str) -> None:
    headers = {"content-type": OLD} | ({} if accept is None else {"accept": accept})
    answer = await http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"data": {"__typename": "Query"}})
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/json;q=0", "application/xml, text/*;q=0.5"])
async def test_a_client_that_reads_no_json_gets_406(http: httpx.AsyncClient, accept: str) -> None:
    answer = await post(http, {"query": "{ __typename }"}, accept)
    assert (answer.status_code, code(answer)) == (406, "BAD_REQUEST")


async def test_several_accept_headers_are_one_list(http: httpx.AsyncClient) -> None:
    headers = [("accept", "text/html"), ("accept", NEW), ("content-type", OLD)]
    answer = await http.post("/graphql", content=b'{"query": "{ __typename }"}', headers=headers)
    assert answer.headers["content-type"].startswith(NEW)


async def test_no_cache_keeps_an_answer(http: httpx.AsyncClient) -> None:
    for answer in (await post(http, {"query": "{ __typename }"}), await post(http, [])):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["vary"] == "Accept, Authorization"
        assert answer.headers["x-content-type-options"] == "nosniff"


# ---------------------------------------------------------------- statuses
REQUEST_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"query": "{"}, "PARSE_FAILED"),
    ({"query": "{ nonsense }"}, "VALIDATION_FAILED"),
    ({"query": "query ($id: ID!) { node(id: $id) { id } }", "variables": {"id": None}}, "BAD_REQUEST"),
    ({"query": "query ($id: ID!) { node(id: $id) { id } }", "variables": {"id": {"a": [2**63]}}}, "BAD_REQUEST"),
    ({"query": "query ($id: ID!) { node(id: $id) { id } }"}, "BAD_REQUEST"),
    ({"query": "{ channels(first: 101) { nodes { id } } }"}, "BAD_REQUEST"),
    ({"query": "{ " + "__typename " * 500 + "}"}, "QUERY_TOO_COSTLY"),
    (NAMED, "BAD_REQUEST"),
    ({**NAMED, "operationName": "C"}, "BAD_REQUEST"),
    ({"query": "fragment F on Query { __typename }"}, "BAD_REQUEST"),
]


@pytest.mark.parametrize("body, expected", REQUEST_ERRORS)
async def test_a_request_error_is_400_without_data(http: httpx.AsyncClient, body: Any, expected: str) -> None:
    answer = await post(http, body)
    assert (answer.status_code, code(answer), list(answer.json())) == (400, expected, ["errors"])


@pytest.mark.parametrize("body, expected", REQUEST_ERRORS)
async def test_clients_of_the_old_media_type_get_200(http: httpx.AsyncClient, body: Any, expected: str) -> None:
    """Apollo throws the body away otherwise."""
    answer = await post(http, body, OLD)
    assert (answer.status_code, code(answer), list(answer.json())) == (200, expected, ["errors"])


async def test_the_named_operation_runs(http: httpx.AsyncClient) -> None:
    assert (await post(http, {**NAMED, "operationName": "B"})).json() == {"data": {"b": "Query"}}


async def test_a_partial_answer_is_200(toy: httpx.AsyncClient) -> None:
    answer = await post(toy, {"query": "{ items { name broken } }"})
    assert answer.status_code == 200
    assert answer.json()["data"] == {"items": [{"name": "0", "broken": None}]}
    assert code(answer) == "INTERNAL"


@pytest.mark.parametrize(
    "query, status, expected",
    [
        ("{ limited }", 429, "RATE_LIMITED"),
        ("{ items { required } }", 500, "INTERNAL"),
        ("{ unserializable }", 500, "INTERNAL"),
        ("{ inactive }", 403, "USER_INACTIVE"),
        ("{ missing }", 200, "NOT_FOUND"),
    ],
)
async def test_no_data_shows_in_the_status(toy: httpx.AsyncClient, query: str, status: int, expected: str) -> None:
    answer = await post(toy, {"query": query})
    assert (answer.status_code, code(answer)) == (status, expected)
    assert (await post(toy, {"query": query}, OLD)).status_code == (500 if "unserializable" in query else 200)


async def test_a_stranger_gets_401(http: httpx.AsyncClient) -> None:
    answer = await post(http, {"query": "{ viewer { user { name } } }"})
    assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED")
    assert (answer.headers["www-authenticate"], answer.json()["data"]) == ("Bearer", None)


async def test_a_database_that_is_down_is_503(http: httpx.AsyncClient, data_dir: Path) -> None:
    bearer = {"authorization": "Bearer " + LocalIssuer(data_dir).issue("alice")}
    body = {"query": "{ viewer { user { name } } }"}
    answer = await post(http, body, **bearer)
    assert (answer.status_code, code(answer), answer.headers["retry-after"]) == (503, "UNAVAILABLE", "1")
    assert (await post(http, body, OLD, **bearer)).status_code == 200


async def test_a_rate_limit_says_when_to_come_back(toy: httpx.AsyncClient) -> None:
    answer = await post(toy, {"query": "{ limited }"})
    [error] = answer.json()["errors"]
    assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfterMs": 1500}
    assert answer.headers["retry-after"] == "2"


# ---------------------------------------------------------------- who asks


async def test_a_bearer_token_is_verified(toy: httpx.AsyncClient, data_dir: Path) -> None:
    token = LocalIssuer(data_dir).issue("alice")
    for scheme in ("Bearer ", "bearer  ", "BEARER "):
        answer = await post(toy, {"query": "{ who }"}, authorization=scheme + token)
        assert answer.json() == {"data": {"who": "local|alice"}}
    assert (await post(toy, {"query": "{ who }"})).json() == {"data": {"who": None}}


@pytest.mark.parametrize("accept", [NEW, OLD])
@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer é", "Bearer nonsense", "Bearer a.b.c", "a.b.c"],
)
async def test_a_bad_authorization_header_fails_the_request(toy: httpx.AsyncClient, header: str, accept: str) -> None:
    """Even where the query needs nobody: to go on as a stranger would hide the mistake."""
    answer = await post(toy, {"query": "{ __typename }"}, accept, authorization=header)
    assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "data" not in answer.json()


async def test_two_authorization_headers_are_none(toy: httpx.AsyncClient, data_dir: Path) -> None:
    token = LocalIssuer(data_dir).issue("alice")
    headers = [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}"), ("content-type", OLD)]
    answer = await toy.post("/graphql", content=b'{"query": "{ who }"}', headers=headers)
    assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED")


# ---------------------------------------------------------------- browsers
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


async def test_a_browser_gets_graphiql(http: httpx.AsyncClient) -> None:
    answer = await http.get("/graphql", headers={"accept": BROWSER})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "GraphiQL" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "connect-src 'self'" in policy
    scripts = policy.partition("script-src")[2].partition(";")[0]
    assert "unsafe" not in scripts
    assert "'sha256-" in scripts


async def test_a_browser_with_a_query_gets_its_answer(http: httpx.AsyncClient) -> None:
    answer = await http.get("/graphql", params={"query": "{ __typename }"}, headers={"accept": BROWSER})
    assert answer.json() == {"data": {"__typename": "Query"}}


async def test_graphiql_and_introspection_can_be_switched_off(data_dir: Path) -> None:
    async with real_client(data_dir, graphiql=False, introspection=False) as http:
        assert (await http.get("/graphql", headers={"accept": BROWSER})).status_code == 404
        for query in ("{ __schema { __typename } }", '{ __type(name: "User") { __typename } }'):
            assert code(await post(http, {"query": query})) == "VALIDATION_FAILED"
        answer = await post(http, {"query": "{ chanels { nodes { id } } }"})
        assert "Did you mean" not in answer.text
        variables = {"input": {"name": "a", "descripton": "b"}}
        document = "mutation ($input: CreateChannelInput!) { createChannel(input: $input) { deduplicated } }"
        answer = await post(http, {"query": document, "variables": variables})
        assert "descripton" in answer.text
        assert "Did you mean" not in answer.text


async def test_suggestions_help_where_the_schema_is_open(http: httpx.AsyncClient) -> None:
    answer = await post(http, {"query": "{ chanels { nodes { id } } }"})
    assert "Did you mean 'channels'" in answer.text
