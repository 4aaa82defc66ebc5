"""The signature of the addresses that local files are read from. Anybody who has one may read, until it expires."""

import hmac
import json
import os
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

PARAMETERS = ("name", "type", "expires", "inline")
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Granted:
    name: str
    content_type: str
    inline: bool
    seconds_left: int


class SignedUrls:
    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, key: str, *, name: str, content_type: str, seconds: int, inline: bool) -> str:
        """The query of an address, without the question mark."""
        values = [name, content_type, str(int(time.time()) + seconds), str(int(inline))]
        return urlencode([*zip(PARAMETERS, values, strict=True), ("signature", self._signature(key, values))])

    def check(self, key: str, query: Mapping[str, str]) -> Granted | None:
        """What the address grants; None if it was not signed here, or has expired."""
        values = [query.get(parameter, "") for parameter in PARAMETERS]
        signature = query.get("signature", "").encode()  # compare_digest takes ASCII only, as text
        if not hmac.compare_digest(self._signature(key, values).encode(), signature):
            return None
        name, content_type, expires, inline = values
        seconds_left = int(expires) - int(time.time())
        return Granted(name, content_type, inline == "1", seconds_left) if seconds_left > 0 else None

    def _signature(self, key: str, values: list[str]) -> str:
        # As JSON, no part can be taken for the end of another one.
        digest = hmac.digest(self._secret, json.dumps([key, *values]).encode(), "sha256")
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


def read_secret(path: Path) -> bytes:
    """The secret in this file, which is made where there is none. Raises OSError, also for what is no secret."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with open(draft, "xb", opener=partial(os.open, mode=0o600)) as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            # A link fails where a rename would replace: of workers that start together, the first one's secret stays.
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise OSError(0, f"{path.name} is damaged; delete it, and the next start makes a new one")
    return secret
