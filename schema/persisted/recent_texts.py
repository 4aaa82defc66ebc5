"""The documents that clients have sent with their hash (automatic persisted queries), the last used ones."""

from collections import OrderedDict

# Texts alone: a usual one has 500 bytes. Whoever fills this with others makes clients send theirs once more.
MAX_TEXTS = 1_000
MAX_BYTES = 4 * 1024 * 1024


class RecentTexts:
    """Texts by their SHA-256, of one server process; bounded in number and in bytes."""

    def __init__(self, *, max_texts: int = MAX_TEXTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_texts = max_texts
        self._max_bytes = max_bytes
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._bytes = 0

    def recall(self, digest: str) -> str | None:
        found = self._texts.get(digest)
        if found is not None:
            self._texts.move_to_end(digest)
        return found

    def remember(self, digest: str, text: str) -> None:
        if digest in self._texts:
            self._texts.move_to_end(digest)
            return
        self._texts[digest] = text
        self._bytes += len(text.encode())
        while len(self._texts) > self._max_texts or self._bytes > self._max_bytes:
            _, oldest = self._texts.popitem(last=False)
            self._bytes -= len(oldest.encode())
