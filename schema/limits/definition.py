"""One operation or fragment by itself: what is written in it, and which fragments it spreads where."""

from collections import Counter
from dataclasses import dataclass, field

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

INTROSPECTION_ROOTS = frozenset({"__schema", "__type"})


@dataclass(frozen=True, slots=True)
class Spread:
    """`depth`: fields around it in this definition. `introspected`: whether it stands below __schema or __type."""

    fragment: str
    depth: int
    introspected: bool


@dataclass(slots=True)
class Definition:
    """Counts of one definition, without what its fragments add. Depths are in fields; the first level is 1."""

    spreads: list[Spread] = field(default_factory=list)
    selections: int = 0
    root_fields: int = 0
    aliases: int = 0
    alias_length: int = 0  # of the longest
    directives: int = 0
    directives_at_one_place: int = 0
    repeats: int = 0
    depth: int = 0
    introspection_depth: int = 0  # counted from __schema or __type, which is level 1

    def count_directives(self, directives: tuple[DirectiveNode, ...] | list[DirectiveNode] | None) -> None:
        here = len(directives or ())
        self.directives += here
        self.directives_at_one_place = max(self.directives_at_one_place, here)


def measure_definition(node: OperationDefinitionNode | FragmentDefinitionNode) -> Definition:
    """Walk one definition with a stack of our own: the interpreter's must not depend on the sender."""
    found = Definition()
    found.count_directives(node.directives)
    for variable in node.variable_definitions or ():
        found.count_directives(variable.directives)
    stack: list[tuple[SelectionSetNode, int, bool]] = [(node.selection_set, 0, False)]
    while stack:
        selection_set, depth, introspected = stack.pop()
        names: Counter[str] = Counter()
        for selection in selection_set.selections:
            found.selections += 1
            found.count_directives(selection.directives)
            if isinstance(selection, FragmentSpreadNode):
                found.spreads.append(Spread(selection.name.value, depth, introspected))
            elif isinstance(selection, FieldNode):
                if selection.alias is not None:
                    found.aliases += 1
                    found.alias_length = max(found.alias_length, len(selection.alias.value))
                found.root_fields += depth == 0
                names[(selection.alias or selection.name).value] += 1
                stack += _enter_field(found, selection, depth, introspected=introspected)
            else:
                stack.append((selection.selection_set, depth, introspected))  # type: ignore[attr-defined]  # the third kind
        found.repeats = max(found.repeats, max(names.values(), default=0))
    return found


def _enter_field(
    found: Definition,
    node: FieldNode,
    depth: int,
    *,
    introspected: bool,
) -> list[tuple[SelectionSetNode, int, bool]]:
    """Count the field's depth; what is left to walk below it."""
    if not introspected and node.name.value in INTROSPECTION_ROOTS:
        depth, introspected = 0, True
    depth += 1
    if introspected:
        found.introspection_depth = max(found.introspection_depth, depth)
    else:
        found.depth = max(found.depth, depth)
    return [] if node.selection_set is None else [(node.selection_set, depth, introspected)]
