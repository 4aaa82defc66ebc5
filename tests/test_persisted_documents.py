"""Documents of a manifest, named by their ids instead of being sent."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from app.settings import Settings, load_settings
from schema.errors import TopLevelCode
from schema.persisted.served import served_schema
from tests.conftest import ROOT
from tests.persisted import (
    BAD,
    FOLLOW,
    FOR_ALL,
    FOR_QUERIES,
    FOR_SUBSCRIPTIONS,
    ME,
    READER,
    READY,
    RENAME,
    SEVERAL,
    TRUSTED,
    TYPENAME,
    PersistedServer,
    apollos,
    by_post,
    digest,
    hashed,
    persisting,
    refusal,
    write,
)
from tests.served import NEW, OLD
from tests.socket_client import connected


@pytest.fixture(scope="module")
def url(new_database: Callable[[str], str]) -> str:
    return new_database("parley_persisted")


@pytest.fixture(scope="module")
def server(settings: Settings, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PersistedServer]:
    """It has Apollo's manifest, and runs other documents too."""
    path = write(tmp_path_factory.mktemp("apollo"), apollos(*TRUSTED))
    with persisting(settings, url, PERSISTED_DOCUMENTS=str(path)) as running:
        yield running


@pytest.fixture(scope="module")
def without(settings: Settings, url: str) -> Iterator[PersistedServer]:
    with persisting(settings, url) as running:
        yield running


# ---------------------------------------------------------------- by id


def naming(text: str) -> list[dict[str, Any]]:
    """How a request can name this document of Apollo's manifest."""
    return [{"documentId": digest(text)}, {"documentId": f"sha256:{digest(text)}"}, hashed(digest(text))]


@pytest.mark.parametrize("way", FOR_QUERIES)
async def test_a_document_is_run_by_its_id(server: PersistedServer, way: str) -> None:
    for members in naming(ME):
        assert await FOR_QUERIES[way](server, members) == READER
        assert await FOR_QUERIES[way](server, {**members, "query": ME}) == READER


@pytest.mark.parametrize("way", FOR_SUBSCRIPTIONS)
async def test_a_subscription_is_started_by_its_id(server: PersistedServer, way: str) -> None:
    for members in naming(FOLLOW):
        assert await FOR_SUBSCRIPTIONS[way](server, members) == READY


@pytest.mark.parametrize("way", FOR_ALL)
async def test_a_mutation_has_its_variables(server: PersistedServer, way: str) -> None:
    for members in naming(RENAME):
        answer = await FOR_ALL[way](server, {**members, "variables": {"input": {"name": "reader"}}})
        assert answer == {"data": {"updateProfile": {"user": {"name": "reader"}}}}


async def test_a_mutation_by_its_id_needs_post_as_any_other(server: PersistedServer) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.get(server.url, params={"documentId": digest(RENAME)}, headers=server.headers())
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("way", FOR_QUERIES)
async def test_an_empty_query_beside_an_id_is_none(server: PersistedServer, way: str) -> None:
    """`graphql-ws` sends nothing without."""
    for members in naming(ME):
        assert await FOR_QUERIES[way](server, {**members, "query": ""}) == READER


async def test_an_operation_of_several_is_named(server: PersistedServer) -> None:
    named = {"documentId": digest(SEVERAL)}
    assert await by_post(server, {**named, "operationName": "One"}) == READER
    assert refusal(await by_post(server, named)) == "BAD_REQUEST"


async def test_a_browser_that_asks_by_id_gets_the_answer_and_not_the_page(server: PersistedServer) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    async with httpx.AsyncClient() as http:
        answer = await http.get(server.url, params={"documentId": digest(ME)}, headers=server.headers(accept))
    assert answer.json() == READER


async def test_other_documents_run_beside_a_manifest(server: PersistedServer) -> None:
    assert await by_post(server, {"query": TYPENAME}) == {"data": {"__typename": "Query"}}
    assert await by_post(server, {"query": TYPENAME, **hashed("0" * 64)}) == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("way", FOR_QUERIES)
async def test_an_unknown_id_says_what_to_do(server: PersistedServer, way: str) -> None:
    answer = await FOR_QUERIES[way](server, {"documentId": "unheard-of"})
    assert refusal(answer) == "PERSISTED_DOCUMENT_NOT_FOUND"
    assert "'unheard-of'. Send the document itself as 'query'." in answer["errors"][0]["message"]


