"""Access tokens against a real issuer: what is let in, and that everything else is refused as it should be."""

import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from app.auth import Authenticator, Claims, Profile, create_authenticator
from app.errors import AppError, TokenExpired, Unauthenticated
from app.settings import load_settings
from tests.oidc_issuer import AUDIENCE, OidcIssuer, base64url, public_jwk, rsa_key, sign


@pytest.fixture(scope="module")
def running_issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcIssuer]:
    with OidcIssuer(tmp_path_factory.mktemp("issuer")) as issuer, pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(issuer.ca_file))
        yield issuer


@pytest.fixture
def issuer(running_issuer: OidcIssuer) -> OidcIssuer:
    running_issuer.reset()
    return running_issuer


@pytest.fixture(scope="module")
async def authenticator(running_issuer: OidcIssuer) -> AsyncIterator[Authenticator]:
    environ = {"AUTH0_DOMAIN": running_issuer.domain, "AUTH0_API_IDENTIFIER": AUDIENCE}
    made = create_authenticator(load_settings(environ, env_file=None))
    yield made
    await made.aclose()


async def refusal(authenticator: Authenticator, token: str) -> AppError:
    with pytest.raises(AppError) as caught:
        await authenticator.verify(token)
    return caught.value


async def test_a_good_token_says_who_is_asking(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    expires_at = int(time.time()) + 600
    token = issuer.token(
        sub="auth0|alice",
        exp=expires_at,
        permissions=["workspace:admin", "read:all"],
        name="  Alice ",
        email="alice@example.com",
        email_verified=True,
        picture="https://example.com/alice.png",
    )
    claims = await authenticator.verify(token)
    assert (claims.subject, claims.token) == ("auth0|alice", token)
    assert claims.permissions == {"workspace:admin", "read:all"}
    assert (claims.name, claims.email, claims.email_verified) == ("Alice", "alice@example.com", True)
    assert claims.picture == "https://example.com/alice.png"
    assert claims.expires_at.timestamp() == expires_at
    assert token not in repr(claims)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["https://other.example", AUDIENCE]},
        {"exp": time.time() - 10},  # within the leeway of 30 s
        {"iat": time.time() + 10, "nbf": time.time() + 10},
        {"sub": "é" * 255},
    ],
    ids=["audience list", "just expired", "clock a little behind", "long subject"],
)
async def test_a_token_at_the_edge_is_accepted(
    authenticator: Authenticator, issuer: OidcIssuer, changes: dict[str, Any]
) -> None:
    await authenticator.verify(issuer.token(**changes))


@pytest.mark.parametrize("permissions", ["workspace:admin", {"workspace:admin": True}, ["workspace:admin", 1], [[]], 7])
async def test_permissions_that_are_not_a_list_of_texts_are_none(
    authenticator: Authenticator, issuer: OidcIssuer, permissions: object
) -> None:
    claims = await authenticator.verify(issuer.token(permissions=permissions))
    assert claims.permissions == frozenset()


@pytest.mark.parametrize(
    "profile",
    [
        {"name": "\ud800", "email": "a\x00@b.example", "picture": "javascript:alert(1)", "email_verified": True},
        {"name": " ", "email": ["a@b.example"], "picture": "http://example.com/a.png", "email_verified": True},
        {"name": "x" * 10_000, "email": "x" * 300, "picture": "https://" + "x" * 3_000, "email_verified": "true"},
    ],
    ids=["not text", "wrong type", "too long"],
)
async def test_odd_profile_claims_are_left_out(
    authenticator: Authenticator, issuer: OidcIssuer, profile: dict[str, Any]
) -> None:
    token = issuer.token(**{name: value for name, value in profile.items() if len(str(value)) < 5_000})
    claims = await authenticator.verify(token)
    assert (claims.name, claims.email, claims.email_verified, claims.picture) == (None, None, False, None)


