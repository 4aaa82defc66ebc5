"""Who is connected to this process: their tokens, how long those last, and what they are subscribed to."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from app.auth import Claims
from app.models import User
from schema.execution.sink import Running

if TYPE_CHECKING:  # its Services have the sessions
    from schema.context import Services

# Close codes, of RFC 6455 and of graphql-transport-ws. graphql-ws, the reference client, connects again after 1012,
# 1013 and 4403 (and asks for a token anew), and after 4400, 4401, 4409 and 4429 never.
RESTARTING, TRY_AGAIN, FORBIDDEN = 1012, 1013, 4403

NOTICE_SECONDS = 60.0
# A timer runs on a clock that cannot be set, tokens end by one that can.
LONGEST_SLEEP_SECONDS = 60.0
# Clients that are all told at once come back all at once.
DRAIN_SECONDS = 0.5
DRAIN_STEP_SECONDS = 0.05
EXPIRED = "Token expired"


class SessionUser(NamedTuple):
    """What a session keeps of the user's row. That itself would keep 2 KB of its query's result."""

    id: int
    name: str


class TooManySessions(Exception):
    """`code` and the text are for the close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Session:
    """One live connection, from its first byte to its last. What runs in it is stopped when it ends."""

    __slots__ = ("_claims", "_notice", "_operations", "_timer", "_told", "address", "close", "services", "user")

    def __init__(
        self,
        services: "Services",
        claims: Claims | None,
        address: str | None,
        close: Callable[[int, str], None],
        *,
        notice_seconds: float = NOTICE_SECONDS,
    ) -> None:
        """`close` ends the connection with a close code and a reason; it returns at once and may be called again.

        So long before the token ends, operations are told.
        """
        self.services = services
        self.address = address
        self.close = close
        self.user: SessionUser | None = None
        self._claims = claims
        self._notice = timedelta(seconds=notice_seconds)
        self._operations: set[Running] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._told = False

    @property
    def claims(self) -> Claims:
        """Those of the token last given."""
        if self._claims is None:
            raise RuntimeError("The session has not begun.")
        return self._claims

    def begin(self, claims: Claims, user: User) -> None:
        """It is known who asks. From here on the session ends with the token, to the second."""
        self.user = SessionUser(user.id, user.name)
        self.renew(claims)

    def renew(self, claims: Claims) -> None:
        """Go on with this token of the same user."""
        self._claims = claims
        self._told = False
        self._watch()

    def add(self, running: Running) -> None:
        self._operations.add(running)
        if self._told:
            running.expiring(self.claims.expires_at)

    def discard(self, running: Running) -> None:
        self._operations.discard(running)

    def draining(self) -> None:
        for running in list(self._operations):
            running.draining()

    def end(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._operations:
            self._operations.pop().stop()
        self.services.sessions.remove(self)

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        expires_at, now = self.claims.expires_at, datetime.now(UTC)
        if now >= expires_at:
            self._timer = None
            self.close(FORBIDDEN, EXPIRED)
            return
        if now >= expires_at - self._notice and not self._told:
            self._told = True
            for running in list(self._operations):
                running.expiring(expires_at)
        left = (expires_at if self._told else expires_at - self._notice) - now
        delay = min(max(left.total_seconds(), 0.001), LONGEST_SLEEP_SECONDS)
        self._timer = asyncio.get_running_loop().call_later(delay, self._watch)


class Sessions:
    """The sessions of this process, and how many there may be. One per process."""

    def __init__(self) -> None:
        # How many sessions a user has in other processes; whoever knows it puts the answer here.
        self.others: Callable[[int], int] = lambda _: 0
        # Called with a user and how many sessions they have here from now on.
        self.on_change: Callable[[int, int], None] = lambda _user_id, _count: None
        self._all: set[Session] = set()
        self._of_user: defaultdict[int, set[Session]] = defaultdict(set)
        self._is_draining = False

    @property
    def count(self) -> int:
        return len(self._all)

    def of_user(self, user_id: int) -> frozenset[Session]:
        return frozenset(self._of_user.get(user_id, ()))

    def add(self, session: Session) -> None:
        """Count a connection before it is known whose it is; raises TooManySessions."""
        if self._is_draining:
            raise TooManySessions(RESTARTING, "The server is about to stop. Connect again.")
        limit = session.services.settings.max_total_websocket_connections
        if len(self._all) >= limit:
            raise TooManySessions(TRY_AGAIN, f"The server has its {limit} connections. Try again later.")
        self._all.add(session)

    def identify(self, session: Session, user: User, *, version: int) -> None:
        """Count the connection as one of this user's; raises TooManySessions.

        `version` is that of the known users before the user was looked up.
        """
        if version != session.services.known_users.version:
            # Switched off meanwhile? `close_user` did not know whose this session is.
            raise TooManySessions(TRY_AGAIN, "Accounts were switched off or on just now. Connect again.")
        limit = session.services.settings.max_websocket_connections_per_user
        if len(self._of_user.get(user.id, ())) + self.others(user.id) >= limit:
            raise TooManySessions(FORBIDDEN, f"Too many connections of this user: at most {limit}. Close another one.")
        self._of_user[user.id].add(session)
        session.user = SessionUser(user.id, user.name)
        self.on_change(user.id, len(self._of_user[user.id]))

    def remove(self, session: Session) -> None:
        self._all.discard(session)
        if session.user is None or session not in self._of_user.get(session.user.id, ()):
            return
        user_id = session.user.id
        self._of_user[user_id].discard(session)
        count = len(self._of_user[user_id])
        if not count:
            del self._of_user[user_id]
        self.on_change(user_id, count)

    def close_user(self, user_id: int, code: int, reason: str) -> None:
        """End all sessions of a user in this process."""
        for session in self.of_user(user_id):
            session.close(code, reason)

    def close_all(self, code: int, reason: str) -> None:
        """End all sessions of this process."""
        for session in list(self._all):
            session.close(code, reason)

    async def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Let nobody in any more, tell every operation, and close all sessions, spread over so many seconds."""
        self._is_draining = True
        for session in list(self._all):
            session.draining()
        left = list(self._all)
        random.shuffle(left)
        steps = max(1, round(seconds / DRAIN_STEP_SECONDS))
        share = -(-len(left) // steps)
        while left:
            await asyncio.sleep(DRAIN_STEP_SECONDS)
            for session in left[:share]:
                session.close(RESTARTING, "The server is about to stop. Connect again.")
            del left[:share]
