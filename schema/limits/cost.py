"""How many objects a document can return at most, known from its text and its variables before any SQL runs.

An object costs 1, multiplied by the lists around it: a connection counts as its `first` or `last`, a list with an
argument such as `ids` as the length of that, any other list as a flat guess. Connections, edges and page infos cost
nothing, so that `nodes` and `edges { node }` cost the same. What two fragments both select is counted once, as it is
executed. `@skip` and `@include` do not lower the cost.
"""

from collections.abc import Mapping
from typing import Any, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLError,
    GraphQLField,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_introspection_type,
    is_list_type,
    is_non_null_type,
)

from app.errors import BadRequest
from app.pages import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from schema.errors import TopLevelCode, coded
from schema.limits.shape import too_costly

# 100 channels, each with its last message and author and 20 members, are 4,300. 100 x 100 messages with their authors
# are 20,100, which takes seconds.
MAX_COST = 10_000
# Lists without pages: the reactions of a message, its mentions, the members just added.
UNPAGED_LIST_SIZE = 10
# Lists in the answer of an introspection; `types` has its true length. The standard query stays below MAX_COST.
INTROSPECTION_LIST_SIZE = 5

_Part = tuple[GraphQLCompositeType, SelectionSetNode]
_Fields = dict[str, list[tuple[FieldNode, GraphQLField]]]


def check_cost(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
) -> list[GraphQLError]:
    """A settled error if the operation can return too much or asks for an impossible page; else nothing.

    The document must be valid and of limited shape; the variables need not be valid.
    """
    root = schema.get_root_type(operation.operation)
    if root is None:
        return []
    try:
        cost = _Estimate(schema, document, operation, variables).cost([(root, operation.selection_set)], 1)
    except BadRequest as refused:
        return [coded(refused.message, TopLevelCode.BAD_REQUEST)]
    if cost > MAX_COST:
        return [too_costly("Objects the answer may hold", cost, MAX_COST, "Ask for smaller pages or fewer levels.")]
    return []


class _Estimate:
    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        variables: Mapping[str, Any],
    ) -> None:
        self._schema = schema
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._variables = variables
        self._defaults = {node.variable.name.value: node.default_value for node in operation.variable_definitions or ()}

    def cost(self, parts: list[_Part], times: int, page: int | None = None) -> int:
        """Of what is selected from `times` objects; `page` is their page size if they are connections."""
        total = 0
        for fields in self._collect(parts).values():
            inner = [
                (cast("GraphQLCompositeType", get_named_type(field.type)), node.selection_set)
                for node, field in fields
                if node.selection_set is not None
            ]
            if not inner:
                continue
            if inner[0][0].name.endswith("Connection"):
                total += self.cost(inner, times, max(self._page_size(node) for node, _ in fields))
                continue
            count = times * max(self._length(node, field, page) for node, field in fields)
            total += count * _weight(fields[0][1])
            total += self.cost(inner, count)
        return total

    def _collect(self, parts: list[_Part]) -> _Fields:
        """The selected fields by response name, fragments spread out: what execution merges into one."""
        found: _Fields = {}
        stack = list(parts)
        while stack:
            parent, selection_set = stack.pop()
            for selection in selection_set.selections:
                if isinstance(selection, FieldNode):
                    field = self._schema.get_field(parent, selection.name.value)
                    if field is not None:
                        found.setdefault((selection.alias or selection.name).value, []).append((selection, field))
                elif isinstance(selection, InlineFragmentNode):
                    stack.append((self._condition(selection, parent), selection.selection_set))
                elif isinstance(selection, FragmentSpreadNode):
                    fragment = self._fragments[selection.name.value]
                    stack.append((self._condition(fragment, parent), fragment.selection_set))
        return found

    def _condition(
        self, node: InlineFragmentNode | FragmentDefinitionNode, parent: GraphQLCompositeType
    ) -> GraphQLCompositeType:
        if node.type_condition is None:
            return parent
        return cast("GraphQLCompositeType", self._schema.get_type(node.type_condition.name.value))

    def _length(self, node: FieldNode, field: GraphQLField, page: int | None) -> int:
        """How many objects the field returns for one parent."""
        if not _is_list(field):
            return 1
        if page is not None:
            return page
        if is_introspection_type(get_named_type(field.type)):
            return len(self._schema.type_map) if node.name.value == "types" else INTROSPECTION_LIST_SIZE
        lengths = (self._list_length(argument.value) for argument in node.arguments or ())
        return next((length for length in lengths if length is not None), UNPAGED_LIST_SIZE)

    def _list_length(self, value: ValueNode) -> int | None:
        if isinstance(value, ListValueNode):
            return len(value.values)
        given = self._variables.get(value.name.value) if isinstance(value, VariableNode) else None
        return len(given) if isinstance(given, list) else None

    def _page_size(self, node: FieldNode) -> int:
        largest = None
        for argument in node.arguments or ():
            if argument.name.value not in {"first", "last"}:
                continue
            size = self._integer(argument.value)
            if size is None:
                continue
            if not 0 <= size <= MAX_PAGE_SIZE:
                name = f"'{argument.name.value}' of '{node.name.value}'"
                raise BadRequest(
                    f"{name} is {size:,}, but must be from 0 to {MAX_PAGE_SIZE}. Get more with the next page."
                )
            largest = max(size, largest or 0)
        return DEFAULT_PAGE_SIZE if largest is None else largest

    def _integer(self, value: ValueNode | None) -> int | None:
        """A literal, or what a variable will be coerced to; None where that is null, or no number and refused later."""
        if isinstance(value, IntValueNode):
            return int(value.value)
        if not isinstance(value, VariableNode):
            return None
        name = value.name.value
        if name not in self._variables:
            default = self._defaults.get(name)
            return int(default.value) if isinstance(default, IntValueNode) else None
        given = self._variables[name]
        # 5.0 is an Int to GraphQL, true is not.
        return int(given) if isinstance(given, int | float) and not isinstance(given, bool) else None


def _is_list(field: GraphQLField) -> bool:
    return is_list_type(field.type.of_type if is_non_null_type(field.type) else field.type)


def _weight(field: GraphQLField) -> int:
    """1, or 0 for what is not an object of its own: edges, page infos, and the type references of introspection."""
    type_ = get_named_type(field.type)
    if is_introspection_type(type_):
        return int(_is_list(field))
    return 0 if type_.name.endswith("Edge") or type_.name == "PageInfo" else 1
