"""Users and the catalogue of reactions, remembered: most answers show the same few over and over.

To be asked only while the workspace's events arrive (`Hub.has_caught_up`), each of which says what changed.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.db import Position, Statements
from app.models import Reaction, User
from app.services.reactions import reactions_by_id
from app.services.users import users_by_id

T = TypeVar("T")

MAX_USERS = 5_000  # with the longest biographies 25 MB, as a rule 3
MAX_REACTIONS = 2_000


class Rows(Generic[T]):
    """Rows by id; of too many, those that were read last stay."""

    def __init__(self, read: Callable[[Statements, Sequence[int]], Awaitable[dict[int, T]]], most: int) -> None:
        self.version = 0
        self.most = most
        self._read = read
        self._rows: dict[int, T] = {}

    async def find(self, session: Statements, ids: Sequence[int], version: int) -> dict[int, T]:
        """Those that there are. `version` is what it was before the session's snapshot."""
        rows = self._rows
        wanted = set(ids)
        found = {id_: rows[id_] for id_ in wanted if id_ in rows}
        if len(found) < len(wanted):
            missing = await self._read(session, [id_ for id_ in wanted if id_ not in found])
            found |= missing
            # Else it may be from before an event that has gone by, and would stay so.
            if version == self.version:
                rows.update(missing)
                while len(rows) > self.most:
                    del rows[next(iter(rows))]
        return found

    def forget(self, id_: int) -> None:
        self.version += 1
        self._rows.pop(id_, None)

    def clear(self) -> None:
        self.version += 1
        self._rows.clear()


@dataclass(frozen=True, slots=True)
class Moment:
    """What was known here before a snapshot: all events of the workspace up to this position, and these versions."""

    workspace: Position
    users: int
    reactions: int


@dataclass(slots=True)
class KnownRows:
    """One per process."""

    users: Rows[User] = field(default_factory=lambda: Rows(users_by_id, MAX_USERS))
    reactions: Rows[Reaction] = field(default_factory=lambda: Rows(reactions_by_id, MAX_REACTIONS))

    def moment(self, workspace: Position) -> Moment:
        return Moment(workspace, self.users.version, self.reactions.version)

    def clear(self) -> None:
        self.users.clear()
        self.reactions.clear()
