"""Who is there."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import strawberry

from app.db import Reader
from app.errors import BadRequest, Invalid
from app.events.presence import PresenceChange
from app.events.presence_map import Presence
from app.services.access import access_users
from schema.context import Info, actor_of
from schema.execution.group import group_of
from schema.execution.operation import Operation
from schema.execution.sink import Running, Sink
from schema.fields import NoArguments, attribute, batched, in_order
from schema.ids import keys_of
from schema.payloads import argument, mutation
from schema.transport.sessions import Session
from schema.users import User, UserPayload, shown_user

MAX_USERS = 200


async def users(parents: Sequence[PresenceChange], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    user_ids = [change.user_id for change in parents]
    return in_order(await info.context.users(user_ids), user_ids)


@strawberry.type(description="How others see somebody, now or from now on.")
class PresenceEvent:
    """Over a PresenceChange. Neither stored nor numbered, so it is no Event."""

    user: User = batched(users, "Who.")
    presence: Presence = attribute("How they are seen.")
    at: datetime = attribute("When that was so.")


class PresenceArguments(NamedTuple):
    """Whom to watch."""

    user_ids: Annotated[list[strawberry.ID], argument(f"Whose presence; at most {MAX_USERS} people.")]


async def start_presence(operation: Operation, session: Session, sink: Sink) -> Running:
    wanted = list(dict.fromkeys(keys_of(operation.arguments["userIds"], "User")))
    if len(wanted) > MAX_USERS:
        raise BadRequest(f"Watch at most {MAX_USERS} people in one subscription, and the others in another one.")

    async def admit(reader: Reader) -> int:
        await access_users(reader, wanted, field="userIds")
        return 0  # everybody may see everybody's presence, so there are no rights to lose

    actor = actor_of(session)
    return await session.services.presence.feed.subscribe(
        group_of(session.services, operation, actor),
        sink,
        user_id=actor.id,
        topics=[user_id for user_id in wanted if user_id is not None],
        admit=admit,
    )


@strawberry.type
class PresenceMutation:
    """Mutations of who is there."""

    @mutation(
        "Say how others see you. It lasts until your last connection (WebSocket or event stream) ends, and then begins "
        "with ONLINE again.",
        UserPayload,
    )
    async def set_presence(
        self,
        info: Info,
        presence: Annotated[Presence, argument("OFFLINE: appear offline.")],
    ) -> UserPayload:
        actor = await info.context.actor()
        if not info.context.services.presence.choose(actor.id, presence):
            raise Invalid("You have no connection. Open a WebSocket first: presence lasts as long as one does.")
        return UserPayload(user=await shown_user(info.context, actor.id))
