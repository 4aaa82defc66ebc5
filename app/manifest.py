"""The manifest of PERSISTED_DOCUMENTS: the documents that clients may name by an id instead of sending them."""

import re
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from app.settings import SettingsError

# Every document is parsed, validated and kept, in each server process: 6 ms and 25 KB for a usual one (measured).
MAX_DOCUMENTS = 2_000
MAX_BYTES = 4 * 1024 * 1024
MAX_ID_LENGTH = 256
MOST_PROBLEMS = 20
# What @apollo/generate-persisted-query-manifest writes under "format", and the only "version" there is of it.
APOLLO = "apollo-persisted-query-manifest"
SHA256 = "sha256:"
_NAME = re.compile(r"\b(?:query|mutation|subscription)\s+([_A-Za-z][_0-9A-Za-z]*)")
_FORMS = (
    "must be the manifest that Apollo's generator writes, or an object with an id and a document's text in each entry, "
    "as Relay's compiler and GraphQL Code Generator write it"
)


class PersistedDocument(NamedTuple):
    """`id` as the manifest has it; `name` is the operation's, for messages."""

    id: str
    name: str | None
    text: str

    def __str__(self) -> str:
        # As literals, since they may contain anything, and a problem has one line.
        shown = f"id {self.id[:80]!r}"
        return f"the operation {self.name[:80]!r} ({shown})" if self.name else f"the document with {shown}"


def read_manifest(path: Path) -> tuple[PersistedDocument, ...]:
    """All documents, whose texts are not looked at. Raises SettingsError with a line per problem."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # the latter by a NUL in the path
        why = error.strerror if isinstance(error, OSError) else str(error)
        advice = "Generate the manifest, let this user read it, or unset PERSISTED_DOCUMENTS."
        raise SettingsError(f"PERSISTED_DOCUMENTS is '{path}', which cannot be read: {why}. {advice}") from None
    if len(content) > MAX_BYTES:
        advice = "Remove documents that no client sends any more."
        raise SettingsError(f"PERSISTED_DOCUMENTS: '{path}' has more than {MAX_BYTES // 1024 // 1024} MB. {advice}")
    try:
        given = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        problem = f"'{path}' is not valid JSON: {error.msg} at character {error.pos}"
        raise SettingsError(f"PERSISTED_DOCUMENTS: {problem}. Generate the manifest again.") from None
    documents = _documents(given, path)
    refuse([*_twice(documents), *_misnamed(documents)])
    return documents


def refuse(problems: list[str]) -> None:
    """Raise SettingsError, if there are any."""
    if not problems:
        return
    lines = problems[:MOST_PROBLEMS]
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"{len(problems) - MOST_PROBLEMS} more are like these.")
    raise SettingsError("\n".join(f"PERSISTED_DOCUMENTS: {line}" for line in lines))


def _documents(given: Any, path: Path) -> tuple[PersistedDocument, ...]:
    entries: list[tuple[Any, Any, Any]] = []
    if isinstance(given, dict) and "format" in given:
        operations = given.get("operations")
        if given["format"] != APOLLO or given.get("version") != 1 or not isinstance(operations, list):
            expected = f'"format": "{APOLLO}", "version": 1 and an array of "operations"'
            refuse([f"'{path}' has a 'format', so it must have {expected}. Generate it with Apollo's generator."])
        entries = [
            (each.get("id"), each.get("name"), each.get("body")) if isinstance(each, dict) else (None, None, None)
            for each in given["operations"]
        ]
    elif isinstance(given, dict):
        entries = [(id, None, text) for id, text in given.items()]  # noqa: A001 - the manifest's word
    if not entries:
        refuse([f"'{path}' has no documents. It {_FORMS}."])
    if len(entries) > MAX_DOCUMENTS:
        advice = "Remove those that no client sends any more."
        refuse([f"'{path}' has {len(entries):,} documents; {MAX_DOCUMENTS:,} is the limit. {advice}"])
    problems = [_problem(place, *entry) for place, entry in enumerate(entries, 1) if not _is_good(*entry)]
    refuse([f"{problem} The file {_FORMS}." for problem in problems])
    return tuple(PersistedDocument(id, name or _name(text), text) for id, name, text in entries)  # noqa: A001 - see above


def _is_good(id: Any, name: Any, text: Any) -> bool:
    is_id = isinstance(id, str) and 0 < len(id) <= MAX_ID_LENGTH
    return is_id and isinstance(name, str | None) and isinstance(text, str)


def _problem(place: int, id: Any, name: Any, _text: Any) -> str:
    shown = f" ({str(name or id)[:80]!r})" if name or id else ""
    return f"entry {place}{shown} must have an id of 1 to {MAX_ID_LENGTH} characters and a document, both as texts."


def _name(text: str) -> str | None:
    """For whoever has to find the operation; the text need not be GraphQL."""
    found = _NAME.search(text)
    return found[1] if found else None


def _twice(documents: tuple[PersistedDocument, ...]) -> list[str]:
    """Ids of two documents. Apollo's manifests may have one per client name, which this server is not told."""
    first: dict[str, PersistedDocument] = {}
    return [
        f"{each} has the id of another document. Give every document an id of its own."
        for each in documents
        if first.setdefault(each.id, each).text != each.text
    ]


def _misnamed(documents: tuple[PersistedDocument, ...]) -> list[str]:
    """GraphQL over HTTP, appendix A: what follows on `sha256:` is the hash of the document's text, and nothing else."""
    return [
        f"{each} does not have the SHA-256 of its text as its id. Generate the manifest again, and do not edit it."
        for each in documents
        if each.id.startswith(SHA256) and each.id != SHA256 + digest(each.text)
    ]


def digest(text: str) -> str:
    """The SHA-256 of a document's text, in lower-case hexadecimal."""
    return sha256(text.encode()).hexdigest()
