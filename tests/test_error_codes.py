"""What a failure tells the client, and what it tells the log."""

import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from graphql import GraphQLError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.db import Database, ReaderClosed
from app.embedded import EmbeddedPostgres
from app.errors import Conflict, ErrorCode, Forbidden, Unavailable
from app.services.memberships import member_counts
from app.services.messages import replies
from schema.errors import settle_errors, settle_exception
from tests.served import SECRET, toy_app


@pytest.fixture(scope="module")
async def toy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    app = toy_app(tmp_path_factory.mktemp("parley"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://parley.test") as client:
        yield client


async def errors(toy: httpx.AsyncClient, query: str, **variables: Any) -> list[dict[str, Any]]:
    answer = await toy.post("/graphql", json={"query": query, "variables": variables})
    found: list[dict[str, Any]] = answer.json()["errors"]
    return found


async def test_an_internal_error_is_masked_and_found_by_its_id(
    toy: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    [error] = await errors(toy, "query Stuck($n: Int) { items(count: $n) { broken } }", n=1)
    assert error["message"] == "Internal error. The server's log has the details under this errorId."
    assert error["path"] == ["items", 0, "broken"]
    assert error["extensions"]["code"] == "INTERNAL"
    [record] = caplog.records
    assert (record.name, record.levelno) == ("parley.errors", logging.ERROR)
    logged = record.getMessage()
    assert f"internal error {error['extensions']['errorId']} in operation 'Stuck' at 'items.0.broken'" in logged
    assert re.search(r'File ".*served\.py", line \d+, in broken', logged)
    assert logged.endswith("builtins.ValueError")
    assert SECRET not in caplog.text


async def test_rows_that_fail_alike_are_one_entry_in_the_log(
    toy: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    found = await errors(toy, "{ items(count: 50) { broken } }")
    assert len(found) == 50
    assert len({error["extensions"]["errorId"] for error in found}) == 1
    assert len(caplog.records) == 1
    again = await errors(toy, "{ items(count: 1) { broken } }")
    assert again[0]["extensions"]["errorId"] != found[0]["extensions"]["errorId"]


@pytest.mark.parametrize(
    "query",
    [
        '{ nonsense(text: "a private text") }',
        "{ items( a private text",
        "{ limited }",
        "query ($count: Int!) { items(count: $count) { name } }",
        "{ " + "__typename " * 500 + "}",
        '{ items(count: "a private text") { name } }',
    ],
)
async def test_mistakes_of_clients_are_not_logged(
    toy: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, query: str
) -> None:
    with caplog.at_level(logging.DEBUG):
        await errors(toy, query, count="a private text")
    assert [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))] == []


@pytest.mark.parametrize("count", [10, 50])
async def test_one_mistake_made_often_is_one_error(toy: httpx.AsyncClient, count: int) -> None:
    assert len(await errors(toy, "{ __typename " + "@aa " * count + "}")) == 1


async def test_at_most_five_mistakes_are_listed(toy: httpx.AsyncClient) -> None:
    found = await errors(toy, "{ " + " ".join(f"nonsense{number}" for number in range(300)) + " }")
    assert [error["extensions"]["code"] for error in found] == ["VALIDATION_FAILED"] * 5


async def test_messages_do_not_repeat_what_they_were_sent(toy: httpx.AsyncClient) -> None:
    for query, variables in (
        ("{ " + "x" * 30_000 + " }", {}),
        ("query ($n: Int!) { items(count: $n) { name } }", {"n": ["x" * 1000] * 100}),
        ("{ items(count: " + "9" * 5000 + ") { name } }", {}),
    ):
        [error] = await errors(toy, query, **variables)
        assert len(error["message"]) <= 501


# ---------------------------------------------------------------- the database's own errors

PASSING = {
    "a connection that an administrator ends": ("SELECT pg_terminate_backend(pg_backend_pid())",),
    "a server without memory": ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53200'; END $$",),
}


OVER_TIME = ("SET LOCAL statement_timeout = 20", "SELECT pg_sleep(5)")


async def failure(database: Database, *statements: str, **parameters: str) -> Exception:
    try:
        async with database.engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement), parameters)
    except Exception as error:  # noqa: BLE001 - which one it is, is what is to be found out
        return error
    pytest.fail("PostgreSQL took it.")


