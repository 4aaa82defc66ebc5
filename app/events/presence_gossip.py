"""What processes tell each other of who is connected to them.

Every message may get lost: what it said is said again by the next summary. Messages of a process carry numbers, so
that one that comes late, or after the process has ended, changes nothing.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.events.broker import Broker
from app.events.presence_map import Choice, Presence, PresenceMap
from app.events.times import Times

KIND = "presence"
AT_ONCE = 1000  # users in one message
# Many connect or leave in the same moment: one message tells all of them.
GATHER_SECONDS = 0.01
# Those who are asked do not all answer in the same moment.
ANSWER_SECONDS = 0.1
# What is remembered of a process that is no more, against late messages: so many times its silence.
MEMORY = 10

logger = logging.getLogger("parley.presence")


@dataclass(slots=True)
class _Process:
    """Another process: the number of its last message, and for how long it has said nothing."""

    number: int = -1
    silent: float = 0.0


class Gossip:
    """Keeps `people` equal to what the other processes say, and tells them of one's own part of it."""

    def __init__(self, broker: Broker, people: PresenceMap, times: Times) -> None:
        self.id = secrets.token_hex(8)
        self._broker = broker
        self._people = people
        self._times = times
        self._number = 0
        self._others: dict[str, _Process] = {}
        self._changed: set[int] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._beat_at = self._summary_at = 0.0
        self._outage = 0.0

    def start(self) -> None:
        self._broker.listen(KIND, self._receive)
        self._broker.on_reconnect(self._come_back)
        self._say("ask")

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        # The last word, so it is not the first to be dropped.
        self._say("bye", ephemeral=False)

    def changed(self, user_id: int) -> None:
        """Tell, at once, how many connections a user has here."""
        self._changed.add(user_id)
        self._soon("change", GATHER_SECONDS)

    def chosen(self, user_id: int, choice: Choice) -> None:
        """Tell all processes that the user is connected to, which keep it, and those that show the user."""
        self._say("choice", user=user_id, choice=[choice.at, choice.presence.value])

    def heard_of(self, process: str) -> bool:
        """Whether this other process is certainly alive, and heard by us."""
        known = self._others.get(process)
        return known is not None and self._broker.is_up and known.silent <= 3 * self._times.beat

    def tick(self, now: float) -> None:
        """Called once in `times.tick`."""
        if now >= self._beat_at:
            self._beat_at = now + self._times.beat
            self._say("beat")
        if now >= self._summary_at:
            self._summary_at = now + self._times.summary * random.uniform(0.9, 1.0)  # noqa: S311 - jitter
            self._summarize()
        if self._broker.is_up:
            self._outage = 0.0
            self._age(now)
        else:
            # Nobody is heard now, dead or alive.
            self._outage += self._times.tick
            if self._outage > self._times.outage:
                for process in self._others:
                    self._people.forget(process, now)

    def _age(self, now: float) -> None:
        # Counted in ticks, not read from a clock: a process that stood still would find all others silent.
        for process, known in list(self._others.items()):
            known.silent += self._times.tick
            if known.silent > self._times.silence:
                self._people.forget(process, now)
            if known.silent > self._times.silence * MEMORY:
                del self._others[process]

    def _come_back(self) -> None:
        for known in self._others.values():
            known.silent = 0.0
        self._say("ask")
        self._soon("summary", ANSWER_SECONDS * random.random())  # noqa: S311 - jitter

    def _soon(self, what: str, seconds: float) -> None:
        if what not in self._timers:
            say = self._tell_changes if what == "change" else self._summarize
            self._timers[what] = asyncio.get_running_loop().call_later(seconds, say)

    def _tell_changes(self) -> None:
        self._timers.pop("change", None)
        changed = sorted(self._changed)
        self._changed.clear()
        for start in range(0, len(changed), AT_ONCE):
            self._say("change", users=self._entries(changed[start : start + AT_ONCE]))

    def _summarize(self) -> None:
        """Everybody, in parts by the remainder of the id: each part says also who is not there any more."""
        self._timers.pop("summary", None)
        users = self._people.users(self.id)
        parts = 1 + len(users) // AT_ONCE
        for part in range(parts):
            here = [user_id for user_id in users if user_id % parts == part]
            self._say("summary", part=part, parts=parts, users=self._entries(here))

    def _entries(self, user_ids: list[int]) -> list[list[Any]]:
        entries: list[list[Any]] = []
        for user_id in user_ids:
            choice = self._people.choice(user_id)
            chosen = [choice.at, choice.presence.value] if choice is not None else []
            entries.append([user_id, self._people.count(self.id, user_id), *chosen])
        return entries

    def _say(self, what: str, *, ephemeral: bool = True, **content: Any) -> None:
        self._number += 1
        message = {"kind": KIND, "process": self.id, "number": self._number, "what": what, **content}
        self._broker.publish(self.id, message, ephemeral=ephemeral)

    def _receive(self, message: Mapping[str, Any]) -> None:
        process, number = message.get("process"), message.get("number")
        if process == self.id:
            return
        if not isinstance(process, str) or not isinstance(number, int):
            logger.warning("a message of the broker is not about presence")
            return
        known = self._others.setdefault(process, _Process())
        if number <= known.number:
            return
        known.number = number
        known.silent = 0.0
        try:
            self._take(process, message)
        except (KeyError, TypeError, ValueError):
            logger.warning("a message of the broker is not about presence")

    def _take(self, process: str, message: Mapping[str, Any]) -> None:
        now = asyncio.get_running_loop().time()
        match message["what"]:
            case "ask":
                self._soon("summary", ANSWER_SECONDS * random.random())  # noqa: S311 - jitter
            case "change":
                for user_id, connections, choice in map(_entry, message["users"]):
                    self._people.put(process, user_id, connections, choice, now)
            case "summary":
                entries = [_entry(entry) for entry in message["users"]]
                part, parts = message["part"], message["parts"]
                there = {user_id for user_id, _, _ in entries}
                for user_id in self._people.users(process) - there:
                    if user_id % parts == part:
                        self._people.put(process, user_id, 0, None, now)
                for user_id, connections, choice in entries:
                    self._people.put(process, user_id, connections, choice, now)
            case "choice":
                self._people.choose(int(message["user"]), _choice(*message["choice"]))
            case "bye":
                self._people.forget(process, now)


def _entry(entry: list[Any]) -> tuple[int, int, Choice | None]:
    user_id, connections, *choice = entry
    return int(user_id), int(connections), _choice(*choice) if choice else None


def _choice(at: Any, presence: Any) -> Choice:
    return Choice(int(at), Presence(presence))
