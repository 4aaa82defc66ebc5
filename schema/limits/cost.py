"""What a document's answer can cost at most, known from its text and its variables before any SQL runs.

Objects and leaves have prices (schema/limits/prices.py), multiplied by the lists around them: a page counts as its
`first` or `last`, a list as the ids it was asked for, any other as LIST_LENGTHS says. Connections, edges and
page infos themselves cost nothing, so that `nodes` and `edges { node }` cost the same. What two fragments both select
is counted once, as it is executed. `@skip` and `@include` do not lower the cost.
"""

from collections.abc import Iterable, Mapping
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
    is_abstract_type,
    is_introspection_type,
)

from app.errors import BadRequest
from app.events.replay import MAX_PAGE as MAX_EVENTS
from app.pages import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from app.services.memberships import MAX_MEMBERS_AT_ONCE
from schema.errors import TopLevelCode, coded
from schema.limits.prices import MAX_COST, TENTHS, field_price, is_list
from schema.limits.shape import too_costly

# What the lists without pages hold. `errors` of a payload has one cause. A message may have 50 reactions, but few have
# a dozen: by 50, a timeline with those who reacted would be refused. A channel of such messages costs four times this.
# Likewise files: a message carries 10 at most, and mostly none.
LIST_LENGTHS = {"errors": 1, "members": MAX_MEMBERS_AT_ONCE, "reactions": 12, "files": 3}
# Pages that are no connections, and how many items they may have.
PAGES = {"EventPage": MAX_EVENTS}
# Whatever else is a list here; tests/test_limits.py knows that there is none.
OTHER_LIST_LENGTH = 100
# Lists in the answer of an introspection; `types` has its true length. The standard query stays below MAX_COST.
INTROSPECTION_LIST_SIZE = 5

_Part = tuple[GraphQLCompositeType, SelectionSetNode]
_Fragment = InlineFragmentNode | FragmentDefinitionNode
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
    try:
        cost = answer_cost(schema, document, operation, variables)
    except BadRequest as refused:
        return [coded(refused.message, TopLevelCode.BAD_REQUEST)]
    if cost > MAX_COST:
        advice = "Ask for smaller pages, fewer levels or fewer fields."
        return [too_costly("Cost of the answer at its largest", cost, MAX_COST, advice)]
    return []


def answer_cost(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
) -> int:
    """What the operation's answer costs at most, rounded up; raises BadRequest for an impossible page."""
    root = schema.get_root_type(operation.operation)
    if root is None:
        return 0
    return -(-_Estimate(schema, document, operation, variables).cost([(root, operation.selection_set)], 1) // TENTHS)


def is_page(typename: str) -> bool:
    """Whether this is a type whose list is as long as the field's `first` or `last` says."""
    return typename.endswith("Connection") or typename in PAGES


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

    def cost(self, parts: list[_Part], times: int, *, page: int | None = None, asked: int | None = None) -> int:
        """Of what is selected from `times` objects, in tenths.

        `page` is their size if they are pages, `asked` how many ids the field that returned them was given.
        """
        parent = parts[0][0]
        if is_abstract_type(parent):
            # An object is of one of these types, and what the document asks of the others costs nothing.
            types: Iterable[GraphQLCompositeType] = self._schema.get_possible_types(parent)
            each = ([(type_, selected) for _, selected in parts] for type_ in types)
            return max(self.cost(of_type, times, page=page, asked=asked) for of_type in each)
        total = 0
        for fields in self._collect(parts).values():
            price = field_price(fields[0][0].name.value, fields[0][1])
            inner = [
                (cast("GraphQLCompositeType", get_named_type(field.type)), node.selection_set)
                for node, field in fields
                if node.selection_set is not None
            ]
            if not inner:
                total += 0 if is_introspection_type(parent) else times * price
                continue
            if is_page(inner[0][0].name):
                total += self.cost(inner, times, page=max(self._page_size(node, field) for node, field in fields))
                continue
            count = times * max(self._length(node, field, page, asked) for node, field in fields)
            total += count * price
            total += self.cost(inner, count, asked=self._asked(fields[0][0]))
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
                    continue
                if isinstance(selection, FragmentSpreadNode):
                    fragment: _Fragment = self._fragments[selection.name.value]
                else:
                    fragment = cast("InlineFragmentNode", selection)
                if self._applies(fragment, parent):
                    stack.append((parent, fragment.selection_set))
        return found

    def _applies(self, fragment: _Fragment, parent: GraphQLCompositeType) -> bool:
        """Whether objects of the type `parent` are what the fragment is about."""
        if fragment.type_condition is None:
            return True
        condition = self._schema.get_type(fragment.type_condition.name.value)
        return condition is parent or (is_abstract_type(condition) and self._schema.is_sub_type(condition, parent))

    def _length(self, node: FieldNode, field: GraphQLField, page: int | None, asked: int | None) -> int:
        """How many objects the field returns for one parent."""
        if not is_list(field):
            return 1
        if page is not None:
            return page
        if is_introspection_type(get_named_type(field.type)):
            return len(self._schema.type_map) if node.name.value == "types" else INTROSPECTION_LIST_SIZE
        given = self._asked(node)
        if given is not None:
            return given
        most = LIST_LENGTHS.get(node.name.value, OTHER_LIST_LENGTH)
        return asked if node.name.value == "members" and asked is not None else most

    def _asked(self, node: FieldNode) -> int | None:
        """The length of a field's list argument: `nodes(ids:)`, `addMembers(userIds:)`."""
        lengths = (self._list_length(argument.value) for argument in node.arguments or ())
        return next((length for length in lengths if length is not None), None)

    def _list_length(self, value: ValueNode) -> int | None:
        if isinstance(value, ListValueNode):
            return len(value.values)
        given = self._variables.get(value.name.value) if isinstance(value, VariableNode) else None
        return len(given) if isinstance(given, list) else None

    def _page_size(self, node: FieldNode, field: GraphQLField) -> int:
        largest, allowed = None, PAGES.get(get_named_type(field.type).name, MAX_PAGE_SIZE)
        for argument in node.arguments or ():
            if argument.name.value not in {"first", "last"}:
                continue
            size = self._integer(argument.value)
            if size is None:
                continue
            if not 0 <= size <= allowed:
                name = f"'{argument.name.value}' of '{node.name.value}'"
                raise BadRequest(f"{name} is {size:,}, but must be from 0 to {allowed}. Get more with the next page.")
            largest = max(size, largest or 0)
        if largest is not None:
            return largest
        first = field.args.get("first")
        return first.default_value if first is not None and isinstance(first.default_value, int) else DEFAULT_PAGE_SIZE

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
