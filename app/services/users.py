"""People: provisioning from a token, profiles, lists."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any

from sqlalchemy import BigInteger, Select, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from app.auth import Authenticator, Claims
from app.db import Database, Statements, Write, among, has_text, search
from app.errors import ErrorCode, Forbidden, NotFound
from app.events.log import WORKSPACE, EventType, emit, user_stream
from app.models import StreamHead, User
from app.pages import Kind, Page, Slice, cut, parameters, window
from app.services.access import Actor, access_users
from app.text import clean_line, clean_text, clean_url

MAX_NAME_LENGTH = 80
MAX_BIO_LENGTH = 1000


BY_SUBJECT = select(User).where(User.auth0_id == bindparam("subject"))
LAST_SEEN = select(User.id, User.last_seen_at).where(among(User.id, bindparam("user_ids", type_=ARRAY(BigInteger))))
BY_ID = select(User).where(among(User.id, bindparam("user_ids", type_=ARRAY(BigInteger))))


async def find_user(session: Statements, claims: Claims) -> User | None:
    """The user of this token, if they have been here before."""
    return await session.first(BY_SUBJECT, {"subject": claims.subject})


async def provision_user(database: Database, authenticator: Authenticator, claims: Claims) -> User:
    """Make the user of a token seen for the first time. Two first requests at the same time make one user."""
    profile = await authenticator.profile(claims)  # may ask the issuer: never inside a transaction
    # Names are for everybody, addresses and subjects are not: of an address only what stands before the @ may become a
    # name, of a subject only a digest.
    nameless = f"User {sha256(claims.subject.encode()).hexdigest()[:6]}"
    name = first_clean(profile.name, (profile.email or "").partition("@")[0], nameless)
    # An address that the issuer has not verified may be somebody else's: kept, it would be theirs no more.
    email = profile.email if profile.email_verified else None

    async def unit(write: Write) -> User:
        made = await insert_user(write, auth0_id=claims.subject, email=email, name=name, picture=profile.picture)
        if made is None and email is not None:
            # Somebody else has this address (the same person under another login, as a rule): they come without it.
            made = await insert_user(write, auth0_id=claims.subject, email=None, name=name, picture=profile.picture)
        found = made or await find_user(write, claims)
        if found is None:
            raise NotFound("user")
        return found

    return (await database.write(unit)).value


async def insert_user(write: Write, *, auth0_id: str, email: str | None, name: str, picture: str | None) -> User | None:
    """The new user; None if the subject or the address is taken."""
    values = {"auth0_id": auth0_id, "email": email, "name": name, "picture": picture}
    made = await write.first(upsert(User).values(**values).on_conflict_do_nothing().returning(User))
    if made is not None:
        await write.run(insert(StreamHead).values(stream_id=user_stream(made.id)))
        # To whoever lists people, somebody new is a change of that list.
        emit(write, WORKSPACE, EventType.USER_UPDATED, made.id, {"user": made.id, "changed": ["created_at"]})
    return made


def first_clean(*names: str | None) -> str:
    """The first of these that is fit for a name."""
    for name in names:
        kept = "".join(char for char in name or "" if char.isprintable()).strip()[:MAX_NAME_LENGTH]
        if kept:
            return kept
    return "Somebody"


async def update_profile(write: Write, actor: Actor, *, changes: Mapping[str, str | None]) -> User:
    """`changes` holds what the caller wants changed out of name, picture and bio; null clears the latter two."""
    values: dict[str, Any] = {}
    if "name" in changes:
        values["name"] = clean_line(changes["name"] or "", ["name"], maximum=MAX_NAME_LENGTH)
    if "picture" in changes:
        picture = changes["picture"]
        values["picture"] = clean_url(picture, ["picture"]) if picture is not None else None
    if "bio" in changes:
        bio = changes["bio"]
        values["bio"] = clean_text(bio, ["bio"], maximum=MAX_BIO_LENGTH) if bio is not None else None
    return await change_user(write, actor, actor.id, values)


async def set_user_active(write: Write, actor: Actor, user_id: int | None, *, active: bool) -> User:
    if not actor.is_workspace_admin:
        raise Forbidden("Only a workspace admin may do this.")
    await access_users(write, [user_id], field="userId")
    if user_id == actor.id and not active:
        raise Forbidden("You cannot deactivate yourself. Ask another workspace admin.", field=["userId"])
    return await change_user(write, actor, user_id, {"is_active": active})


async def change_user(write: Write, actor: Actor, user_id: int | None, values: Mapping[str, Any]) -> User:
    before = await write.first(select(User).where(User.id == user_id).with_for_update(key_share=True))
    if before is None:
        raise NotFound("user", field=["userId"])
    changed = {name: value for name, value in values.items() if getattr(before, name) != value}
    if not changed:
        return before
    after = await write.first(update(User).where(User.id == user_id).values(**changed).returning(User))
    if after is None:
        raise NotFound("user", field=["userId"])
    emit(write, WORKSPACE, EventType.USER_UPDATED, actor.id, {"user": after.id, "changed": sorted(changed)})
    return after


async def users_by_id(session: Statements, user_ids: Sequence[int | None]) -> dict[int, User]:
    wanted = {user_id for user_id in user_ids if user_id is not None}
    if not wanted:
        return {}
    return {user.id: user for user in await session.rows(BY_ID, {"user_ids": list(wanted)})}


async def last_seen(session: Statements, user_ids: Sequence[int]) -> dict[int, datetime | None]:
    """When these users were last seen, which is no event: a row that is remembered does not know it."""
    return {row.id: row.last_seen_at for row in await session.tuples(LAST_SEEN, {"user_ids": list(set(user_ids))})}


@cache
def users_listed(kind: Kind, *, is_search: bool) -> Select[*tuple[Any, ...]]:
    by_name = func.lower(User.name)
    statement = window(select(User, by_name.label("sort_name")), [by_name, User.id], kind)
    return statement.where(has_text(by_name)) if is_search else statement


async def users_page(session: Statements, page: Page, *, name_contains: str | None = None) -> Slice[User]:
    """Everybody, by name."""
    statement = users_listed(Kind.of(page), is_search=bool(name_contains))
    rows = await search(session, statement, parameters(page), name_contains)
    return cut(rows, [(row.sort_name, row.id) for row in rows], page)


def usable(users: Mapping[int, User], *, field: str) -> None:
    """Raise if one of them is deactivated: they could not come."""
    for user in users.values():
        if not user.is_active:
            raise Forbidden(f"{user.name} is deactivated.", code=ErrorCode.USER_INACTIVE, field=[field])
