"""Limits on tries per time, held in this process."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

from app.errors import RateLimited

# Above this many keys the longest unused are forgotten, so that guesses from many addresses cannot fill the memory.
MAX_KEYS = 100_000


class SlidingWindow:
    """At most `limit` tries in any `seconds` per key."""

    def __init__(self, limit: int, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.seconds = seconds
        self._clock = clock
        self._tries: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def wait(self, key: Hashable) -> float:
        """Seconds until `key` may try again; 0 if it may now."""
        tries = self._tries.get(key)
        if tries is None:
            return 0
        now = self._clock()
        while tries and tries[0] <= now - self.seconds:
            tries.popleft()
        return tries[0] + self.seconds - now if len(tries) >= self.limit else 0

    def count(self, key: Hashable) -> None:
        self._tries.setdefault(key, deque()).append(self._clock())
        self._tries.move_to_end(key)
        if len(self._tries) > MAX_KEYS:
            self._tries.popitem(last=False)

    def take_back(self, key: Hashable) -> None:
        """Forget the latest try."""
        tries = self._tries.get(key)
        if tries:
            tries.pop()


class JoinCodeGuard:
    """Guards join codes against guessing: 10 tries a minute per user, and 30 wrong ones per address.

    At 192 random bits a code is safe without it; the limits keep the noise out of the logs and the database. Right
    codes do not count for the address: a whole office may follow one invitation.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._users = SlidingWindow(10, 60, clock=clock)
        self._addresses = SlidingWindow(30, 60, clock=clock)

    def check(self, user_id: int, address: str | None) -> None:
        """Count one try, or raise RateLimited without counting it. Before the look-up: tries come in parallel."""
        wait = max(self._users.wait(user_id), self._addresses.wait(address) if address else 0)
        if wait > 0:
            retry_after_ms = max(1, round(wait * 1000))
            raise RateLimited("Too many join codes tried. Wait before the next.", retry_after_ms=retry_after_ms)
        self._users.count(user_id)
        if address:
            self._addresses.count(address)

    def right(self, address: str | None) -> None:
        """The try of a moment ago was right: the address has it back."""
        if address:
            self._addresses.take_back(address)
