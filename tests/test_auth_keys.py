"""The issuer's keys: rotation, outages and floods, against a real issuer and a clock that the test moves."""

import asyncio
import gzip
import json
import logging
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from app.auth import Authenticator, create_authenticator
from app.errors import TokenExpired, Unauthenticated, Unavailable
from app.settings import Settings, load_settings
from tests.oidc_issuer import AUDIENCE, WAIT_SECONDS, OidcIssuer, public_jwk, sign


class Clock:
    """Monotonic seconds that pass when the test says so."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def running_issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcIssuer]:
    with OidcIssuer(tmp_path_factory.mktemp("issuer")) as issuer:
        yield issuer


@pytest.fixture
def issuer(running_issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch) -> OidcIssuer:
    monkeypatch.setenv("SSL_CERT_FILE", str(running_issuer.ca_file))
    running_issuer.reset()
    return running_issuer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def authenticator(issuer: OidcIssuer, clock: Clock) -> AsyncIterator[Authenticator]:
    made = create_authenticator(settings_for(issuer.domain), clock=clock, timeout_seconds=WAIT_SECONDS)
    yield made
    issuer.reset()
    await made.aclose()


@pytest.fixture
async def impatient(issuer: OidcIssuer, clock: Clock) -> AsyncIterator[Authenticator]:
    made = create_authenticator(settings_for(issuer.domain), clock=clock, timeout_seconds=0.2)
    yield made
    issuer.reset()
    await made.aclose()


def settings_for(domain: str) -> Settings:
    return load_settings({"AUTH0_DOMAIN": domain, "AUTH0_API_IDENTIFIER": AUDIENCE}, env_file=None)


async def test_keys_are_asked_for_once_in_ten_minutes(
    authenticator: Authenticator, issuer: OidcIssuer, clock: Clock
) -> None:
    await authenticator.verify(issuer.token())
    clock.now += 599
    await authenticator.verify(issuer.token())
    assert issuer.jwks.fetches == 1
    clock.now += 1
    await authenticator.verify(issuer.token(sub="auth0|another"))  # the other one is remembered
    assert issuer.jwks.fetches == 2


async def test_a_good_token_is_checked_once_a_minute(
    authenticator: Authenticator, issuer: OidcIssuer, clock: Clock
) -> None:
    token = issuer.token()
    await authenticator.verify(token)
    issuer.publish(1)
    clock.now += 59
    await authenticator.verify(token)
    clock.now += 600  # by then the old key is forgotten, too
    with pytest.raises(Unauthenticated):
        await authenticator.verify(token)


async def test_a_remembered_token_expires(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    token = issuer.token(exp=int(time.time()) - 29)  # within the leeway for clocks that differ
    await authenticator.verify(token)
    await asyncio.sleep(2)
    with pytest.raises(TokenExpired):
        await authenticator.verify(token)


async def test_unknown_key_ids_cause_one_fetch_a_minute(
    authenticator: Authenticator, issuer: OidcIssuer, clock: Clock
) -> None:
    await authenticator.verify(issuer.token())
    for minute in range(1, 4):
        for _ in range(167):
            with pytest.raises(Unauthenticated):
                await authenticator.verify(sign(issuer.header(kid=uuid.uuid4().hex), issuer.claims()))
        assert issuer.jwks.fetches == minute
        clock.now += 60


async def test_a_token_for_others_causes_no_fetch(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    for changes in ({"iss": "https://evil.example/"}, {"aud": "https://other.example"}):
        with pytest.raises(Unauthenticated):
            await authenticator.verify(issuer.token(**changes))
    assert issuer.jwks.fetches == 0


async def test_a_rotation_is_picked_up_within_a_minute(
    authenticator: Authenticator, issuer: OidcIssuer, clock: Clock
) -> None:
    before = issuer.token()
    await authenticator.verify(before)
    issuer.publish(0, 1)
    clock.now += 59
    with pytest.raises(Unauthenticated, match="try again in a minute"):
        await authenticator.verify(issuer.token())
    assert issuer.jwks.fetches == 1
    clock.now += 1
    await authenticator.verify(issuer.token())
    await authenticator.verify(before)
    assert issuer.jwks.fetches == 2


async def test_a_withdrawn_key_is_refused_after_the_next_fetch(
    authenticator: Authenticator, issuer: OidcIssuer, clock: Clock
) -> None:
    before = issuer.token()
    await authenticator.verify(before)
    issuer.publish(1)
    clock.now += 600
    with pytest.raises(Unauthenticated):
        await authenticator.verify(before)


FAILURES: dict[str, Callable[[OidcIssuer], None]] = {
    "error": lambda issuer: issuer.jwks.answer({"keys": [public_jwk(1)]}, status=500),
    "redirect": lambda issuer: issuer.jwks.answer({}, status=302, headers={"Location": "/userinfo"}),
    "not JSON": lambda issuer: issuer.jwks.answer(b"<html>"),
    "not an object": lambda issuer: issuer.jwks.answer([public_jwk(1)]),
    "nested deep": lambda issuer: issuer.jwks.answer(b"[" * 100_000),
    "no keys": lambda issuer: issuer.jwks.answer({"keys": []}),
    "keys of another shape": lambda issuer: issuer.jwks.answer({"keys": {"kid": "key-1"}}),
    "too long": lambda issuer: issuer.jwks.answer({"keys": [public_jwk(1)], "padding": "x" * 256 * 1024}),
    "compressed": lambda issuer: issuer.jwks.answer(
        gzip.compress(json.dumps({"keys": [public_jwk(1)]}).encode()), headers={"Content-Encoding": "gzip"}
    ),
    "no answer": lambda issuer: issuer.jwks.hold(),
    "an answer without end": lambda issuer: issuer.jwks.drip(),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_old_keys_are_kept_when_a_fetch_fails(
    failure: str,
    impatient: Authenticator,
    issuer: OidcIssuer,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await impatient.verify(issuer.token())
    FAILURES[failure](issuer)
    clock.now += 600
    async with asyncio.timeout(WAIT_SECONDS / 2):
        for _ in range(5):
            await impatient.verify(issuer.token())
    assert issuer.jwks.fetches == 2
    assert [record.levelno for record in caplog.records if record.name == "app.auth.keys"] == [logging.WARNING]

    issuer.reset()
    issuer.publish(1)
    clock.now += 60
    await impatient.verify(issuer.token())


async def test_nobody_waits_for_an_issuer_that_is_down(
    authenticator: Authenticator, issuer: OidcIssuer, clock: Clock
) -> None:
    await authenticator.verify(issuer.token())
    issuer.jwks.answer({}, status=500)
    clock.now += 600
    await authenticator.verify(issuer.token())
    issuer.jwks.hold()
    clock.now += 60
    async with asyncio.timeout(WAIT_SECONDS / 2):
        await authenticator.verify(issuer.token())
        assert await asyncio.to_thread(issuer.jwks.arrived.wait, WAIT_SECONDS)
        await authenticator.verify(issuer.token())
    assert issuer.jwks.fetches == 3


async def test_after_an_outage_the_issuer_is_waited_for_again(
    authenticator: Authenticator, issuer: OidcIssuer, clock: Clock
) -> None:
    before = issuer.token()
    await authenticator.verify(before)
    issuer.jwks.answer({}, status=500)
    clock.now += 600
    await authenticator.verify(before)
    issuer.publish(0, 1)
    clock.now += 60
    await authenticator.verify(issuer.token())
    issuer.publish(1)
    clock.now += 600
    with pytest.raises(Unauthenticated):
        await authenticator.verify(before)


@pytest.mark.parametrize("failure", ["error", "not JSON", "no answer"])
async def test_without_any_key_the_answer_is_to_try_again(
    failure: str, impatient: Authenticator, issuer: OidcIssuer, clock: Clock
) -> None:
    FAILURES[failure](issuer)
    for _ in range(5):
        with pytest.raises(Unavailable, match="issuer cannot be reached"):
            await impatient.verify(issuer.token())
    assert issuer.jwks.fetches == 1
    issuer.reset()
    clock.now += 5
    await impatient.verify(issuer.token())


async def test_an_unreachable_issuer_is_unavailable(issuer: OidcIssuer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        domain = f"localhost:{closed.getsockname()[1]}"
    authenticator = create_authenticator(settings_for(domain))
    with pytest.raises(Unavailable):
        await authenticator.verify(issuer.token(iss=f"https://{domain}/"))
    await authenticator.aclose()


async def test_a_certificate_of_an_unknown_authority_is_refused(
    issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "another-ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "another-ca.pem"))
    authenticator = create_authenticator(settings_for(issuer.domain))
    with pytest.raises(Unavailable):
        await authenticator.verify(issuer.token())
    await authenticator.aclose()
    assert issuer.jwks.fetches == 0
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


async def test_fifty_at_once_share_one_fetch(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    tokens = [issuer.token(sub=f"auth0|{number}") for number in range(50)]
    claims = await asyncio.gather(*(authenticator.verify(token) for token in tokens))
    assert [claim.subject for claim in claims] == [f"auth0|{number}" for number in range(50)]
    assert issuer.jwks.fetches == 1


async def test_a_request_that_goes_away_leaves_the_fetch_to_the_others(
    authenticator: Authenticator, issuer: OidcIssuer
) -> None:
    issuer.jwks.hold()
    first, second = (asyncio.create_task(authenticator.verify(issuer.token())) for _ in range(2))
    assert await asyncio.to_thread(issuer.jwks.arrived.wait, WAIT_SECONDS)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    issuer.jwks.release()
    assert (await second).subject == "auth0|alice"
    assert issuer.jwks.fetches == 1


async def test_closing_ends_a_fetch_under_way(issuer: OidcIssuer) -> None:
    authenticator = create_authenticator(settings_for(issuer.domain), timeout_seconds=WAIT_SECONDS)
    issuer.jwks.hold()
    waiting = asyncio.create_task(authenticator.verify(issuer.token()))
    assert await asyncio.to_thread(issuer.jwks.arrived.wait, WAIT_SECONDS)
    async with asyncio.timeout(WAIT_SECONDS / 2):
        await authenticator.aclose()
        with pytest.raises(asyncio.CancelledError):
            await waiting


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"alg": "RS512"},
        {"kty": "EC"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"n": None},
        {"n": 5},
        {"n": "ü"},
        {"n": ""},
        {"e": "AQ"},
        {"e": "Ag"},
        {"e": None},
        {"kid": None},
        {"kid": ["key-1"]},
    ],
    ids=str,
)
async def test_a_key_that_does_not_fit_is_passed_over(
    members: dict[str, Any], authenticator: Authenticator, issuer: OidcIssuer
) -> None:
    issuer.jwks.answer({"keys": [public_jwk(1, **members), "junk", None, public_jwk(0)]})
    await authenticator.verify(issuer.token())
    with pytest.raises(Unauthenticated):
        await authenticator.verify(sign(issuer.header(kid="key-1"), issuer.claims(), 1))


async def test_a_short_key_is_passed_over(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    issuer.jwks.answer({"keys": [public_jwk(1, 1024), public_jwk(0)]})
    with pytest.raises(Unauthenticated):
        await authenticator.verify(sign(issuer.header(kid="key-1"), issuer.claims(), 1, bits=1024))


@pytest.mark.parametrize("members", [{"use": None}, {"alg": None}, {"d": "AQAB"}, {"x5c": ["junk"]}], ids=str)
async def test_a_key_that_fits_is_taken(
    members: dict[str, Any], authenticator: Authenticator, issuer: OidcIssuer
) -> None:
    issuer.jwks.answer({"keys": [public_jwk(0, **members)]})
    await authenticator.verify(issuer.token())


async def test_the_first_of_two_keys_with_one_id_counts(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    issuer.jwks.answer({"keys": [public_jwk(0), public_jwk(1, kid="key-0")]})
    await authenticator.verify(issuer.token())
