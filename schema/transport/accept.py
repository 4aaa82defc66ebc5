"""Which media type a client wants: RFC 9110, section 12.5.1, for the three (and HTML) that there are."""

import re
from dataclasses import dataclass
from functools import lru_cache

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"
HTML = "text/html"

_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


@dataclass(frozen=True, slots=True)
class Preference:
    """`quality` from 0 (refused) to 1; `named` if the type itself was listed, not a wildcard that contains it."""

    quality: float
    named: bool


@lru_cache(maxsize=256)
def choose(accept: str) -> str | None:
    """The media type of one result; None if the client can read none. No header at all is the empty text."""
    if not accept.strip():
        return JSON
    graphql, json = preference(accept, GRAPHQL_RESPONSE), preference(accept, JSON)
    if graphql.quality == json.quality == 0:
        # Whoever reads nothing else; others list it beside what they would rather have, as urql does with every query.
        return EVENT_STREAM if takes_events(accept) else None
    if graphql.quality != json.quality:
        return GRAPHQL_RESPONSE if graphql.quality > json.quality else JSON
    # `*/*` is sent by tools that never heard of the new type, and expect errors with status 200.
    return GRAPHQL_RESPONSE if graphql.named else JSON


@lru_cache(maxsize=256)
def takes_events(accept: str) -> bool:
    """Whether the client can read the many results of a subscription. Wildcards say nothing of that."""
    events = preference(accept, EVENT_STREAM)
    return events.named and events.quality > 0


@lru_cache(maxsize=256)
def prefers_html(accept: str) -> bool:
    """Whether this is a browser asking for a page. It lists `*/*` too, at a lower quality."""
    html = preference(accept, HTML)
    others = max(preference(accept, JSON).quality, preference(accept, GRAPHQL_RESPONSE).quality)
    return html.named and html.quality > others


def preference(accept: str, media_type: str) -> Preference:
    """The most specific range that matches decides, whatever its place."""
    wildcards = ("*/*", media_type.partition("/")[0] + "/*", media_type)
    best, found = -1, Preference(0, named=False)
    for item in accept.split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        specificity = wildcards.index(media_range.lower()) if media_range.lower() in wildcards else -1
        if specificity > best:
            best, found = specificity, Preference(_quality(parameters), named=media_range.lower() == media_type)
    return found


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q" and _QUALITY.fullmatch(value.strip()):
            return float(value)
    return 1.0
