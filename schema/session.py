"""The token of a live socket."""

from datetime import UTC, datetime
from typing import Annotated

import strawberry

from app.errors import Invalid, TokenExpired, Unauthenticated
from schema.context import Context, Info
from schema.payloads import UserError, argument, user_error


@strawberry.type(description="Until when a socket lives.")
class SessionPayload:
    """No Payload: it makes no event, so it has no cursor."""

    expires_at: datetime | None = strawberry.field(description="When the new token ends.", default=None)
    errors: list[UserError] = strawberry.field(description="Empty if it was done.", default_factory=list)


async def renew_session(context: Context, token: str) -> datetime:
    """Go on with another token; when it ends. Raises Invalid."""
    await context.user()
    session = context.session
    if session is None:
        raise Invalid("Only a live socket can be renewed. Over HTTP, send the new token with the next request.")
    try:
        claims = await context.services.authenticator.verify(token)
    except (Unauthenticated, TokenExpired) as error:
        raise Invalid(error.message, field=["token"]) from None
    if claims.subject != session.claims.subject:
        raise Invalid("This token is another user's. Open another socket for them.", field=["token"])
    # Sockets know no leeway: this one would close at once.
    if claims.expires_at <= datetime.now(UTC):
        raise Invalid(TokenExpired().message, field=["token"])
    session.renew(claims)
    return claims.expires_at


@strawberry.type
class SessionMutation:
    """Mutations of the socket that they come by."""

    @strawberry.mutation(  # type: ignore[untyped-decorator]  # as all of Strawberry's that take a description
        description="Go on with a fresh token of the same user, on the WebSocket that this comes by. "
        "Without it the socket closes (4403) when its token ends, of which `SESSION_EXPIRING` notices warn."
    )
    async def renew_session(
        self, info: Info, token: Annotated[str, argument("The new access token, without 'Bearer'.")]
    ) -> SessionPayload:
        try:
            return SessionPayload(expires_at=await renew_session(info.context, token))
        except Invalid as error:
            return SessionPayload(errors=[user_error(error)])
