"""GraphQL over HTTP on a real socket: slow, endless and vanishing clients."""

import json
import logging
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.served import FINISHED, RELEASE, RUNNING, WAIT_SECONDS, Served, toy_app

LIMIT = 128 * 1024
QUERY = b'{"query": "{ __typename }"}'
BODY_SECONDS = 0.4


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(toy_app(tmp_path_factory.mktemp("parley"), body_seconds=BODY_SECONDS)) as served:
        yield served


@pytest.fixture
def no_errors_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING):
        yield
    assert [record.getMessage() for record in caplog.get_records("call")] == []


def post_head(*headers: str) -> bytes:
    lines = ["POST /graphql HTTP/1.1", "Host: parley.test", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode()


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    received = b""
    while part := connection.recv(65_536):
        received += part
    return received


def assert_serves(served: Served) -> None:
    assert httpx.post(served.url, json={"query": "{ __typename }"}).json() == {"data": {"__typename": "Query"}}


@pytest.mark.usefixtures("no_errors_logged")
def test_a_body_over_the_limit_is_413_whatever_its_length_says(served: Served) -> None:
    padded = QUERY[:-1] + b', "padding": "' + b"a" * LIMIT + b'"}'
    headers = {"content-type": "application/json"}
    with httpx.Client() as client:
        for content in (padded, iter([padded[:1000], padded[1000:]])):  # the second without Content-Length
            answer = client.post(served.url, content=content, headers=headers)
            assert answer.status_code == 413
            assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
        largest = QUERY[:-1] + b', "padding": "'
        largest += b"a" * (LIMIT - len(largest) - 2) + b'"}'
        assert client.post(served.url, content=largest, headers=headers).status_code == 200


@pytest.mark.usefixtures("no_errors_logged")
def test_a_body_that_trickles_is_408_and_cut(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_SECONDS) as connection:
        started = time.monotonic()
        connection.sendall(post_head("Content-Length: 1000") + b"{")
        received = read_all(connection)
        assert received.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in received.lower()
        assert time.monotonic() - started < BODY_SECONDS + 2
    assert_serves(served)


@pytest.mark.usefixtures("no_errors_logged")
def test_a_client_that_leaves_while_sending_is_no_error(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_SECONDS) as connection:
        connection.sendall(post_head("Content-Length: 1000") + b"{")
    time.sleep(BODY_SECONDS)  # nothing tells when the server has noticed
    assert_serves(served)


@pytest.mark.usefixtures("no_errors_logged")
def test_a_client_that_leaves_while_waiting_is_no_error(served: Served) -> None:
    body = b'{"query": "{ wait }"}'
    with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_SECONDS) as connection:
        connection.sendall(post_head(f"Content-Length: {len(body)}") + body)
        assert RUNNING.wait(WAIT_SECONDS)
    RELEASE.set()
    # The operation ends by itself: a mutation must not be torn in half.
    assert FINISHED.wait(WAIT_SECONDS)
    assert_serves(served)


def test_a_refused_token_is_answered_before_the_body_is_sent(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_SECONDS) as connection:
        connection.sendall(post_head("Content-Length: 1000", "Authorization: Bearer nonsense"))
        assert connection.recv(12) == b"HTTP/1.1 401"


def test_head_is_get_without_the_body(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_SECONDS) as connection:
        connection.sendall(
            b"HEAD /graphql?query={__typename} HTTP/1.1\r\nHost: parley.test\r\nConnection: close\r\n\r\n"
        )
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b""


def test_the_address_is_the_connections_own(served: Served) -> None:
    """Whoever can write X-Forwarded-For could else choose an address per guess of a join code."""
    headers = {"x-forwarded-for": "203.0.113.9", "forwarded": "for=203.0.113.9", "x-real-ip": "203.0.113.9"}
    answer = httpx.post(served.url, json={"query": "{ address }"}, headers=headers)
    assert answer.json() == {"data": {"address": "127.0.0.1"}}


def test_a_connection_is_used_again_after_a_refusal(served: Served) -> None:
    body = json.dumps({"query": "{ __typename }"}).encode()
    with httpx.Client() as client:
        for content, status in ((b"null", 400), (body, 200), (b"[]", 400), (body, 200)):
            answer = client.post(served.url, content=content, headers={"content-type": "application/json"})
            assert answer.status_code == status
            assert "connection" not in answer.headers