@pytest.mark.parametrize("way", FOR_QUERIES)
async def test_an_id_and_another_document_are_refused(server: PersistedServer, way: str) -> None:
    for members in [*naming(ME), {"documentId": f"sha256:{'0' * 64}"}]:
        answer = await FOR_QUERIES[way](server, {**members, "query": TYPENAME})
        assert refusal(answer) == "PERSISTED_DOCUMENT_MISMATCH"
    two = {"documentId": digest(ME), **hashed(digest(SEVERAL))}
    assert refusal(await FOR_QUERIES[way](server, two)) == "PERSISTED_DOCUMENT_MISMATCH"


async def test_a_hash_is_checked_against_the_document_without_a_manifest(without: PersistedServer) -> None:
    assert await by_post(without, {"documentId": f"sha256:{digest(ME)}", "query": ME}) == READER
    wrong = {"documentId": f"sha256:{digest(ME)}", "query": TYPENAME}
    assert refusal(await by_post(without, wrong)) == "PERSISTED_DOCUMENT_MISMATCH"
    assert refusal(await by_post(without, {"documentId": digest(ME)})) == "PERSISTED_DOCUMENT_NOT_FOUND"


@pytest.mark.parametrize("way", FOR_QUERIES)
async def test_links_are_told_to_send_what_is_in_no_manifest(
    server: PersistedServer, without: PersistedServer, way: str
) -> None:
    for each in (server, without):
        answer = await FOR_QUERIES[way](each, hashed("0" * 64))
        assert (refusal(answer), answer["errors"][0]["message"]) == ("BAD_REQUEST", "PersistedQueryNotSupported")


@pytest.mark.parametrize("members", BAD)
async def test_whatever_else_is_sent_is_an_error_of_the_client(
    server: PersistedServer, without: PersistedServer, members: dict[str, Any]
) -> None:
    for each in (server, without):
        for accept in (NEW, OLD):
            code = refusal(await by_post(each, members, accept))
            assert code in {"BAD_REQUEST", "PERSISTED_DOCUMENT_NOT_FOUND"}


async def test_a_socket_outlives_what_is_no_id(server: PersistedServer) -> None:
    async with connected(server.port, server.token) as client:
        for members in ({"documentId": "x"}, {"documentId": ""}, hashed(None), hashed(7), hashed("0" * 64)):
            await client.send({"id": "1", "type": "subscribe", "payload": members})
            assert (await client.receive())["type"] == "error"
        assert await client.ask(ME) == READER
        await client.send({"id": "2", "type": "subscribe", "payload": {"documentId": 7}})
        assert await client.closed() == (4400, "'documentId' must be a text, not a number.")


async def test_a_token_is_looked_at_before_the_id(server: PersistedServer) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.post(server.url, json={"documentId": "x"}, headers={"authorization": "Bearer nonsense"})
        assert answer.status_code == 401
        stranger = await http.post(server.url, json={"documentId": digest(ME)})
    assert stranger.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


# ---------------------------------------------------------------- the schema


def test_documents_of_the_manifest_are_not_pushed_out_by_others(tmp_path: Any) -> None:
    long = "query Long { " + " ".join(f"a{number}: __typename" for number in range(30)) + "#" * 20_000 + "\n}"
    path = write(tmp_path, apollos(ME, long))
    served = served_schema(load_settings({"PERSISTED_DOCUMENTS": str(path)}, env_file=None))
    kept = [served.documents.get(text) for text in (ME, long)]
    for number in range(300):
        served.operation(f"query Other{number} {{ __typename }}", None)
    assert None not in kept
    assert [served.documents.get(text) for text in (ME, long)] == kept
    assert served.documents.get("query Other0 { __typename }") is None


def test_without_introspection_the_manifest_stays(tmp_path: Any) -> None:
    path = write(tmp_path, apollos(ME))
    served = served_schema(load_settings({"PERSISTED_DOCUMENTS": str(path)}, env_file=None)).without_introspection()
    assert served.persisted.find(digest(ME)) == ME
    first = served.admit(ME)
    for number in range(300):
        served.operation(f"query Other{number} {{ __typename }}", None)
    assert served.documents.get(ME) is first


def test_every_code_is_documented() -> None:
    text = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    assert [code for code in TopLevelCode if f"`{code}`" not in text] == []
