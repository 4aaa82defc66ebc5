"""The issuer's public keys, by key id."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from jose.backends.cryptography_backend import CryptographyRSAKey
from jose.exceptions import JOSEError

from app.auth.issuer import IssuerClient, IssuerError
from app.errors import Unauthenticated, Unavailable

ALGORITHM = "RS256"
KEY_BITS = range(2048, 8192 + 1)  # RFC 7518, 3.3 sets the lower end; a longer key only costs time
FRESH_SECONDS = 600.0
FETCH_INTERVAL_SECONDS = 60.0
# Without any key nobody can be let in, so a server that starts before its issuer tries again sooner.
FIRST_FETCH_INTERVAL_SECONDS = 5.0

logger = logging.getLogger(__name__)


class KeySource(Protocol):
    """Where the keys come from: an issuer over HTTPS, or the local one."""

    async def key(self, key_id: str) -> CryptographyRSAKey:
        """Raises Unauthenticated for an unknown key id, Unavailable when the keys cannot be had."""

    async def aclose(self) -> None: ...


class RemoteKeys:
    """The keys of an issuer, kept for ten minutes, and asked for at most once a minute whatever tokens arrive."""

    def __init__(self, issuer: IssuerClient, *, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._issuer = issuer
        self._clock = clock
        self._keys: dict[str, CryptographyRSAKey] = {}
        self._fresh_until = -math.inf
        self._next_fetch = -math.inf
        self._fetch_failed = False
        self._flight: asyncio.Task[None] | None = None

    async def key(self, key_id: str) -> CryptographyRSAKey:
        known = self._keys.get(key_id)
        if known is not None and self._clock() < self._fresh_until:
            return known
        flight = self._flight or self._start_fetch()
        # While the issuer is down, whoever has a known key does not wait for it.
        if flight is not None and (known is None or not self._fetch_failed):
            # Shielded: a request that goes away must not take the answer from the others that wait.
            await asyncio.shield(flight)
        known = self._keys.get(key_id)
        if known is not None:
            return known
        if not self._keys:
            raise Unavailable("The token issuer cannot be reached, so no token can be checked. Try again shortly.")
        raise Unauthenticated(
            "The access token is signed with a key that its issuer does not publish. Get a new token; "
            "if the issuer has just changed its keys, try again in a minute."
        )

    async def aclose(self) -> None:
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)

    def _start_fetch(self) -> asyncio.Task[None] | None:
        if self._clock() < self._next_fetch:
            return None
        self._next_fetch = self._clock() + FETCH_INTERVAL_SECONDS
        self._flight = asyncio.create_task(self._fetch(), name="jwks")
        return self._flight

    async def _fetch(self) -> None:
        try:
            self._keys = read_key_set(await self._issuer.get_json("/.well-known/jwks.json"))
            self._fresh_until = self._clock() + FRESH_SECONDS
            self._fetch_failed = False
        except IssuerError as error:
            self._fetch_failed = True
            if not self._keys:
                self._next_fetch = self._clock() + FIRST_FETCH_INTERVAL_SECONDS
            logger.warning("no new signing keys from %s (%s); keeping %d", self._issuer.url, error, len(self._keys))
        finally:
            self._flight = None


def read_key_set(document: Mapping[str, object]) -> dict[str, CryptographyRSAKey]:
    """The usable keys of a JWK set (RFC 7517) by key id; raises IssuerError when there is none.

    Others share the set with ours (encryption keys, other algorithms), so an entry that does not fit is passed over.
    """
    entries = document.get("keys")
    keys: dict[str, CryptographyRSAKey] = {}
    for entry in entries if isinstance(entries, list) else []:
        key_id = entry.get("kid") if isinstance(entry, dict) else None
        if isinstance(key_id, str) and key_id not in keys and (key := _read_key(entry)) is not None:
            keys[key_id] = key
    if not keys:
        raise IssuerError(f"its key set has no RSA key for {ALGORITHM}")
    return keys


def _read_key(entry: Mapping[str, object]) -> CryptographyRSAKey | None:
    if entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig" or entry.get("alg", ALGORITHM) != ALGORITHM:
        return None
    try:
        # Only the public members: with a 'd' jose would build a private key.
        key = CryptographyRSAKey({name: entry.get(name) for name in ("kty", "n", "e")}, ALGORITHM)
    except (JOSEError, TypeError, ValueError, ArithmeticError, UnsupportedAlgorithm):
        return None
    return key if key.prepared_key.key_size in KEY_BITS else None
