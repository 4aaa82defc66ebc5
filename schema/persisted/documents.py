"""What the ids of documents stand for, and whether other documents may be sent at all."""

from collections.abc import Iterable

from app.manifest import SHA256, PersistedDocument, digest
from schema.persisted.recent_texts import RecentTexts


class PersistedDocuments:
    """One per schema that is served. `texts` are those of the manifest."""

    def __init__(
        self, manifest: Iterable[PersistedDocument] = (), *, only: bool = False, automatic: RecentTexts | None = None
    ) -> None:
        """`only` refuses whatever is not in the manifest; `automatic` remembers what is sent with its hash."""
        self.only = only
        self.automatic = automatic
        self._by_id: dict[str, str] = {}
        for document in manifest:
            self._by_id[document.id] = document.text
        self.texts = frozenset(self._by_id.values())
        # The hash with its prefix is the one id that every server knows (GraphQL over HTTP, appendix A); without,
        # it is what Apollo's clients send. What the manifest itself says goes first.
        for text in self.texts:
            for known in (digest(text), SHA256 + digest(text)):
                self._by_id.setdefault(known, text)

    @property
    def has_any(self) -> bool:
        return bool(self.texts)

    def find(self, id: str) -> str | None:
        """The text of a document in the manifest."""
        return self._by_id.get(id)
