"""Results that were encoded a moment ago: whoever comes late to an event gets the bytes that the others got."""

from collections import OrderedDict

from app.events.log import LoggedEvent

MAX_BYTES = 16 * 1024 * 1024

Key = tuple[int, str, int]  # group, stream, number


class Frames:
    """The results last used, by group and event. One per process."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._frames: OrderedDict[Key, bytes] = OrderedDict()

    def get(self, group: int, event: LoggedEvent) -> bytes | None:
        return self._frames.get((group, event.stream_id, event.seq))

    def add(self, group: int, event: LoggedEvent, frame: bytes) -> None:
        key = group, event.stream_id, event.seq
        self._bytes += len(frame) - len(self._frames.pop(key, b""))
        self._frames[key] = frame
        while self._bytes > self._max_bytes:
            _, oldest = self._frames.popitem(last=False)
            self._bytes -= len(oldest)

    def forget(self, group: int, event: LoggedEvent) -> None:
        """What it shows has changed since; a deleted message must not live on here."""
        self._bytes -= len(self._frames.pop((group, event.stream_id, event.seq), b""))
