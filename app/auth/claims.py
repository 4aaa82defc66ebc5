"""What an access token says, once every shape it could have has been checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.errors import Invalid, Unauthenticated
from app.text import clean_line, clean_url

SUBJECT_LIMIT = 255
NAME_LIMIT = 255
EMAIL_LIMIT = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets
# How far the clocks of the issuer and of this server may be apart.
LEEWAY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Who is asking, out of a token that has been verified."""

    subject: str
    permissions: frozenset[str]
    name: str | None
    email: str | None
    email_verified: bool
    picture: str | None
    expires_at: datetime
    token: str = field(repr=False)  # whoever logs the claims must not log the token


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a new user is shown. An e-mail address that is not verified may be somebody else's."""

    name: str | None
    email: str | None
    email_verified: bool
    picture: str | None


def read_claims(raw: Mapping[str, object], *, token: str, issuer: str, audience: str) -> Claims:
    """The claims of a token of this issuer for this audience; raises Unauthenticated. Does not look at the signature.

    The signature library takes numbers from texts and booleans, so every type is checked here.
    """
    if raw.get("iss") != issuer:
        raise Unauthenticated(f"The access token is of another issuer; ask {issuer} for one.")
    audiences = raw.get("aud")
    if isinstance(audiences, str):
        audiences = [audiences]
    if not isinstance(audiences, list) or audience not in audiences:
        raise Unauthenticated(f"The access token is for another audience; ask for one with audience {audience}.")
    subject = raw.get("sub")
    # As it is, or not at all: two subjects that a clean-up makes one must not become one user.
    if not isinstance(subject, str) or subject != _line(subject, SUBJECT_LIMIT):
        raise Unauthenticated(
            f"The access token's 'sub' is not one plain line of 1 to {SUBJECT_LIMIT} characters; ask for another."
        )
    expires_at = _instant(raw, "exp")
    latest = datetime.now(UTC) + LEEWAY
    if _instant(raw, "iat") > latest or ("nbf" in raw and _instant(raw, "nbf") > latest):
        raise Unauthenticated("The access token is not valid yet; compare the clocks of the issuer and of this server.")
    profile = read_profile(raw)
    return Claims(
        subject=subject,
        permissions=_permissions(raw.get("permissions")),
        name=profile.name,
        email=profile.email,
        email_verified=profile.email_verified,
        picture=profile.picture,
        expires_at=expires_at,
        token=token,
    )


def read_profile(raw: Mapping[str, object]) -> Profile:
    """The profile claims (OpenID Connect Core 5.1) of a token or of /userinfo, without the odd values."""
    email = _line(raw.get("email"), EMAIL_LIMIT)
    return Profile(
        name=_line(raw.get("name"), NAME_LIMIT),
        email=email,
        email_verified=email is not None and raw.get("email_verified") is True,
        picture=_address(raw.get("picture")),
    )


def _instant(raw: Mapping[str, object], name: str) -> datetime:
    value = raw.get(name)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):  # NaN, infinity, a year past 9999
        pass
    raise Unauthenticated(f"The access token's '{name}' is missing or not a time; ask the issuer for another token.")


def _permissions(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(permission, str) for permission in value):
        return frozenset()
    return frozenset(value)


def _line(value: object, maximum: int) -> str | None:
    try:
        return clean_line(value, [], maximum=maximum) if isinstance(value, str) else None
    except Invalid:
        return None


def _address(value: object) -> str | None:
    try:
        return clean_url(value, []) if isinstance(value, str) else None
    except Invalid:
        return None
