"""How many requests with files there are at a time: each has temporary files, up to ten of the largest size."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import RateLimited, Unavailable

PER_USER = 4
IN_ALL = 32
RETRY_AFTER_MS = 2_000


class UploadSlots:
    """Of this process. A slot is held from before the body until the answer."""

    def __init__(self, *, per_user: int = PER_USER, in_all: int = IN_ALL) -> None:
        self._per_user = per_user
        self._in_all = in_all
        self._held: Counter[int] = Counter()

    @contextmanager
    def hold(self, user_id: int) -> Iterator[None]:
        """Raises RateLimited where the user has too many, Unavailable where everybody together has."""
        if self._held[user_id] >= self._per_user:
            message = f"A user may send {self._per_user} requests with files at a time. Wait until one is done."
            raise RateLimited(message, retry_after_ms=RETRY_AFTER_MS)
        if self._held.total() >= self._in_all:
            raise Unavailable("The server takes as many files as it can at the moment. Try again in a few seconds.")
        self._held[user_id] += 1
        try:
            yield
        finally:
            self._held[user_id] -= 1
            if not self._held[user_id]:
                del self._held[user_id]
