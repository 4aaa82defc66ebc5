"""Which of an operation's variables decide about its plan, and about its cost."""

from collections.abc import Mapping
from typing import Any

from graphql import DirectiveNode, DocumentNode, VariableNode, Visitor, visit

# Whatever @skip and @include say may decide about what is selected.
DECIDING = frozenset({"skip", "include"})


class _Switches(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        if node.name.value in DECIDING:
            values = (argument.value for argument in node.arguments or ())
            self.names.update(value.name.value for value in values if isinstance(value, VariableNode))


def switch_names(document: DocumentNode) -> tuple[str, ...]:
    """The variables in the document's @skip and @include."""
    found = _Switches()
    visit(document, found)
    return tuple(sorted(found.names))


def sizes(variables: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a cost can depend on: numbers, how long lists are, and which are given: the others have their default."""
    return tuple((name, _size(value)) for name, value in sorted(variables.items()))


def _size(value: Any) -> Any:
    if isinstance(value, list):
        return len(value)
    # Of anything else only that it is there: be it no number where there should be one, it is not the default.
    return value if value is None or isinstance(value, int | float) else ""
