"""A real HTTPS issuer of Auth0's shape on loopback: tests make it rotate its keys, fail, hang or talk nonsense."""

import asyncio
import json
import socket
import ssl
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme
import uvicorn
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

AUDIENCE = "https://api.parley.example"
WAIT_SECONDS = 10.0


_keys: dict[tuple[int, int], rsa.RSAPrivateKey] = {}


def rsa_key(number: int, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The same key for the same number in the whole run: to make one takes a tenth of a second."""
    if (number, bits) not in _keys:
        _keys[number, bits] = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return _keys[number, bits]


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def public_jwk(number: int, bits: int = 2048, **members: Any) -> dict[str, Any]:
    """The JWK of key `number`, with other members where given and without those given as None."""
    numbers = rsa_key(number, bits).public_key().public_numbers()
    jwk = {
        "kty": "RSA",
        "kid": f"key-{number}",
        "use": "sig",
        "alg": "RS256",
        "n": base64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)),
        "e": base64url(numbers.e.to_bytes(3)),
    }
    return {name: value for name, value in (jwk | members).items() if value is not None}


def sign(header: object, payload: object, key_number: int = 0, *, bits: int = 2048) -> str:
    """A compact RS256 signature over anything at all; bytes are taken as they are, all else as JSON."""
    segments = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signing_input = ".".join(base64url(segment) for segment in segments)
    signature = rsa_key(key_number, bits).sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signing_input}.{base64url(signature)}"


class Endpoint:
    """One address of the issuer: counts its requests and answers as it was last told."""

    def __init__(self) -> None:
        self.requests: list[Headers] = []
        self.arrived = threading.Event()
        self._respond = Response("not ready", status_code=503)
        self._held: asyncio.Event | None = None
        self._drips = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def fetches(self) -> int:
        return len(self.requests)

    def answer(self, body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._drips = False
        self._respond = Response(content, status, headers, "application/json")

    def hold(self) -> None:
        """From now on keep requests waiting; `arrived` is set by the first."""
        self.arrived.clear()
        self._held = asyncio.Event()

    def release(self) -> None:
        held, self._held = self._held, None
        if held is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(held.set)

    def drip(self) -> None:
        """Begin an answer that never ends, a space at a time."""
        self._drips = True

    async def serve(self, request: Request) -> Response:
        self._loop = asyncio.get_running_loop()
        self.requests.append(request.headers)
        self.arrived.set()
        if self._held is not None:
            await self._held.wait()
        return StreamingResponse(_spaces()) if self._drips else self._respond


async def _spaces() -> AsyncIterator[bytes]:
    while True:
        yield b" "
        await asyncio.sleep(0.01)


class OidcIssuer:
    """`with OidcIssuer(folder) as issuer:` serves https://{issuer.domain}/ from a thread; trust `issuer.ca_file`."""

    def __init__(self, folder: Path) -> None:
        self.jwks = Endpoint()
        self.userinfo = Endpoint()
        self.ca_file = folder / "issuer-ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate_file = folder / "issuer-certificate.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate_file)

        self._socket = socket.create_server(("127.0.0.1", 0))
        self.domain = f"localhost:{self._socket.getsockname()[1]}"
        self.url = f"https://{self.domain}/"
        routes = [Route("/.well-known/jwks.json", self.jwks.serve), Route("/userinfo", self.userinfo.serve)]
        self._server = uvicorn.Server(
            uvicorn.Config(
                Starlette(routes=routes),
                ssl_certfile=certificate_file,
                ssl_version=ssl.PROTOCOL_TLS_SERVER,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="oidc-issuer")
        self.reset()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reset()
        self._server.should_exit = True
        self._thread.join(WAIT_SECONDS)
        self._socket.close()

    def reset(self) -> None:
        """Back to key 0, to an answering issuer without profiles, and to counters at zero."""
        for endpoint in (self.jwks, self.userinfo):
            endpoint.release()
            endpoint.requests.clear()
        self.userinfo.answer({"error": "no profile here"}, status=404)
        self.publish(0)

    def publish(self, *key_numbers: int) -> None:
        """From now on the key set has just these keys, and tokens are signed with the last."""
        self.key_number = key_numbers[-1]
        self.jwks.answer({"keys": [public_jwk(number) for number in key_numbers]})

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a good token, with other values where given and without those given as None."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "auth0|alice", "iat": now, "exp": now + 600}
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def header(self, **changes: Any) -> dict[str, Any]:
        header = {"typ": "JWT", "alg": "RS256", "kid": f"key-{self.key_number}"}
        return {name: value for name, value in (header | changes).items() if value is not None}

    def token(self, **changes: Any) -> str:
        """A good access token, with other claims where given and without those given as None."""
        return sign(self.header(), self.claims(**changes), self.key_number)
