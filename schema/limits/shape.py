"""Limits on a document as it is written. One pass in linear time, before validation, whose time is not linear.

Fragments are measured once and added up, so 2^22 paths through fragments cost what 22 fragments cost.
"""

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from graphql import DocumentNode, FragmentDefinitionNode, GraphQLError, OperationDefinitionNode, OperationType
from graphql.validation.rules import overlapping_fields_can_be_merged

from schema.errors import TopLevelCode, coded
from schema.limits.definition import Definition, measure_definition

# Numbers: about three times what the biggest document of a chat client needs (a channel list with last messages, a
# timeline with authors, reactions and replies), and less than what takes the event loop 50 ms. All by arithmetic or
# measurement on 2 cores; tests/test_limits.py holds both ends.
MAX_TOKENS = 2_000  # the standard introspection query has about 400
MAX_LENGTH = 32_768  # characters; longer texts belong into variables
MAX_DEPTH = 15  # from a viewer's channels over messages and reactions to users' names, all by edges and nodes: 12
MAX_INTROSPECTION_DEPTH = 20  # the standard query: 15
MAX_SELECTIONS = 500  # fields, fragments spread out; the standard introspection query: about 230
MAX_ALIASES = 30  # a dashboard of several lists aliases; the usual 15 is met by generated clients
MAX_ALIAS_LENGTH = 64  # characters; every row of the answer repeats it
MAX_REPEATS = 10  # the same name twice in one place is an accident, ten times is none
MAX_DIRECTIVES = 50
MAX_DIRECTIVES_AT_ONE_PLACE = 10
MAX_FRAGMENTS = 60  # validation compares them in pairs
MAX_MUTATION_FIELDS = 10  # they run one after another, each in its own transaction

# What the one validation rule that is not linear may spend on comparing fields of the same name: 12,000 take 35 ms, the
# library's own 500,000 take a second. 30 components that spread their fragments in one place need 11,400. Assigning the
# attribute is the way that the library documents.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 12_000


@dataclass(slots=True)
class Total:
    """What a definition amounts to, with its fragments."""

    selections: int
    root_fields: int
    depth: int
    introspection_depth: int


def check_shape(document: DocumentNode) -> list[GraphQLError]:
    """The first limit that the document exceeds, as a settled error; nothing if it is within all of them."""
    definitions = [
        (node, measure_definition(node))
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    fragments = {node.name.value: found for node, found in definitions if isinstance(node, FragmentDefinitionNode)}
    fault = _check_writing([found for _, found in definitions], len(definitions))
    if fault is not None:
        return [fault]
    totals = _totals(fragments)
    if isinstance(totals, str):
        message = f"Fragment '{totals}' spreads itself, directly or through others. Remove the cycle."
        return [coded(message, TopLevelCode.VALIDATION_FAILED)]
    for node, found in definitions:
        if isinstance(node, OperationDefinitionNode):
            fault = _check_total(_add(found, totals), mutates=node.operation is OperationType.MUTATION)
            if fault is not None:
                return [fault]
    return []


def too_costly(what: str, found: int, limit: int, advice: str) -> GraphQLError:
    return coded(f"{what}: {found:,}; the limit is {limit:,}. {advice}", TopLevelCode.QUERY_TOO_COSTLY)


def _check_writing(definitions: list[Definition], count: int) -> GraphQLError | None:
    aliases = sum(found.aliases for found in definitions)
    alias_length = max((found.alias_length for found in definitions), default=0)
    directives = sum(found.directives for found in definitions)
    at_one_place = max((found.directives_at_one_place for found in definitions), default=0)
    repeats = max((found.repeats for found in definitions), default=0)
    limits = (
        ("Operations and fragments in the document", count, MAX_FRAGMENTS, "Split the document."),
        ("Aliases in the document", aliases, MAX_ALIASES, "Send several requests."),
        ("Characters in an alias", alias_length, MAX_ALIAS_LENGTH, "Use a shorter one."),
        ("Repeats of one field in one place", repeats, MAX_REPEATS, "Ask for it once."),
        ("Directives in one place", at_one_place, MAX_DIRECTIVES_AT_ONE_PLACE, "Leave out the repeated ones."),
        ("Directives in the document", directives, MAX_DIRECTIVES, "Split the document."),
    )
    return next((too_costly(*each) for each in limits if each[1] > each[2]), None)


def _check_total(total: Total, *, mutates: bool) -> GraphQLError | None:
    if total.selections > MAX_SELECTIONS:
        advice = "Fragments count wherever they are spread. Split the document."
        return too_costly("Selected fields", total.selections, MAX_SELECTIONS, advice)
    if total.depth > MAX_DEPTH:
        return too_costly("Depth of the document", total.depth, MAX_DEPTH, "Fetch the inner part by its id.")
    if total.introspection_depth > MAX_INTROSPECTION_DEPTH:
        limit = MAX_INTROSPECTION_DEPTH
        return too_costly("Depth of the introspection", total.introspection_depth, limit, "Ask for fewer 'ofType'.")
    if mutates and total.root_fields > MAX_MUTATION_FIELDS:
        advice = "Send several requests."
        return too_costly("Mutations in one operation", total.root_fields, MAX_MUTATION_FIELDS, advice)
    return None


def _totals(fragments: dict[str, Definition]) -> dict[str, Total] | str:
    """Totals of all fragments, each computed once; or the name of one that is part of a cycle."""
    spreads = {
        name: {spread.fragment for spread in found.spreads if spread.fragment in fragments}
        for name, found in fragments.items()
    }
    totals: dict[str, Total] = {}
    try:
        for name in TopologicalSorter(spreads).static_order():
            totals[name] = _add(fragments[name], totals)
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle[0]
    return totals


def _add(found: Definition, totals: dict[str, Total]) -> Total:
    """Unknown fragments count as nothing here; validation names them."""
    total = Total(found.selections, found.root_fields, found.depth, found.introspection_depth)
    for spread in found.spreads:
        inner = totals.get(spread.fragment)
        if inner is None:
            continue
        total.selections += inner.selections
        if spread.introspected:
            total.introspection_depth = max(total.introspection_depth, spread.depth + inner.depth)
            continue
        total.root_fields += inner.root_fields if spread.depth == 0 else 0
        total.depth = max(total.depth, spread.depth + inner.depth)
        # Counted from __schema, so where it is spread adds nothing.
        total.introspection_depth = max(total.introspection_depth, inner.introspection_depth)
    return total
