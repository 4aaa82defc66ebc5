"""Server-sent events, byte by byte, as GraphQL over SSE uses them. docs/http.md lists what is decided here, and why.

https://html.spec.whatwg.org/multipage/server-sent-events.html,
https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md (distinct connections mode)

Lines end with LF: urql looks for an empty line between two of these, and for nothing else.
"""

import random

# Not "data: ", whose blank urql would try to read as JSON. Without any data line browsers ignore an event.
COMPLETE = b"event: complete\ndata:\n\n"
KEEP_ALIVE = b":\n\n"
# How long browsers wait before they connect again. Their own choice is the same for all, who would come back at once.
RETRY_MILLISECONDS = (1_000, 4_000)


def opening() -> bytes:
    """What a stream begins with. Some browsers and proxies pass on the headers only with the first byte behind them."""
    return b"retry: %d\n\n" % random.randint(*RETRY_MILLISECONDS)  # noqa: S311 - jitter


def event(payload: bytes, id: str | None = None) -> bytes:
    """One result. `payload` is JSON in one line; `id` is what the client sends as Last-Event-ID when it comes back."""
    if id is None:
        return b"event: next\ndata: " + payload + b"\n\n"
    return b"event: next\nid: " + id.encode() + b"\ndata: " + payload + b"\n\n"
