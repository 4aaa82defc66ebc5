"""HTTPS to the issuer: bounded in time and size, and never with anything of a token in an error."""

import asyncio
import json
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

ANSWER_LIMIT = 256 * 1024  # bytes; Auth0's key set has 3 KB


class IssuerError(Exception):
    """The issuer cannot be reached, or its answer is of no use. The text is fit for a log."""


class IssuerClient:
    """GETs JSON from one issuer, whose certificate the system's (or SSL_CERT_FILE's) authorities must vouch for."""

    def __init__(self, domain: str, *, timeout_seconds: float) -> None:
        """`domain` is a host, with ':port' where it is not 443."""
        self.url = f"https://{domain}/"
        self._timeout_seconds = timeout_seconds
        self._http = httpx.AsyncClient(
            base_url=self.url,
            # httpx alone would take certifi's authorities, not those the operator of this machine trusts.
            verify=ssl.create_default_context(),
            timeout=timeout_seconds,
            # No compression: the limit below counts what was received, and a small answer must not unpack to a big one.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            # A cookie given with one user's /userinfo must not go out with the next user's.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        )

    async def get_json(self, path: str, *, token: str | None = None) -> dict[str, object]:
        """The JSON object at `path`, asked for with `token` where given; raises IssuerError."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        body = bytearray()
        try:
            # httpx limits each read; an answer that drips needs a limit for the whole.
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._http.stream("GET", path, headers=headers) as answer,
            ):
                if answer.status_code != httpx.codes.OK:
                    raise IssuerError(f"{path} answered {answer.status_code}")
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > ANSWER_LIMIT:
                        raise IssuerError(f"{path} answered more than {ANSWER_LIMIT} bytes")
        except (TimeoutError, httpx.TimeoutException):
            raise IssuerError(f"{path} did not answer within {self._timeout_seconds:g} s") from None
        except httpx.HTTPError as error:
            raise IssuerError(f"{path}: {error}") from None
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise IssuerError(f"{path} did not answer with a JSON object")
        return document

    async def aclose(self) -> None:
        await self._http.aclose()
