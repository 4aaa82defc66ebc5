"""From what a client sent to a request with a document: the one way to it, on every transport.

`documentId` is that of GraphQL over HTTP, appendix A, and names what is in the manifest. `extensions.persistedQuery` is
Apollo's: it names the same, or is an automatic persisted query, which a client may send before the server knows it.
"""

import re
from typing import Any

from app.manifest import SHA256, digest
from schema.errors import TopLevelCode, coded
from schema.execution.sink import OperationFailed
from schema.guard import ParleySchema
from schema.transport.refusal import Refused
from schema.transport.request import GraphQLRequest, SentRequest

# What the links of Apollo and urql look for, to the letter: at the first they send the document from then on, at the
# second they send it once, with its hash.
NOT_SUPPORTED = "PersistedQueryNotSupported"
NOT_FOUND = "PersistedQueryNotFound"
MALFORMED = (
    "'extensions.persistedQuery' must be an object with 'version' 1 and 'sha256Hash', which is the SHA-256 of the "
    "document's text in lower-case hexadecimal, or an id of the manifest."
)
MISMATCH = "The document that was sent is not the one of this id. Send one of the two, or the id of this very text."
REQUIRED = (
    "This server runs the documents of its manifest only. Send the id of one as 'documentId', or its text unchanged. "
    "For a new document, have the manifest of PERSISTED_DOCUMENTS generated again, and the server restarted."
)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN = 80


def resolve(schema: ParleySchema, sent: SentRequest) -> GraphQLRequest:
    """Raises Refused and OperationFailed."""
    text = sent.query
    if sent.document_id is not None:
        text = _by_id(schema, sent.document_id, text)
    if sent.persisted_query is not None:
        text = _by_hash(schema, sent, text)
    assert text is not None  # noqa: S101 - check_request saw to it
    if schema.persisted.only and text not in schema.persisted.texts:
        raise _failed(REQUIRED, TopLevelCode.PERSISTED_DOCUMENT_REQUIRED)
    return GraphQLRequest(text, sent.operation_name, sent.variables)


def _by_id(schema: ParleySchema, id: str, text: str | None) -> str:
    known = schema.persisted.find(id)
    if known is not None:
        return _same(known, text)
    if text is not None and id.startswith(SHA256):
        if id != SHA256 + digest(text):
            raise _failed(MISMATCH, TopLevelCode.PERSISTED_DOCUMENT_MISMATCH)
        return text
    raise _unknown(schema, id)


def _by_hash(schema: ParleySchema, sent: SentRequest, text: str | None) -> str:
    persisted = schema.persisted
    name = _name(sent.persisted_query)
    known = persisted.find(name) if name is not None else None
    if known is not None:
        return _same(known, text)
    if persisted.automatic is not None:
        if name is None or not _DIGEST.fullmatch(name):
            raise Refused(400, MALFORMED)
        return _automatic(schema, name, text, sent.operation_name)
    if text is not None:
        return text  # as with every other extension that this server does not have
    if not persisted.has_any:
        raise Refused(400, NOT_SUPPORTED)
    if name is None:
        raise Refused(400, MALFORMED)
    if persisted.only:
        raise _unknown(schema, name)  # a link that sent the document instead would be refused for ever
    raise Refused(400, NOT_SUPPORTED)


def _automatic(schema: ParleySchema, hash: str, text: str | None, operation_name: str | None) -> str:
    recent = schema.persisted.automatic
    assert recent is not None  # noqa: S101 - the caller looked
    if text is None:
        found = recent.recall(hash)
        if found is None:
            raise _failed(NOT_FOUND, TopLevelCode.PERSISTED_QUERY_NOT_FOUND)
        return found
    # Else one client could put its document under the hash of another's.
    if hash != digest(text):
        raise _failed(MISMATCH, TopLevelCode.PERSISTED_DOCUMENT_MISMATCH)
    if recent.recall(hash) is None:
        schema.operation(text, operation_name)  # what is not valid is not worth a place
        recent.remember(hash, text)
    return text


def _same(known: str, text: str | None) -> str:
    if text is not None and text != known:
        raise _failed(MISMATCH, TopLevelCode.PERSISTED_DOCUMENT_MISMATCH)
    return known


def _name(persisted_query: Any) -> str | None:
    if not isinstance(persisted_query, dict):
        return None
    version, name = persisted_query.get("version"), persisted_query.get("sha256Hash")
    return name if type(version) is int and version == 1 and isinstance(name, str) and name else None


def _unknown(schema: ParleySchema, id: str) -> OperationFailed:
    advice = (
        "Have the manifest of PERSISTED_DOCUMENTS generated again with it, and the server restarted"
        if schema.persisted.only
        else "Send the document itself as 'query'"
    )
    message = f"This server knows no document with the id '{id[:_SHOWN]}'. {advice}."
    return _failed(message, TopLevelCode.PERSISTED_DOCUMENT_NOT_FOUND)


def _failed(message: str, code: TopLevelCode) -> OperationFailed:
    return OperationFailed([coded(message, code)])
