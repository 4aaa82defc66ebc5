"""From an access token to who is asking."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

from app.auth.claims import Claims, Profile, read_profile
from app.auth.issuer import IssuerClient, IssuerError
from app.auth.keys import KeySource, RemoteKeys
from app.auth.local import LOCAL_AUDIENCE, LOCAL_ISSUER, LocalIssuer
from app.auth.tokens import verify_token
from app.settings import Settings

ISSUER_TIMEOUT_SECONDS = 3.0
# A good token is not checked anew for this long: clients send the same one again and again. A key that the issuer
# withdraws is believed that much longer.
REMEMBERED_SECONDS = 60.0
REMEMBERED_TOKENS = 1_000  # of up to 8 KB

logger = logging.getLogger(__name__)


class Authenticator:
    """Checks tokens of one issuer for one audience. One per process."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        keys: KeySource,
        client: IssuerClient | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`client` asks the issuer's /userinfo; None where there is none."""
        self._clock = clock
        self._verified: OrderedDict[str, tuple[Claims, float]] = OrderedDict()
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._client = client

    async def verify(self, token: str) -> Claims:
        """Who is asking; raises Unauthenticated, TokenExpired, or Unavailable while the issuer cannot be reached."""
        now = self._clock()
        claims, good_until = self._verified.get(token, (None, now))
        if claims is not None and now < good_until and datetime.now(UTC) < claims.expires_at:
            return claims
        claims = await verify_token(token, keys=self._keys, issuer=self._issuer, audience=self._audience)
        self._verified[token] = claims, now + REMEMBERED_SECONDS
        if len(self._verified) > REMEMBERED_TOKENS:
            self._verified.popitem(last=False)
        return claims

    async def profile(self, claims: Claims) -> Profile:
        """The profile in the token, completed from the issuer's /userinfo where name or email is missing. Never fails.

        It may ask the issuer each time, so it is for the first request of a new user only.
        """
        own = Profile(
            name=claims.name, email=claims.email, email_verified=claims.email_verified, picture=claims.picture
        )
        if self._client is None or (own.name is not None and own.email is not None):
            return own
        try:
            answer = await self._client.get_json("/userinfo", token=claims.token)
        except IssuerError as error:
            logger.warning("a profile is only what the token has: %s", error)
            return own
        if answer.get("sub") != claims.subject:
            # OpenID Connect Core 5.3.2: otherwise one user's token could be answered with another's profile.
            logger.warning("a profile is only what the token has: /userinfo answered for another 'sub'")
            return own
        other = read_profile(answer)
        email_of = own if own.email is not None else other
        return Profile(
            name=own.name or other.name,
            email=email_of.email,
            email_verified=email_of.email_verified,
            picture=own.picture or other.picture,
        )

    async def aclose(self) -> None:
        await self._keys.aclose()
        if self._client is not None:
            await self._client.aclose()


def create_authenticator(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.monotonic,
    timeout_seconds: float = ISSUER_TIMEOUT_SECONDS,
) -> Authenticator:
    """For the issuer at AUTH0_DOMAIN, or for the local one where that is not set. Does not yet ask the issuer."""
    if settings.auth0_domain is None:
        # Always the local audience: 'parley token' signs for it whatever AUTH0_API_IDENTIFIER says.
        keys = LocalIssuer(settings.data_dir)
        return Authenticator(issuer=LOCAL_ISSUER, audience=LOCAL_AUDIENCE, keys=keys, client=None)
    client = IssuerClient(settings.auth0_domain, timeout_seconds=timeout_seconds)
    return Authenticator(
        issuer=client.url,
        audience=settings.auth0_api_identifier or LOCAL_AUDIENCE,
        keys=RemoteKeys(client, clock=clock),
        client=client,
        clock=clock,
    )
