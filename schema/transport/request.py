"""From bytes to a GraphQL request. Whatever else a client sends raises Refused, and nothing but that."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from schema.transport.refusal import Refused

# A text of 2,000 tokens with long names has 30 KB; the rest is for variables: the longest message, escaped.
MAX_BODY_BYTES = 128 * 1024
# From the request's head to the end of its body. Longer is a stalled client, or one that holds connections on purpose.
BODY_SECONDS = 10.0
FORM = "multipart/form-data"
PREFLIGHT = "GraphQL-Preflight"
# Clients turn to POST at 2 KB (urql), proxies refuse from 8 KB on.
MAX_QUERY_STRING_BYTES = 16 * 1024
_CHARSET = re.compile(r'\s*charset\s*=\s*"?utf-?8"?\s*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SentRequest:
    """One well-formed GraphQL-over-HTTP request, as it was sent: with its document or with what names one, or both.

    Of `extensions` there is what `persistedQuery` has, whatever that is. schema/persisted/resolve.py makes it a
    GraphQLRequest.
    """

    query: str | None
    operation_name: str | None
    variables: dict[str, Any] | None
    document_id: str | None = None
    persisted_query: Any = None


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """A request with its document."""

    query: str
    operation_name: str | None
    variables: dict[str, Any] | None
    last_event_id: str | None = None  # a cursor that is as good as one more in the subscription's `after`


def read_query_string(query_string: bytes) -> SentRequest:
    """A GET request; variables and extensions are JSON texts, and an empty parameter is none."""
    if len(query_string) > MAX_QUERY_STRING_BYTES:
        raise Refused(414, f"The URL's query part is limited to {MAX_QUERY_STRING_BYTES:,} bytes. Use POST.")
    try:
        pairs = parse_qsl(query_string.decode(), keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise Refused(400, "The URL's query part is not percent-encoded UTF-8, or has over 50 parameters.") from None
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name in given:
            raise Refused(400, f"The parameter '{name[:50]}' is given twice.")
        given[name] = value
    for name in ("variables", "extensions"):
        if given.get(name):
            given[name] = read_json(given[name].encode(), f"The parameter '{name}'")
    return check_request({name: value for name, value in given.items() if value != ""})


def check_content(headers: Headers) -> bool:
    """Whether the body is a form with files (multipart.py) rather than plain JSON.

    Refuse what is neither: above all the types a browser sends for any page, without asking (CSRF). Forms are among
    them, so that they need a header which makes the browser ask first.
    """
    content_type, *parameters = headers.get("content-type", "").split(";")
    accepted = {"Accept-Post": f"application/json, {FORM}"}
    is_form = content_type.strip().lower() == FORM
    if not is_form and content_type.strip().lower() != "application/json":
        message = f"Send the body as JSON, with 'Content-Type: application/json'; with files, as {FORM}."
        raise Refused(415, message, headers=accepted)
    if is_form and not headers.get(PREFLIGHT, "").strip():
        raise Refused(400, f"A body of {FORM} needs the header '{PREFLIGHT}', whatever its value, such as '1'.")
    charsets = [parameter for parameter in parameters if parameter.strip().lower().startswith("charset")]
    if not all(_CHARSET.fullmatch(charset) for charset in charsets):
        raise Refused(415, "Send the body in UTF-8.", headers=accepted)
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(415, "Send the body uncompressed.", headers={"Accept-Encoding": "identity"})
    return is_form


async def read_body(receive: Receive, *, seconds: float = BODY_SECONDS) -> SentRequest:
    """A POST request with a JSON body, which must arrive within so many seconds."""
    return check_request(read_json(await _bytes(receive, seconds), "The body"))


async def _bytes(receive: Receive, seconds: float) -> bytes:
    """Stop at the limit, whatever Content-Length says or leaves out."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part: bytes = message.get("body", b"")
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise Refused(413, f"The body is limited to {MAX_BODY_BYTES:,} bytes. Send less at once.")
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        late = f"The body did not arrive within {seconds:g} seconds. Send the request again."
        raise Refused(408, late, headers={"Connection": "close"}) from None


def read_json(text: bytes, what: str) -> Any:
    try:
        # Strict: no NaN, no lone surrogates, no invalid UTF-8, at most 1,024 levels.
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"{what} is not valid JSON: {error.msg} at character {error.pos}.") from None


def check_request(given: Any, what: str = "The body") -> SentRequest:
    """The members of a request, decoded already; raises Refused."""
    if isinstance(given, list):
        raise Refused(400, "Batches are not supported: send one request per operation, not an array of them.")
    if not isinstance(given, dict):
        raise Refused(400, f"{what} must be a JSON object with a 'query'.")
    query, document_id = given.get("query"), given.get("documentId")
    persisted_query = (_typed(given, "extensions", dict, "an object") or {}).get("persistedQuery")
    has_id = document_id is not None or persisted_query is not None
    if query == "" and has_id:
        query = None  # graphql-ws sends nothing without a query
    if query is None and not has_id:
        raise Refused(400, "There is no 'query'. Send the GraphQL document as text under that name.")
    for name, value in (("query", query), ("documentId", document_id)):
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise Refused(400, f"'{name}' must be a text, and not an empty one.")
    operation_name = _typed(given, "operationName", str, "a text")
    variables = _typed(given, "variables", dict, "an object")
    return SentRequest(query, operation_name or None, variables, document_id, persisted_query)


def _typed(given: Mapping[str, Any], name: str, type_: type[Any], expected: str) -> Any:
    value = given.get(name)
    if value is not None and not isinstance(value, type_):
        raise Refused(400, f"'{name}' must be {expected} or null.")
    return value