async def test_an_address_is_verified_only_by_true(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    claims = await authenticator.verify(issuer.token(email="alice@example.com", email_verified="false"))
    assert (claims.email, claims.email_verified) == ("alice@example.com", False)


def hs256(issuer: OidcIssuer, encoding: Encoding) -> str:
    secret = rsa_key(0).public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    parts = (issuer.header(alg="HS256"), issuer.claims())
    signing_input = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    return f"{signing_input}.{base64url(hmac.digest(secret, signing_input.encode(), hashlib.sha256))}"


def signed(header: dict[str, Any] | None = None, key_number: int = 0, **claims: Any) -> Callable[[OidcIssuer], str]:
    return lambda issuer: sign(issuer.header(**header or {}), issuer.claims(**claims), key_number)


def raw(header: bytes | None = None, payload: bytes | None = None) -> Callable[[OidcIssuer], str]:
    return lambda issuer: sign(header or issuer.header(), payload or issuer.claims())


def payload_with(name: str, json_text: str) -> Callable[[OidcIssuer], str]:
    """A good payload but for one claim, whose JSON is given as text: numbers that Python would not write."""
    return lambda issuer: sign(
        issuer.header(), json.dumps(issuer.claims(**{name: "@"})).replace('"@"', json_text).encode()
    )


ATTACKS: dict[str, Callable[[OidcIssuer], str]] = {
    "alg none": lambda issuer: signed({"alg": "none"})(issuer).rsplit(".", 1)[0] + ".",
    "alg none, signed": signed({"alg": "none"}),
    "alg None": signed({"alg": "None"}),
    "HS256 with the public key as PEM": lambda issuer: hs256(issuer, Encoding.PEM),
    "HS256 with the public key as DER": lambda issuer: hs256(issuer, Encoding.DER),
    "RS512": signed({"alg": "RS512"}),
    "no alg": signed({"alg": None}),
    "alg as a list": signed({"alg": ["RS256"]}),
    "unknown kid": signed({"kid": "key-7"}),
    "another key": signed(key_number=1),
    "another key, in the header": signed({"jwk": public_jwk(1)}, key_number=1),
    "no kid": signed({"kid": None}),
    "kid as a number": signed({"kid": 0}),
    "kid as a list": signed({"kid": ["key-0"]}),
    "empty kid": signed({"kid": ""}),
    "crit": signed({"crit": ["exp"]}),
    "empty crit": signed({"crit": []}),
    "other issuer": signed(iss="https://evil.example/"),
    "issuer without its slash": lambda issuer: issuer.token(iss=issuer.url.rstrip("/")),
    "issuer as a list": lambda issuer: issuer.token(iss=[issuer.url]),
    "no issuer": signed(iss=None),
    "other audience": signed(aud="https://other.example"),
    "no aud": signed(aud=None),
    "empty aud": signed(aud=[]),
    "aud with a number": signed(aud=[AUDIENCE, 1]),
    "aud as an object": signed(aud={AUDIENCE: 1}),
    "no exp": signed(exp=None),
    "exp as text": signed(exp="99999999999"),
    "expired, as text": signed(exp="1"),
    "exp as a boolean": signed(exp=True),
    "exp as null": payload_with("exp", "null"),
    "exp 1e400": payload_with("exp", "1e400"),
    "exp NaN": payload_with("exp", "NaN"),
    "exp of 25 digits": payload_with("exp", "9" * 25),
    "exp of 5,000 digits": payload_with("exp", "9" * 5_000),
    "exp as a list": signed(exp=[1]),
    "no iat": signed(iat=None),
    "iat in the future": signed(iat=time.time() + 300),
    "iat as text": signed(iat="0"),
    "nbf in the future": signed(nbf=time.time() + 300),
    "nbf as text": signed(nbf="0"),
    "no sub": signed(sub=None),
    "sub as a number": signed(sub=5),
    "empty sub": signed(sub=""),
    "sub of 256 characters": signed(sub="x" * 256),
    "sub with NUL": signed(sub="auth0|\x00"),
    "sub with a lone surrogate": signed(sub="auth0|\udc00"),
    "jti as a number": signed(jti=5),
    "header not JSON": raw(header=b"RS256"),
    "header not UTF-8": raw(header=b"\xff\xfe"),
    "header an array": raw(header=b'["alg", "RS256"]'),
    "header nested deep": raw(header=b"[" * 3_000),
    "payload not JSON": raw(payload=b"alice"),
    "payload not UTF-8": raw(payload=b"\xff\xfe"),
    "payload an array": raw(payload=b"[1]"),
    "payload nested deep": raw(payload=b"[" * 3_000 + b"]" * 2_000),
    "claim nested deep": payload_with("exp", "[" * 2_000 + "]" * 2_000),
    "1 MB": signed(padding="x" * 1_000_000),
    "just over 8 KB": signed(padding="x" * 8_000),
    "four segments": lambda issuer: issuer.token() + ".e30",
    "two segments": lambda issuer: issuer.token().rsplit(".", 1)[0],
    "five segments (JWE)": lambda _: "eyJhbGciOiJkaXIifQ..aaaa.bbbb.cccc",
    "opaque": lambda _: "q2W8pTXlQ0pZ1mYh0nFh",
    "white space": lambda issuer: issuer.token() + "\n",
    "padding": lambda issuer: issuer.token() + "==",
    "characters that base64 decoders skip": lambda issuer: issuer.token() + "!",
    "lone surrogate": lambda issuer: issuer.token() + "\ud800",
    "changed signature": lambda issuer: issuer.token()[:-8] + "AAAAAAAA",
    "changed claims": lambda issuer: ".".join(
        [*issuer.token().split(".")[:1], issuer.token(sub="auth0|bob").split(".")[1], issuer.token().split(".")[2]]
    ),
    "nothing": lambda _: "",
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_bad_token_is_refused_and_shown_nowhere(
    attack: str, authenticator: Authenticator, issuer: OidcIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await authenticator.verify(issuer.token())  # so that nothing but the token is wrong
    token = ATTACKS[attack](issuer)
    error = await refusal(authenticator, token)
    assert type(error) is Unauthenticated
    assert str(error).endswith(".")
    for segment in token.split("."):
        assert len(segment) < 4 or segment not in str(error) + caplog.text


async def test_an_expired_token_is_told_apart(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    assert isinstance(await refusal(authenticator, issuer.token(exp=time.time() - 60)), TokenExpired)
    forged = sign(issuer.header(), issuer.claims(exp=time.time() - 60), 1)
    assert isinstance(await refusal(authenticator, forged), Unauthenticated)


async def test_a_refusal_says_what_to_do_next(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    assert AUDIENCE in str(await refusal(authenticator, issuer.token(aud="https://other.example")))
    assert AUDIENCE in str(await refusal(authenticator, "opaque"))
    assert "signed with RS256" in str(await refusal(authenticator, signed({"alg": "none"})(issuer)))
    assert issuer.url in str(await refusal(authenticator, issuer.token(iss="https://evil.example/")))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(AUDIENCE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
CLAIM_NAMES = st.sampled_from(
    ["iss", "aud", "sub", "exp", "iat", "nbf", "jti", "at_hash", "permissions", "name", "email", "picture"]
)


@given(changes=st.dictionaries(CLAIM_NAMES, JSON_VALUES, max_size=4))
@settings(max_examples=100, deadline=None)
async def test_any_signed_claims_give_an_answer(
    changes: dict[str, Any], authenticator: Authenticator, running_issuer: OidcIssuer
) -> None:
    token = sign(running_issuer.header(), running_issuer.claims() | changes)
    try:
        claims = await authenticator.verify(token)
    except (Unauthenticated, TokenExpired):
        return
    assert isinstance(claims, Claims)
    claims.subject.encode()


@given(header=JSON_VALUES | st.binary(max_size=50), payload=JSON_VALUES | st.binary(max_size=50), noise=st.text())
@settings(max_examples=100, deadline=None)
async def test_any_text_gives_an_answer(
    header: object, payload: object, noise: str, authenticator: Authenticator
) -> None:
    for token in (sign(header, payload), noise, f"{noise}.{noise}.{noise}"):
        assert isinstance(await refusal(authenticator, token), Unauthenticated)


FULL_PROFILE: dict[str, Any] = {"name": "Alice", "email": "alice@example.com", "email_verified": True}


async def test_a_profile_in_the_token_needs_no_request(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    profile = await authenticator.profile(await authenticator.verify(issuer.token(**FULL_PROFILE)))
    assert profile == Profile(**FULL_PROFILE, picture=None)
    assert issuer.userinfo.fetches == 0


async def test_what_the_token_lacks_comes_from_userinfo(
    authenticator: Authenticator, issuer: OidcIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    issuer.userinfo.answer(
        {"sub": "auth0|alice", "name": "Other", "email": "alice@example.com", "email_verified": True}
    )
    token = issuer.token(name="Alice")
    profile = await authenticator.profile(await authenticator.verify(token))
    assert profile == Profile(name="Alice", email="alice@example.com", email_verified=True, picture=None)
    assert [request["authorization"] for request in issuer.userinfo.requests] == [f"Bearer {token}"]
    assert token.split(".")[2] not in caplog.text


async def test_a_verified_address_of_userinfo_does_not_verify_the_token_s(
    authenticator: Authenticator, issuer: OidcIssuer
) -> None:
    issuer.userinfo.answer({"sub": "auth0|alice", **FULL_PROFILE})
    profile = await authenticator.profile(await authenticator.verify(issuer.token(email="victim@example.com")))
    assert profile == Profile(name="Alice", email="victim@example.com", email_verified=False, picture=None)


async def test_userinfo_of_another_subject_is_ignored(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    issuer.userinfo.answer({"sub": "auth0|bob", **FULL_PROFILE})
    profile = await authenticator.profile(await authenticator.verify(issuer.token(name="A")))
    assert profile == Profile(name="A", email=None, email_verified=False, picture=None)


async def test_a_cookie_for_one_user_is_not_sent_for_the_next(authenticator: Authenticator, issuer: OidcIssuer) -> None:
    issuer.userinfo.answer({"sub": "auth0|alice"}, headers={"Set-Cookie": "session=alice; Path=/"})
    for _ in range(2):
        await authenticator.profile(await authenticator.verify(issuer.token()))
    assert ["cookie" in request for request in issuer.userinfo.requests] == [False, False]


@pytest.mark.parametrize("status", [401, 429, 500, 302])
async def test_a_failing_userinfo_leaves_what_the_token_has(
    authenticator: Authenticator, issuer: OidcIssuer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.userinfo.answer({"sub": "auth0|alice", **FULL_PROFILE}, status=status, headers={"Location": issuer.url})
    profile = await authenticator.profile(await authenticator.verify(issuer.token(email="a@b.example")))
    assert profile == Profile(name=None, email="a@b.example", email_verified=False, picture=None)
    assert f"/userinfo answered {status}" in caplog.text
