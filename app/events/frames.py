"""Results that were encoded a moment ago: whoever comes late to an event gets the bytes that the others got."""

from collections import OrderedDict

MAX_BYTES = 16 * 1024 * 1024

Key = tuple[int, int, int]  # group, era of the stream (app/events/stream.py), number


class Frames:
    """The results last used, by group and event. One per process."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._frames: OrderedDict[Key, bytes] = OrderedDict()
        self.era = 0  # the latest that has begun, of any stream

    def begin_era(self) -> int:
        self.era += 1
        return self.era

    def get(self, group: int, era: int | None, seq: int) -> bytes | None:
        return self._frames.get((group, era, seq)) if era is not None else None

    def add(self, group: int, era: int | None, seq: int, frame: bytes) -> None:
        """`era` is the stream's, begun before the snapshot that the frame comes from; None: the frame is not kept."""
        if era is None:
            return
        key = group, era, seq
        self._bytes += len(frame) - len(self._frames.pop(key, b""))
        self._frames[key] = frame
        while self._bytes > self._max_bytes:
            _, oldest = self._frames.popitem(last=False)
            self._bytes -= len(oldest)
