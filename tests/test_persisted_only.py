"""A server that runs the documents of its manifest, and nothing else."""

from collections.abc import Callable, Iterator

import pytest

from app.settings import Settings
from tests.persisted import (
    BAD,
    FOLLOW,
    FOR_QUERIES,
    FOR_SUBSCRIPTIONS,
    INTROSPECTION,
    ME,
    READER,
    READY,
    TRUSTED,
    TYPENAME,
    PersistedServer,
    Result,
    by_post,
    by_socket,
    digest,
    hashed,
    persisting,
    refusal,
    relays,
    relays_id,
    write,
)
from tests.served import NEW, OLD
from tests.socket_client import connected


@pytest.fixture(scope="module")
def only(
    settings: Settings, new_database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PersistedServer]:
    """With Relay's manifest."""
    path = write(tmp_path_factory.mktemp("relay"), relays(*TRUSTED))
    environ = {"PERSISTED_DOCUMENTS": str(path), "PERSISTED_DOCUMENTS_ONLY": "on"}
    with persisting(settings, new_database("parley_persisted_only"), **environ) as running:
        yield running


@pytest.mark.parametrize("way", FOR_QUERIES)
async def test_what_is_in_the_manifest_runs_by_id_or_as_it_is(only: PersistedServer, way: str) -> None:
    named = [{"documentId": relays_id(ME)}, {"documentId": f"sha256:{digest(ME)}"}, hashed(relays_id(ME))]
    for members in [*named, hashed(digest(ME)), {"query": ME}, {"query": ME, **hashed(digest(ME))}]:
        assert await FOR_QUERIES[way](only, members) == READER


OTHERS = {
    "a query": TYPENAME,
    "the same with another blank": ME + " ",
    "the same and a comment": f"# me\n{ME}",
    "a mutation": 'mutation { updateProfile(input: {name: "changed"}) { user { name } } }',
    "introspection": INTROSPECTION,
    "the type of a type": '{ __type(name: "User") { name } }',
    "what does not parse": "{",
    "what is not valid": "{ nonsense }",
}


@pytest.mark.parametrize("way", FOR_QUERIES)
@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
async def test_everything_else_is_refused(only: PersistedServer, way: str, text: str) -> None:
    for members in ({"query": text}, {"query": text, **hashed(digest(text))}):
        answer = await FOR_QUERIES[way](only, members)
        assert refusal(answer) == "PERSISTED_DOCUMENT_REQUIRED"
        assert "Send the id of one as 'documentId'" in answer["errors"][0]["message"]
    with_id = await FOR_QUERIES[way](only, {"query": text, "documentId": f"sha256:{digest(text)}"})
    assert refusal(with_id) == "PERSISTED_DOCUMENT_REQUIRED"
    assert await by_post(only, {"query": ME}) == READER  # and nothing has changed


@pytest.mark.parametrize("way", FOR_SUBSCRIPTIONS)
async def test_other_subscriptions_are_refused_too(only: PersistedServer, way: str) -> None:
    assert await FOR_SUBSCRIPTIONS[way](only, {"documentId": relays_id(FOLLOW)}) == READY
    assert await FOR_SUBSCRIPTIONS[way](only, {"query": FOLLOW}) == READY
    other = {"query": "subscription { viewerEvents { __typename } }"}
    assert refusal(await FOR_SUBSCRIPTIONS[way](only, other)) == "PERSISTED_DOCUMENT_REQUIRED"


@pytest.mark.parametrize("way", FOR_QUERIES)
async def test_an_unknown_id_does_not_make_links_send_the_document(only: PersistedServer, way: str) -> None:
    for members in ({"documentId": "x"}, hashed("0" * 64)):
        answer = await FOR_QUERIES[way](only, members)
        assert refusal(answer) == "PERSISTED_DOCUMENT_NOT_FOUND"
        assert "'query'" not in answer["errors"][0]["message"]


async def test_a_refused_operation_leaves_its_id_free(only: PersistedServer) -> None:
    assert refusal(await by_socket(only, {"query": TYPENAME})) == "PERSISTED_DOCUMENT_REQUIRED"
    async with connected(only.port, only.token) as client:
        assert await client.refused(TYPENAME) == "PERSISTED_DOCUMENT_REQUIRED"
        assert await client.refused(TYPENAME) == "PERSISTED_DOCUMENT_REQUIRED"
        assert await client.ask(ME) == READER


@pytest.mark.parametrize("members", BAD)
async def test_whatever_is_malformed_is_an_error_of_the_client(only: PersistedServer, members: Result) -> None:
    for accept in (NEW, OLD):
        assert refusal(await by_post(only, members, accept)) in {"BAD_REQUEST", "PERSISTED_DOCUMENT_NOT_FOUND"}
