"""Automatic persisted queries: a document is sent once with its hash, and by its hash from then on."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from app.settings import Settings
from schema.persisted.recent_texts import RecentTexts
from tests.persisted import (
    FOLLOW,
    FOR_QUERIES,
    FOR_SUBSCRIPTIONS,
    ME,
    READER,
    RENAME,
    PersistedServer,
    Result,
    apollos,
    by_get,
    by_post,
    digest,
    hashed,
    persisting,
    refusal,
    write,
)
from tests.served import NEW, OLD


@pytest.fixture(scope="module")
def url(new_database: Callable[[str], str]) -> str:
    return new_database("parley_automatic")


@pytest.fixture(scope="module")
def server(settings: Settings, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PersistedServer]:
    """It has a manifest, too."""
    path = write(tmp_path_factory.mktemp("apollo"), apollos(RENAME))
    with persisting(settings, url, AUTOMATIC_PERSISTED_QUERIES="on", PERSISTED_DOCUMENTS=str(path)) as running:
        yield running


def new(way: str) -> str:
    """A document that no other test sends."""
    return f"query Me {{ viewer {{ user {{ name }} }} }} # {way}"


def is_missing(answer: Result) -> bool:
    assert answer["errors"][0]["message"] == "PersistedQueryNotFound"
    return refusal(answer) == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize("way", FOR_QUERIES)
async def test_a_query_is_sent_once(server: PersistedServer, way: str) -> None:
    ask, text = FOR_QUERIES[way], new(way)
    assert is_missing(await ask(server, hashed(digest(text))))
    assert await ask(server, {"query": text, **hashed(digest(text))}) == READER
    assert await ask(server, hashed(digest(text))) == READER
    for other in FOR_QUERIES.values():
        assert await other(server, hashed(digest(text))) == READER


@pytest.mark.parametrize("way", FOR_SUBSCRIPTIONS)
async def test_a_subscription_is_sent_once(server: PersistedServer, way: str) -> None:
    ask, text = FOR_SUBSCRIPTIONS[way], f"{FOLLOW} # {way}"
    assert is_missing(await ask(server, hashed(digest(text))))
    for members in ({"query": text, **hashed(digest(text))}, hashed(digest(text))):
        assert await ask(server, members) == {"data": {"viewerEvents": {"kind": "READY"}}}


async def test_a_miss_has_the_status_that_links_can_read(server: PersistedServer) -> None:
    async with httpx.AsyncClient() as http:
        for accept, status in ((OLD, 200), ("*/*", 200), (NEW, 400)):
            answer = await http.post(server.url, json=hashed(digest("a miss")), headers=server.headers(accept))
            assert (answer.status_code, is_missing(answer.json())) == (status, True)
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("way", FOR_QUERIES)
async def test_a_document_under_the_hash_of_another_is_refused(server: PersistedServer, way: str) -> None:
    text = new(f"forged by {way}")
    forged = {"query": "{ __typename }", **hashed(digest(text))}
    assert refusal(await FOR_QUERIES[way](server, forged)) == "PERSISTED_DOCUMENT_MISMATCH"
    assert is_missing(await FOR_QUERIES[way](server, hashed(digest(text))))


@pytest.mark.parametrize(
    "text,code",
    [
        ("{", "PARSE_FAILED"),
        ("{ nonsense }", "VALIDATION_FAILED"),
        ("{ " + "__typename " * 600 + "}", "QUERY_TOO_COSTLY"),
        ("query A { __typename } query B { __typename }", "BAD_REQUEST"),
    ],
)
async def test_what_is_not_valid_is_not_remembered(server: PersistedServer, text: str, code: str) -> None:
    assert refusal(await by_post(server, {"query": text, **hashed(digest(text))})) == code
    assert is_missing(await by_post(server, hashed(digest(text))))


@pytest.mark.parametrize(
    "members",
    [
        hashed(digest(ME), version=2),
        hashed(digest(ME), version=True),
        hashed(digest(ME).upper()),
        hashed("00"),
        hashed(None),
        hashed(7),
        {"extensions": {"persistedQuery": "text"}},
        {"extensions": {"persistedQuery": []}},
        {"extensions": {"persistedQuery": {}}},
    ],
)
async def test_a_malformed_hash_is_a_bad_request(server: PersistedServer, members: Result) -> None:
    for each in (members, {**members, "query": ME}):
        assert refusal(await by_post(server, each)) == "BAD_REQUEST"


async def test_ids_of_the_manifest_need_not_be_sent(server: PersistedServer) -> None:
    given = {"variables": {"input": {"name": "reader"}}}
    renamed = {"data": {"updateProfile": {"user": {"name": "reader"}}}}
    assert await by_post(server, {**hashed(digest(RENAME)), **given}) == renamed
    assert await by_post(server, {"documentId": digest(RENAME), **given}) == renamed


async def test_documents_without_a_hash_run_as_ever(server: PersistedServer) -> None:
    assert await by_get(server, {"query": ME}) == READER
    assert is_missing(await by_get(server, hashed(digest(ME))))
    assert refusal(await by_get(server, {"documentId": digest(ME)})) == "PERSISTED_DOCUMENT_NOT_FOUND"


def test_the_memory_is_bounded_in_number_and_in_bytes() -> None:
    texts = RecentTexts(max_texts=3, max_bytes=100)
    for name in "abc":
        texts.remember(name, name)
    assert texts.recall("a") == "a"  # which makes `b` the oldest
    texts.remember("d", "d")
    assert [texts.recall(name) for name in "abcd"] == ["a", None, "c", "d"]
    texts.remember("e", "é" * 49)
    assert [texts.recall(name) for name in "acde"] == [None, "c", "d", "é" * 49]
    texts.remember("f", "f" * 100)
    assert [texts.recall(name) for name in "cdef"] == [None, None, None, "f" * 100]