@pytest.mark.parametrize("statements", PASSING.values(), ids=PASSING)
async def test_what_may_pass_is_unavailable(
    database: Database, caplog: pytest.LogCaptureFixture, statements: tuple[str, ...]
) -> None:
    settled = settle_exception(await failure(database, *statements))
    assert settled.extensions == {"code": "UNAVAILABLE"}
    assert settled.message == Unavailable().message
    [record] = caplog.records
    assert (record.name, record.levelno) == ("parley.errors", logging.WARNING)


async def test_a_statement_over_its_time_says_so(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    settled = settle_exception(await failure(database, *OVER_TIME))
    assert settled.extensions == {"code": "UNAVAILABLE"}
    assert settled.message == "This took too long. Ask for less, or try again later."
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_different_failures_of_the_database_are_told_apart(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """They all end in the same line of a library."""
    table = "CREATE TEMP TABLE {0} (body text CONSTRAINT {0}_short CHECK (length(body) < 5)) ON COMMIT DROP"
    failures = [
        await failure(database, *OVER_TIME),
        await failure(database, "SELECT 1 / 0"),
        await failure(database, "SELECT 1 / 0"),
        await failure(database, table.format("a"), "INSERT INTO a SELECT 'too long'"),
        await failure(database, table.format("b"), "INSERT INTO b SELECT 'too long'"),
    ]
    found = [GraphQLError("", path=[number], original_error=each) for number, each in enumerate(failures)]
    settle_errors(found, operation=None, suggestions=False)
    codes = [(error.extensions or {})["code"] for error in found]
    assert codes == ["UNAVAILABLE"] + ["INTERNAL"] * 4
    ids = [(error.extensions or {})["errorId"] for error in found[1:]]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(ids)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] + [logging.ERROR] * 3


async def test_one_kind_of_failure_at_two_places_is_two_faults(
    cluster: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its tables every statement fails alike."""
    cluster.create_database("parley_without_tables")
    database = Database(cluster.url("parley_without_tables"))
    found: list[GraphQLError] = []
    for read in (member_counts, member_counts, replies):
        async with database.read() as reader:
            with pytest.raises(DBAPIError) as caught:
                await read(reader, [1])
        found.append(GraphQLError("", path=[len(found)], original_error=caught.value))
    await database.dispose()
    settle_errors(found, operation=None, suggestions=False)
    first, again, other = ((error.extensions or {})["errorId"] for error in found)
    assert first == again != other
    assert len(caplog.records) == 2


async def test_what_is_read_after_the_answer_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    settled = settle_exception(ReaderClosed())
    assert settled.extensions == {"code": "UNAVAILABLE"}
    assert caplog.records == []


async def test_a_connection_that_is_gone_is_unavailable(database: Database) -> None:
    async with database.engine.connect() as connection:
        raw = await connection.get_raw_connection()
        assert raw.driver_connection is not None
        raw.driver_connection.terminate()
        with pytest.raises(DBAPIError) as caught:
            await connection.execute(text("SELECT 1"))
    assert settle_exception(caught.value).extensions == {"code": "UNAVAILABLE"}


async def test_the_log_has_no_row_of_a_failed_statement(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    table = "CREATE TEMP TABLE notes (body text CONSTRAINT short CHECK (length(body) < 5))"
    settled = settle_exception(await failure(database, table, "INSERT INTO notes SELECT :body", body=SECRET))
    assert (settled.extensions or {})["code"] == "INTERNAL"
    assert "SQLSTATE 23514, constraint short" in caplog.text
    assert SECRET not in caplog.text


async def test_a_text_that_cannot_be_stored_is_a_bad_request(database: Database) -> None:
    settled = settle_exception(await failure(database, "SELECT CAST(:body AS text)", body="a\0b"))
    assert settled.extensions == {"code": "BAD_REQUEST"}


async def test_codes_of_payloads_stay_out_of_the_closed_list() -> None:
    """A query may meet a rule that is written for mutations."""
    for error in (Forbidden("Not you."), Conflict(ErrorCode.NAME_TAKEN, "Taken.")):
        settled = settle_exception(error)
        assert (settled.message, settled.extensions) == (error.message, {"code": "BAD_REQUEST"})
