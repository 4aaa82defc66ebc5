"""People."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import strawberry

from app import models
from app.events.presence_map import Presence
from app.services.users import last_seen, set_user_active, update_profile, users_by_id, users_page
from schema.context import Context, Info
from schema.enums import described
from schema.fields import NoArguments, attribute, batched, in_order, leaf, query
from schema.ids import id_of, key_of
from schema.node import Node
from schema.pagination import After, Connection, First, KeyList
from schema.payloads import Payload, UserId, argument, given, mutation
from schema.scalars import URL

USERS = KeyList("users", (str, int))

described(
    Presence,
    "How others see somebody.",
    {
        Presence.ONLINE: "Connected.",
        Presence.AWAY: "Connected, but says to be away.",
        Presence.OFFLINE: "Not connected, or prefers to look like it.",
    },
)


async def emails(parents: Sequence[models.User], args: NoArguments, info: Info) -> list[str | None]:  # noqa: ARG001
    actor = await info.context.actor()
    return [user.email if actor.is_workspace_admin or user.id == actor.id else None for user in parents]


async def presences(parents: Sequence[models.User], args: NoArguments, info: Info) -> list[Presence]:  # noqa: ARG001
    return [info.context.services.presence.of(user.id) for user in parents]


async def times_last_seen(parents: Sequence[models.User], args: NoArguments, info: Info) -> list[datetime | None]:  # noqa: ARG001
    user_ids = [user.id for user in parents]
    return in_order(await last_seen(info.context.reader, user_ids), user_ids)


@strawberry.type(description="A person.")
class User(Node):
    """Everybody sees everybody's profile."""

    id: strawberry.ID = leaf(id_of("User"), "Opaque, and unique among all objects of the server.")
    name: str = attribute("What others call them.")
    picture: URL | None = attribute("The address of their picture.")
    bio: str | None = attribute("What they say of themselves.")
    is_active: bool = attribute("False once a workspace admin has deactivated them.")
    created_at: datetime = attribute("When they first came.")
    presence: Presence = batched(presences, "How others see them at this moment.")
    last_seen_at: datetime | None = batched(
        times_last_seen,
        "When they were last seen to be connected, to the minute while they are; null if they never were. "
        "It stands still while they appear offline.",
    )
    email: str | None = batched(
        emails, "For themselves and the workspace admins; null for everybody else.", viewer=True
    )


@strawberry.type(description="A changed user.")
class UserPayload(Payload):
    """After a change of a profile."""

    user: User | None = strawberry.field(description="The user as they are now.", default=None)


@strawberry.input(description="What to change of the own profile. What is left out stays.")
class UpdateProfileInput:
    """Null clears `picture` and `bio`."""

    name: str | None = strawberry.field(default=strawberry.UNSET, description="1 to 80 characters.")
    picture: URL | None = strawberry.field(default=strawberry.UNSET, description="An https address; null removes it.")
    bio: str | None = strawberry.field(
        default=strawberry.UNSET, description="At most 1,000 characters; null removes it."
    )


async def shown_user(context: Context, user_id: int) -> Any:
    return await context.shown(lambda reader, _: users_by_id(reader, [user_id]), user_id)


@strawberry.type
class UserQuery:
    """Queries about people."""

    @query("A person by id.")
    async def user(self, info: Info, id: UserId) -> User | None:
        await info.context.actor()
        key = key_of(id, "User")
        found: dict[Any, Any] = {**await users_by_id(info.context.reader, [key])}
        return found.get(key)

    @query("Everybody, by name.")
    async def users(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        name_contains: Annotated[str | None, argument("Only names with this in them, in any case.")] = None,
    ) -> Connection[User]:
        await info.context.actor()
        found = await users_page(info.context.reader, USERS.page(first, after), name_contains=name_contains)
        return USERS.connection(found)


@strawberry.type
class UserMutation:
    """Mutations of people."""

    @mutation("Change the own profile.", UserPayload)
    async def update_profile(
        self, info: Info, input: Annotated[UpdateProfileInput, argument("What to change.")]
    ) -> UserPayload:
        changes = given(input, "name", "picture", "bio")
        user, cursor = await info.context.write(lambda write, actor: update_profile(write, actor, changes=changes))
        return UserPayload(user=await shown_user(info.context, user.id), cursor=cursor)

    @mutation("Deactivate or reactivate somebody. Workspace admins only.", UserPayload)
    async def set_user_active(
        self, info: Info, user_id: UserId, active: Annotated[bool, argument("False closes everything to the user.")]
    ) -> UserPayload:
        key = key_of(user_id, "User")
        user, cursor = await info.context.write(lambda write, actor: set_user_active(write, actor, key, active=active))
        return UserPayload(user=await shown_user(info.context, user.id), cursor=cursor)
