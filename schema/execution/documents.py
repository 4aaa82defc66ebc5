"""The documents last used that passed validation, by their text, with what was worked out about them."""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from graphql import DocumentNode

from schema.execution.variables import switch_names

K = TypeVar("K")
V = TypeVar("V")

# Validation of a usual document takes milliseconds, so what was found valid is remembered. 256 syntax trees of 2,000
# tokens are 180 MB (measured: 0.7 MB each), the most that hostile clients can fill it with; real clients send 5 KB.
REMEMBERED_DOCUMENTS = 256
REMEMBERED_LENGTH = 16_384
# By operation name and what @skip and @include say; real clients have one or two. Costs: by sizes of pages.
REMEMBERED_PLANS = 8
REMEMBERED_COSTS = 32


class Recent(OrderedDict[K, V], Generic[K, V]):
    """The entries last used; the oldest goes when there are more than `most`."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def recall(self, key: K) -> V | None:
        found = self.get(key)
        if found is not None:
            self.move_to_end(key)
        return found

    def remember(self, key: K, value: V) -> V:
        self[key] = value
        if len(self) > self._most:
            self.popitem(last=False)
        return value


@dataclass(slots=True)
class Document:
    """A valid document. Whether it costs too much depends on the variables too."""

    node: DocumentNode
    switches: tuple[str, ...]  # variables that decide what is selected
    plans: Recent[Any, Any] = field(default_factory=lambda: Recent(REMEMBERED_PLANS))
    costs: Recent[Any, str] = field(default_factory=lambda: Recent(REMEMBERED_COSTS))


class ValidDocuments:
    """One per schema. Those of `kept` are never pushed out by others."""

    def __init__(self, kept: Collection[str] = frozenset()) -> None:
        self._to_keep = kept
        self._kept: dict[str, Document] = {}
        self._documents: Recent[str, Document] = Recent(REMEMBERED_DOCUMENTS)

    def get(self, text: str) -> Document | None:
        return self._kept.get(text) or self._documents.recall(text)

    def add(self, text: str, node: DocumentNode) -> Document:
        """A long text is not remembered."""
        made = Document(node, switch_names(node))
        if text in self._to_keep:
            self._kept[text] = made
            return made
        return self._documents.remember(text, made) if len(text) <= REMEMBERED_LENGTH else made
