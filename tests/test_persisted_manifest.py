"""Manifests at the start: which are taken, and what is said of those that are not."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.auth import LocalIssuer
from app.manifest import MAX_BYTES, MAX_DOCUMENTS, MOST_PROBLEMS
from app.settings import SettingsError, load_settings
from schema.persisted.served import served_schema
from tests.eventually import eventually
from tests.persisted import INTROSPECTION, ME, TYPENAME, apollos, digest, relays, relays_id, write
from tests.processes import Served, parley, serving
from tests.redis_server import RedisServer
from tests.test_workers import workers

APOLLO = {"format": "apollo-persisted-query-manifest", "version": 1}


def operation(text: str, **others: Any) -> dict[str, Any]:
    return {"id": digest(text), "name": "Named", "type": "query", "body": text, **others}


def problems(folder: Path, manifest: Any, **environ: str) -> list[str]:
    path = write(folder, manifest)
    with pytest.raises(SettingsError) as caught:
        served_schema(load_settings({"PERSISTED_DOCUMENTS": str(path), **environ}, env_file=None))
    lines = str(caught.value).replace(str(path), "FILE").splitlines()
    assert all(line.startswith("PERSISTED_DOCUMENTS") and line.endswith(".") for line in lines), lines
    return [line.removeprefix("PERSISTED_DOCUMENTS").removeprefix(": ") for line in lines]


@pytest.mark.parametrize(
    "manifest,ids",
    [
        (apollos(ME), [digest(ME), f"sha256:{digest(ME)}"]),
        ({**APOLLO, "operations": [operation(ME, clientName="web", id="my-own")]}, ["my-own", digest(ME)]),
        (relays(ME), [relays_id(ME), digest(ME), f"sha256:{digest(ME)}"]),
        ({f"sha256:{digest(ME)}": ME}, [digest(ME), f"sha256:{digest(ME)}"]),
        ({"x-app:1": ME, "other": ME}, ["x-app:1", "other"]),
    ],
)
def test_a_document_has_its_id_and_its_hash(tmp_path: Path, manifest: Any, ids: list[str]) -> None:
    path = write(tmp_path, manifest)
    served = served_schema(load_settings({"PERSISTED_DOCUMENTS": str(path)}, env_file=None))
    assert [served.persisted.find(each) for each in ids] == [ME] * len(ids)
    assert served.persisted.find(digest(TYPENAME)) is None


@pytest.mark.parametrize(
    "manifest,expected",
    [
        (b"", "'FILE' is not valid JSON: "),
        (b'{"a": "\xff"}', "'FILE' is not valid JSON: "),
        (b"[" * 100_000, "'FILE' is not valid JSON: "),
        ([], "'FILE' has no documents. It must be the manifest that Apollo's generator writes, or an object with"),
        ({}, "'FILE' has no documents. "),
        (None, "'FILE' has no documents. "),
        ("text", "'FILE' has no documents. "),
        ({**APOLLO, "operations": []}, "'FILE' has no documents. "),
        ({**APOLLO, "version": 2, "operations": [operation(ME)]}, "'FILE' has a 'format', so it must have "),
        ({**APOLLO, "operations": {"a": ME}}, "'FILE' has a 'format', so it must have "),
        ({"format": "other", "version": 1, "operations": []}, "'FILE' has a 'format', so it must have "),
        ({**APOLLO, "operations": [operation(ME), "text"]}, "entry 2 must have an id of 1 to 256 characters and"),
        ({**APOLLO, "operations": [operation(ME, id=None)]}, "entry 1 ('Named') must have an id of 1 to 256"),
        ({**APOLLO, "operations": [operation(ME, body=None)]}, "entry 1 ('Named') must have "),
        ({**APOLLO, "operations": [operation(ME, name=["\n"])]}, "entry 1 (\"['\\\\n']\") must have "),
        ({"a": 1}, "entry 1 ('a') must have "),
        ({"": ME}, "entry 1 must have "),
        ({"a" * 257: ME}, "entry 1 ('aaaa"),
        (
            {**APOLLO, "operations": [operation(ME), operation(TYPENAME, id=digest(ME))]},
            f"the operation 'Named' (id '{digest(ME)}') has the id of another document. Give every document an id",
        ),
        ({f"sha256:{digest(TYPENAME)}": ME}, f"the operation 'Me' (id 'sha256:{digest(TYPENAME)}') does not have the"),
        ({"a\nb": "query Inbox { nonsense }"}, "the operation 'Inbox' (id 'a\\nb') cannot be used: Cannot query field"),
        ({"a": "{ nonsense }"}, "the document with id 'a' cannot be used: Cannot query field 'nonsense' on type"),
        ({"a": "query Inbox {"}, "the operation 'Inbox' (id 'a') cannot be used: Syntax Error: Expected Name, found <"),
        ({"a": ""}, "the document with id 'a' cannot be used: Syntax Error: Unexpected <EOF>. Generate"),
        ({"a": "fragment A on User { name }"}, "the document with id 'a' cannot be used: Fragment 'A' is never used."),
        (
            {"a": "query Large { " + "__typename " * 600 + "}"},
            "the operation 'Large' (id 'a') cannot be used: ",
        ),
    ],
)
def test_a_bad_manifest_is_told_in_one_line(tmp_path: Path, manifest: Any, expected: str) -> None:
    [line] = problems(tmp_path, b"null" if manifest is None else manifest)
    assert line.startswith(expected), line


def test_every_bad_document_has_its_line(tmp_path: Path) -> None:
    manifest = apollos(ME, "query Inbox { nonsense }", "mutation Rename { nonsense }", "query Deep { other }")
    lines = problems(tmp_path, manifest)
    assert [line.split("'")[1] for line in lines] == ["Inbox", "Rename", "Deep"]
    assert all("generate the manifest again with the schema that 'parley schema' prints." in line for line in lines)
    many = problems(tmp_path, {f"id{number}": "{ nonsense }" for number in range(MOST_PROBLEMS + 5)})
    assert len(many) == MOST_PROBLEMS + 1
    assert many[-1] == "5 more are like these."


def test_a_manifest_is_bounded(tmp_path: Path) -> None:
    [line] = problems(tmp_path, b" " * (MAX_BYTES + 1))
    assert line == "'FILE' has more than 4 MB. Remove documents that no client sends any more."
    [line] = problems(tmp_path, {f"id{number}": "{ __typename }" for number in range(MAX_DOCUMENTS + 1)})
    assert line == "'FILE' has 2,001 documents; 2,000 is the limit. Remove those that no client sends any more."


def test_introspection_needs_to_be_on_for_documents_too(tmp_path: Path) -> None:
    [line] = problems(tmp_path, apollos(INTROSPECTION), INTROSPECTION="off")
    assert line.startswith("the operation 'Types'")
    write(tmp_path, apollos(INTROSPECTION))
    served_schema(load_settings({"PERSISTED_DOCUMENTS": str(tmp_path / "manifest.json")}, env_file=None))


@pytest.mark.parametrize("name", ["missing.json", ".", "\0"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    settings = load_settings({"PERSISTED_DOCUMENTS": str(tmp_path / name)}, env_file=None)
    with pytest.raises(
        SettingsError, match=r"which cannot be read: .* Generate the manifest, let this user read it, or"
    ):
        served_schema(settings)


def test_settings_that_contradict_each_other_are_told() -> None:
    def told(**environ: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load_settings(environ, env_file=None)
        return str(caught.value).splitlines()

    [line] = told(PERSISTED_DOCUMENTS_ONLY="on")
    assert line.startswith("PERSISTED_DOCUMENTS_ONLY is on, so set PERSISTED_DOCUMENTS too")
    [line] = told(PERSISTED_DOCUMENTS_ONLY="on", PERSISTED_DOCUMENTS="a", AUTOMATIC_PERSISTED_QUERIES="on")
    assert "cannot be on together. Switch one of them off." in line
    assert len(told(PERSISTED_DOCUMENTS_ONLY="on", AUTOMATIC_PERSISTED_QUERIES="on")) == 2
    [line] = told(PERSISTED_DOCUMENTS="~nobody-of-this-name/manifest.json")
    assert line.startswith("PERSISTED_DOCUMENTS is '~nobody-of-this-name/manifest.json', but must be a path")


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")])
def test_the_command_tells_it_before_anything_starts(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path = write(tmp_path, apollos("query Inbox { nonsense }", "query Outbox { nonsense }"))
    folder = tmp_path / "data"
    redis = "redis://127.0.0.1:1"
    done = parley(folder, "serve", *arguments, PERSISTED_DOCUMENTS=str(path), REDIS_URL=redis)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split("'")[1] for line in lines] == ["Inbox", "Outbox"]
    assert all(line.startswith("parley: PERSISTED_DOCUMENTS: the operation ") for line in lines)
    assert not (folder / "postgres").exists()


@pytest.fixture
def home() -> Iterator[Path]:
    """Not below pytest's own folder, which is closed to PostgreSQL's user."""
    with tempfile.TemporaryDirectory(prefix="parley-run-") as folder:
        yield Path(folder)


def by_id(server: Served) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {LocalIssuer(server.folder).issue('alice')}"}
    answer = httpx.post(f"{server.url}/graphql", json={"documentId": digest(ME)}, headers=headers)
    found: dict[str, Any] = answer.json()
    return found


async def test_workers_have_the_manifest_of_the_start(home: Path) -> None:
    """Also those that replace others, whatever has become of the file."""
    path = write(home, apollos(ME))
    with (
        RedisServer() as redis,
        serving(
            home / "data",
            *("--workers", "2"),
            REDIS_URL=redis.url,
            PERSISTED_DOCUMENTS=str(path),
            PERSISTED_DOCUMENTS_ONLY="on",
        ) as server,
    ):
        path.unlink()
        before = workers(server)
        assert len(before) == 2
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: len(workers(server) - before) == 2, seconds=30)
        for _ in range(6):  # either may answer
            assert by_id(server) == {"data": {"viewer": {"user": {"name": "Alice"}}}}
        assert "PERSISTED_DOCUMENT_REQUIRED" in server.ask(TYPENAME)
