"""Who is connected to which process, and what follows from that: the rules of presence, without messages.

Somebody without any connection stays as they were for a while (`absence`), so that whoever comes back soon was never
away to others, and finds what they had chosen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Presence(StrEnum):
    """What others see of somebody. The values are those of the API."""

    ONLINE = "ONLINE"
    AWAY = "AWAY"
    OFFLINE = "OFFLINE"


class Choice(NamedTuple):
    """What somebody wants to be shown as. The latest counts: `at` (ms) comes first in the order of tuples."""

    at: int
    presence: Presence


@dataclass(slots=True)
class _Person:
    """Somebody who is connected, or was a moment ago."""

    connections: dict[str, int] = field(default_factory=dict)  # by process
    choice: Choice | None = None
    shown: Presence = Presence.OFFLINE


class PresenceMap:
    """`changed` is called with whoever others see differently from now on. Times are those of one clock."""

    def __init__(self, absence: float, changed: Callable[[int, Presence], None]) -> None:
        self._absence = absence
        self._changed = changed
        self._people: dict[int, _Person] = {}
        self._of_process: dict[str, set[int]] = {}
        self._absent: dict[int, float] = {}  # since when, the longest first

    def of(self, user_id: int) -> Presence:
        person = self._people.get(user_id)
        return person.shown if person is not None else Presence.OFFLINE

    def choice(self, user_id: int) -> Choice | None:
        person = self._people.get(user_id)
        return person.choice if person is not None else None

    def connections(self, user_id: int) -> Iterator[tuple[str, int]]:
        """Processes, and how many connections of the user each has."""
        person = self._people.get(user_id)
        return iter(person.connections.items() if person is not None else ())

    def count(self, process: str, user_id: int) -> int:
        person = self._people.get(user_id)
        return person.connections.get(process, 0) if person is not None else 0

    def users(self, process: str) -> frozenset[int]:
        return frozenset(self._of_process.get(process, ()))

    def put(
        self, process: str, user_id: int, connections: int, choice: Choice | None, now: float, *, keeps: bool = False
    ) -> None:
        """The process has so many connections of the user.

        `keeps`: somebody who comes back has the choice that is known here. That is for their new process to say, for
        all: each on its own would forget it at another moment.
        """
        person = self._people.get(user_id)
        if connections > 0:
            if person is None:
                person = self._people[user_id] = _Person()
            elif not person.connections and not keeps:
                person.choice = None
            self._absent.pop(user_id, None)
            person.connections[process] = connections
            self._of_process.setdefault(process, set()).add(user_id)
            person.choice = _later(person.choice, choice)
            self._show(user_id, person)
        elif person is not None and process in person.connections:
            del person.connections[process]
            self._of_process[process].discard(user_id)
            if not person.connections:
                self._absent[user_id] = now

    def choose(self, user_id: int, choice: Choice) -> None:
        """Of somebody who is not connected, nothing is kept."""
        person = self._people.get(user_id)
        if person is not None:
            person.choice = _later(person.choice, choice)
            self._show(user_id, person)

    def forget(self, process: str, now: float) -> None:
        """The process is no more."""
        for user_id in self.users(process):
            self.put(process, user_id, 0, None, now)
        self._of_process.pop(process, None)

    def expire(self, now: float) -> None:
        """Whoever was absent for long enough is offline."""
        while self._absent:
            user_id, since = next(iter(self._absent.items()))
            if now < since + self._absence:
                return
            del self._absent[user_id]
            if self._people.pop(user_id).shown is not Presence.OFFLINE:
                self._changed(user_id, Presence.OFFLINE)

    def _show(self, user_id: int, person: _Person) -> None:
        shown = person.choice.presence if person.choice is not None else Presence.ONLINE
        if shown is not person.shown:
            person.shown = shown
            self._changed(user_id, shown)


def _later(one: Choice | None, other: Choice | None) -> Choice | None:
    return max((choice for choice in (one, other) if choice is not None), default=None)
