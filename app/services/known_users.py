"""Who is who, remembered: an id never changes, and whether an account is on is an event of the workspace."""

from collections import OrderedDict

MAX_USERS = 10_000


class KnownUsers:
    """The ids of active users by the subject of their tokens. One per process.

    To be asked only while the workspace's events arrive (`Hub.is_current`). A look-up that was under way when an
    account was switched off must not be remembered: hence the version.
    """

    def __init__(self) -> None:
        self.version = 0
        self._ids: OrderedDict[str, int] = OrderedDict()

    def get(self, subject: str) -> int | None:
        return self._ids.get(subject)

    def add(self, subject: str, user_id: int, version: int) -> None:
        """`version` is what it was before the look-up began."""
        if version != self.version:
            return
        self._ids[subject] = user_id
        if len(self._ids) > MAX_USERS:
            self._ids.popitem(last=False)

    def forget(self, user_id: int) -> None:
        """The account was switched off or on."""
        self.version += 1
        for subject in [subject for subject, known in self._ids.items() if known == user_id]:
            del self._ids[subject]

    def clear(self) -> None:
        self.version += 1
        self._ids.clear()
