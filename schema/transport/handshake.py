"""Who may open a socket, and how they say who they are."""

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from app.errors import Unauthenticated

SUBPROTOCOL = "graphql-transport-ws"
# RFC 6750, section 2.1. The scheme's name is case-insensitive, the token's characters are these.
BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
HOW_TO_SEND = 'Send {"Authorization": "Bearer <token>"} as the payload of connection_init (connectionParams).'
_DEFAULT_PORT = {"http": 80, "https": 443}


def may_connect(headers: Headers, allowed: Collection[str]) -> bool:
    """Whether the page that opens the socket, if it is one, is our own or of an allowed origin.

    Browsers let any page open a socket to anywhere, and tell whose page it is by Origin (RFC 6455, section 10.2).
    """
    origins = headers.getlist("origin")
    if not origins:
        return True
    if len(origins) > 1:
        return False
    return origins[0] in allowed or _is_same_host(origins[0], headers.getlist("host"))


def _is_same_host(origin: str, hosts: list[str]) -> bool:
    """The scheme is not compared: behind a proxy that ends TLS this server does not know its own."""
    if len(hosts) != 1:
        return False
    try:
        ours, theirs = urlsplit(f"//{hosts[0]}"), urlsplit(origin)
        ports = ours.port, theirs.port
    except ValueError:  # a port that is no number, a bracket without its other
        return False
    default = _DEFAULT_PORT.get(theirs.scheme)
    if default is None or not theirs.hostname:
        return False
    return theirs.hostname == ours.hostname and len({port or default for port in ports}) == 1


def token_of(payload: Mapping[str, Any]) -> str:
    """The token of a connection_init: as the header it would be over HTTP. Raises Unauthenticated."""
    headers = payload.get("headers")
    sources = [payload, headers] if isinstance(headers, dict) else [payload]
    found = [value for source in sources for name, value in source.items() if name.lower() == "authorization"]
    # The same in two spellings is one: clients send both, not knowing which the server reads.
    if not found or not isinstance(found[0], str) or any(other != found[0] for other in found):
        raise Unauthenticated(HOW_TO_SEND)
    match = BEARER.fullmatch(found[0])
    if match is None:
        raise Unauthenticated(HOW_TO_SEND)
    return match[1]
