"""What an operation's resolvers share: who asks, one snapshot to read from, and the loaders of this operation."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from types import TracebackType
from typing import Any, Self, TypeAlias
from weakref import WeakValueDictionary

import strawberry
from strawberry.dataloader import DataLoader

from app.auth import Authenticator, Claims
from app.db import Database, Position, Reader, Write
from app.errors import Unauthenticated, UserInactive
from app.events import cursor
from app.events.broker import Broker
from app.events.hub import Hub
from app.events.log import WORKSPACE, EventType, LoggedEvent, user_stream
from app.events.presence import PresenceTracker
from app.events.typists import Typists
from app.limits import JoinCodeGuard
from app.models import Reaction, User
from app.permissions import WORKSPACE_ADMIN
from app.services.access import Actor
from app.services.known_rows import KnownRows, Moment
from app.services.known_users import KnownUsers
from app.services.reactions import reactions_by_id
from app.services.users import find_user, provision_user, users_by_id
from app.settings import Settings
from app.storage import Storage
from schema.scalars import EventCursor
from schema.transport.sessions import FORBIDDEN, RESTARTING, Session, Sessions

# Whoever may, comes back at once; the others are told at the next handshake what is the matter.
SWITCHED = "This account was switched off or on. Connect again."

Batch: TypeAlias = Callable[[Sequence[Any], Any, Any], Awaitable[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Services:
    """One per process."""

    settings: Settings
    database: Database
    authenticator: Authenticator
    broker: Broker
    hub: Hub
    presence: PresenceTracker
    typists: Typists
    storage: Storage
    sessions: Sessions = field(default_factory=Sessions)
    join_codes: JoinCodeGuard = field(default_factory=JoinCodeGuard)
    known_users: KnownUsers = field(default_factory=KnownUsers)
    known_rows: KnownRows = field(default_factory=KnownRows)
    # Running subscriptions by what makes them equal (schema/execution/group.py).
    groups: WeakValueDictionary[Any, Any] = field(default_factory=WeakValueDictionary)

    def workspace_changed(self, event: LoggedEvent | None) -> None:
        """What was remembered is not so any more; None: nobody knows what."""
        if event is None:
            self.known_rows.clear()
            self.known_users.clear()
            self.sessions.close_all(RESTARTING, SWITCHED)
        elif event.type is EventType.USER_UPDATED:
            user_id = event.payload["user"]
            self.known_rows.users.forget(user_id)
            if "is_active" in event.payload["changed"]:
                self.known_users.forget(user_id)
                self.sessions.close_user(user_id, FORBIDDEN, SWITCHED)
        elif event.type is EventType.REACTION_CATALOGUE_CHANGED:
            self.known_rows.reactions.forget(event.payload["reaction"])

    def moment(self) -> Moment | None:
        """What is known here now; None while other processes may write what is not heard of here."""
        workspace = self.hub.workspace if self.hub.has_caught_up else None
        return self.known_rows.moment(workspace) if workspace is not None else None


class Context:
    """One per operation. `claims` is None for a request without a token, `session` for one that is not of a socket."""

    def __init__(
        self, services: Services, claims: Claims | None, client_address: str | None, session: Session | None = None
    ) -> None:
        self.services = services
        self.claims = claims
        self.client_address = client_address
        self.session = session
        # Before the snapshot, which is taken by the first statement.
        self._moment = services.moment()
        self._may_remember = True
        self._has_remembered = False
        self.reader: Reader = services.database.read()
        self._actor: Actor | None = None
        self._user: User | None = None
        self._user_lock = asyncio.Lock()
        self._loaders: dict[Hashable, DataLoader[Any, Any]] = {}
        # What root fields that change something have returned or raised, by response name: none is done twice.
        self.outcomes: dict[str, Any] = {}

    @classmethod
    def for_delivery(cls, services: Services, reader: Reader, actor: Actor) -> Self:
        """For executing an event in the snapshot of `reader`, which stays the caller's to close."""
        made = cls(services, None, None)
        made.reader = reader
        made.read_anew()
        made._actor = actor
        return made

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        await self.reader.close()

    def release(self) -> None:
        """Let go of what the loaders hold: they lead back here, and only the garbage collector would find that."""
        self._loaders.clear()

    async def user(self) -> User:
        """The user who asks; made on their first request."""
        if self.claims is None:
            raise Unauthenticated
        # Sibling root fields ask at the same time: one looks, the others wait.
        async with self._user_lock:
            if self._user is None:
                known_users = self.services.known_users
                version = known_users.version
                found = await find_user(self.reader, self.claims)
                if found is None:
                    # The snapshot is older than the user will be, and its connection must not be held meanwhile: enough
                    # newcomers at once would hold them all, each waiting for a second one.
                    await self.reader.renew()
                    found = await provision_user(self.services.database, self.services.authenticator, self.claims)
                if not found.is_active:
                    raise UserInactive
                known_users.add(self.claims.subject, found.id, version)
                self._user = found
        return self._user

    async def actor(self) -> Actor:
        if self._actor is not None:
            return self._actor
        if self.claims is None:
            raise Unauthenticated
        known = self.services.known_users.get(self.claims.subject) if self.services.hub.is_current else None
        user_id = known or (await self.user()).id
        self._actor = Actor(user_id, is_workspace_admin=WORKSPACE_ADMIN in self.claims.permissions)
        return self._actor

    async def write(self, unit: Callable[[Write, Actor], Awaitable[Any]]) -> tuple[Any, EventCursor | None]:
        """Run one unit of work for the user who asks: what it returned, and the cursor of its events."""
        actor = await self.actor()
        written = await self.services.database.write(lambda write: unit(write, actor))
        return written.value, event_cursor(actor, written.positions)

    async def shown(self, find: Callable[[Reader, Actor], Awaitable[Mapping[int, Any]]], key: int) -> Any:
        """What was written, as it is in the snapshot that the rest of the payload is read from; None if hidden by now.

        Others may have written since the commit: the row of the write beside a later cursor would lose their change,
        and whoever was removed in between would go on seeing.
        """
        return (await find(self.reader, await self.actor())).get(key)

    async def renew(self) -> None:
        """Another snapshot from here on: before a mutation, so that its payload shows what it wrote."""
        await self.reader.renew()
        self._moment = self.services.moment()
        self._loaders.clear()

    def read_anew(self) -> None:
        """Show nothing that is remembered: an event must not be shown with what it has changed as it was before."""
        self._may_remember = False

    async def users(self, ids: Sequence[int]) -> dict[int, User]:
        """To be shown, perhaps from memory."""
        if self._moment is None or not self._may_remember:
            return await users_by_id(self.reader, ids)
        self._has_remembered = True
        return await self.services.known_rows.users.find(self.reader, ids, self._moment.users)

    async def reactions(self, ids: Sequence[int]) -> dict[int, Reaction]:
        """Of the catalogue, likewise."""
        if self._moment is None or not self._may_remember:
            return await reactions_by_id(self.reader, ids)
        self._has_remembered = True
        return await self.services.known_rows.reactions.find(self.reader, ids, self._moment.reactions)

    def not_ahead(self, positions: Mapping[str, Position], *, only_if_remembered: bool = False) -> dict[str, Position]:
        """Positions of the snapshot, but that of the workspace not beyond the events of which is known what changed.

        With `only_if_remembered`, that is so only if something was shown from memory before.
        """
        found = {**positions}
        if self._moment is not None and WORKSPACE in found and (self._has_remembered or not only_if_remembered):
            found[WORKSPACE] = min(found[WORKSPACE], self._moment.workspace, key=attrgetter("epoch", "seq"))
        return found

    def load(self, batch: Batch, parent: Any, arguments: Any, info: Any) -> Awaitable[Any]:
        """The value of a batch function for one parent, fetched together with those of its siblings."""
        loader = self._loaders.get((batch, arguments))
        if loader is None:

            async def load_all(parents: list[Any]) -> Sequence[Any]:
                return await batch(parents, arguments, info)

            # Without the cache: the same row under two parents is two keys, and rows are no good dictionary keys.
            loader = self._loaders[batch, arguments] = DataLoader(load_all, cache=False)
        return loader.load(parent)


def actor_of(session: Session) -> Actor:
    assert session.user is not None  # noqa: S101 - nothing runs in a session before it is known whose it is
    return Actor(session.user.id, is_workspace_admin=WORKSPACE_ADMIN in session.claims.permissions)


def event_cursor(actor: Actor, positions: Mapping[str, Position]) -> EventCursor | None:
    """The cursor of what was written, without the private streams of other people; None if nothing was."""
    shown = {stream: at for stream, at in positions.items() if stream[0] != "u" or stream == user_stream(actor.id)}
    return EventCursor(cursor.encode(shown)) if shown else None


Info: TypeAlias = strawberry.Info[Context, None]
