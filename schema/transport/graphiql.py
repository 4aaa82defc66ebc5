"""The page for browsers: Strawberry's GraphiQL, whose scripts come from the CDN that the page names."""

import re
from base64 import b64encode
from hashlib import sha256

from starlette.responses import HTMLResponse
from strawberry.http.ides import get_graphql_ide_html

_ORIGIN = re.compile(r'(?:src|href)="(https://[^/"]+)/')
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def graphiql_page() -> HTMLResponse:
    """A response that can be sent any number of times."""
    page = get_graphql_ide_html()
    origins = " ".join(sorted(set(_ORIGIN.findall(page))))
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in _INLINE_SCRIPT.findall(page))
    # Tokens are pasted into this page: nothing but this server may be talked to, and nobody may frame it.
    policy = (
        f"default-src 'none'; script-src {origins} {hashes}; style-src {origins} 'unsafe-inline'; "
        f"font-src {origins} data:; img-src {origins} data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
        "Vary": "Accept",
    }
    return HTMLResponse(page, headers=headers)


def _hash(script: str) -> str:
    return b64encode(sha256(script.encode()).digest()).decode()
