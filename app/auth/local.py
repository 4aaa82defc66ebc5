"""The issuer that stands in for Auth0 on one's own machine: its key is a file in the data folder."""

import hashlib
import json
import logging
import os
import secrets
import time
import unicodedata
from base64 import urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jose import jwt
from jose.backends.cryptography_backend import CryptographyRSAKey

from app.auth.keys import ALGORITHM, KEY_BITS
from app.errors import Invalid, Unauthenticated
from app.permissions import WORKSPACE_ADMIN
from app.text import clean_line

LOCAL_ISSUER = "https://parley.local/"
LOCAL_AUDIENCE = "parley"
LOCAL_NAME_LIMIT = 80
LONGEST_TTL_SECONDS = 10 * 365 * 86_400

logger = logging.getLogger(__name__)


class LocalIssuer:
    """Signs tokens for anybody who can read the data folder, and nobody else. Also the KeySource that checks them."""

    def __init__(self, data_dir: Path) -> None:
        """Makes the key in `data_dir` where there is none; raises Invalid when the key there cannot be used."""
        path = data_dir / "issuer.pem"
        try:
            if not path.exists():
                _create_key(path)
            private_key = _load_key(path)
        except OSError as error:
            raise Invalid(
                f"The local issuer's key {path} cannot be read or made ({error.strerror}). "
                "Set PARLEY_DATA_DIR to a folder of your own, or AUTH0_DOMAIN to use another issuer."
            ) from None
        self._private_key = CryptographyRSAKey(private_key, ALGORITHM)
        self._public_key = CryptographyRSAKey(private_key.public_key(), ALGORITHM)
        numbers = private_key.public_key().public_numbers()
        public = {"e": _base64url(_big_endian(numbers.e)), "kty": "RSA", "n": _base64url(_big_endian(numbers.n))}
        # RFC 7638: the digest of the required members, in this order, without white space.
        members = json.dumps(public, separators=(",", ":"))
        self._key_id = _base64url(hashlib.sha256(members.encode()).digest())
        self._jwk = {**public, "alg": ALGORITHM, "kid": self._key_id, "use": "sig"}

    def issue(self, name: str, *, admin: bool = False, ttl: int = 86_400) -> str:
        """An access token for the user `name`, in force for `ttl` seconds; raises Invalid for a bad name or ttl."""
        try:
            shown = clean_line(name, ["name"], maximum=LOCAL_NAME_LIMIT)
        except Invalid:
            raise Invalid(
                f"A user's name has 1 to {LOCAL_NAME_LIMIT} characters, none of them a control character.",
                field=["name"],
            ) from None
        if not 0 < ttl <= LONGEST_TTL_SECONDS:
            raise Invalid(f"A token's life is 1 to {LONGEST_TTL_SECONDS} seconds (10 years).", field=["ttl"])
        now = int(time.time())
        claims = {
            "iss": LOCAL_ISSUER,
            "aud": LOCAL_AUDIENCE,
            "sub": LocalIssuer.subject(shown),
            "name": shown,
            "permissions": [WORKSPACE_ADMIN] if admin else [],
            "iat": now,
            "exp": now + ttl,
        }
        token: str = jwt.encode(claims, self._private_key, algorithm=ALGORITHM, headers={"kid": self._key_id})
        return token

    @staticmethod
    def subject(name: str) -> str:
        """The subject of the tokens of this user; the case of the name does not matter."""
        # Again NFC: 'H' with a line below has no composed form, 'h' has.
        return unicodedata.normalize("NFC", f"local|{name.lower()}")

    def jwks(self) -> dict[str, Any]:
        """The public key as a JWK set (RFC 7517)."""
        return {"keys": [dict(self._jwk)]}

    async def key(self, key_id: str) -> CryptographyRSAKey:
        if key_id != self._key_id:
            raise Unauthenticated("The access token was signed with another key; get one with 'parley token NAME'.")
        return self._public_key

    async def aclose(self) -> None:
        """Nothing to close: the key is in memory."""


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)


def _create_key(path: Path) -> None:
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS.start)
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        # A link fails where a rename would replace: of two processes that start together, the first one's key stays.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _load_key(path: Path) -> rsa.RSAPrivateKey:
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
        logger.warning("%s could be read by other users; delete it to get a new key if they are not trusted", path)
    try:
        private_key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private_key = None
    if not isinstance(private_key, rsa.RSAPrivateKey) or private_key.key_size not in KEY_BITS:
        raise Invalid(f"{path} is not an RSA key of the local issuer. Delete it: the next start makes a new one.")
    return private_key
