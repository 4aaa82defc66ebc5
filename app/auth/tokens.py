"""The checks of an access token, around python-jose.

jose 3.5 on its own takes a token without 'aud', 'exp' or 'sub', with an 'iat' in the future or an unknown 'crit', and a
header's own choice of algorithm. So: one algorithm, one prebuilt key chosen by 'kid', and every claim required.
"""

import re
from typing import Any

from jose import jwt
from jose.exceptions import ExpiredSignatureError, JOSEError

from app.auth.claims import LEEWAY, Claims, read_claims
from app.auth.keys import ALGORITHM, KeySource
from app.errors import TokenExpired, Unauthenticated

TOKEN_LIMIT = 8 * 1024  # characters; jose decodes and parses a token before it checks anything

# RFC 7515, 7.1. jose drops characters that are not base64url, which would give one token many spellings.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_OPTIONS = {
    "require_aud": True,
    "require_exp": True,
    "require_iat": True,
    "require_sub": True,
    "leeway": LEEWAY,
}


async def verify_token(token: str, *, keys: KeySource, issuer: str, audience: str) -> Claims:
    """The claims of a valid token; raises Unauthenticated, TokenExpired, or Unavailable when no key can be had."""
    if len(token) > TOKEN_LIMIT:
        raise Unauthenticated(
            f"The access token has more than {TOKEN_LIMIT} characters; ask for one with fewer claims."
        )
    if _COMPACT.fullmatch(token) is None:
        raise _not_a_token(audience)
    try:
        header = jwt.get_unverified_header(token)
        raw = jwt.get_unverified_claims(token)
    except (JOSEError, RecursionError):  # json gives up on deep nesting with RecursionError, which jose lets through
        raise _not_a_token(audience) from None
    key_id = _key_id(header, audience)
    # Before the key is looked up: a token that is not for us must not make us ask the issuer for keys.
    claims = read_claims(raw, token=token, issuer=issuer, audience=audience)
    key = await keys.key(key_id)
    try:
        jwt.decode(token, key, algorithms=[ALGORITHM], audience=audience, issuer=issuer, options=_OPTIONS)
    except ExpiredSignatureError:
        raise TokenExpired from None
    except (JOSEError, RecursionError):
        raise Unauthenticated("The access token's signature or claims are not valid; get a new token.") from None
    return claims


def _key_id(header: dict[str, Any], audience: str) -> str:
    if header.get("alg") != ALGORITHM:
        raise _not_a_token(audience)
    if "crit" in header:
        # RFC 7515, 4.1.11: an extension that is not understood must be refused, and none is.
        raise Unauthenticated("The access token has a 'crit' header, which is not supported; ask for one without it.")
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise Unauthenticated("The access token does not say which key signed it ('kid'); get one that does.")
    return key_id


def _not_a_token(audience: str) -> Unauthenticated:
    # Auth0 gives an opaque or encrypted token when it is asked without an audience: the usual way to get here.
    return Unauthenticated(
        f"The access token is not a JWT signed with {ALGORITHM}; ask the issuer for one with audience {audience}."
    )
