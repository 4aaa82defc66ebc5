"""Writing a valid operation, drawing by drawing.

Whatever has the same response name in the same type means the same field with the same arguments, wherever it is, and
in all types it has the same shape: so selections can be merged however they meet.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLUnionType,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_non_null_type,
    is_required_argument,
)

from schema.root import schema
from tests.given_values import Values, literal

CORE = schema.core
# Names that the plan's own code uses, or that stand for fields elsewhere, among the harmless ones.
ALIASES = (
    "a",
    "b",
    "id",
    "name",
    "parent",
    "parents",
    "v",
    "leaf0",
    "uncovered",
    "None",
    "count",
    "nodes",
    "__typename",
)
MOST_ALIASES, MOST_FRAGMENTS, MOST_DIRECTIVES, MOST_FIELDS = 25, 12, 40, 60
DEPTH = 5
SWITCH = "_switch"  # ends the names of the variables of @skip and @include
ABSENT = object()
Allowed = Callable[[str, str], bool]


@dataclass(frozen=True)
class Written:
    """One request."""

    text: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    others: dict[str, Any] = field(default_factory=dict, repr=False)  # values that fit the variables as well

    def again(self) -> "Written":
        """The same document with every switch the other way, and other values."""
        given = {
            key: not value if key.endswith(SWITCH) else self.others.get(key, value)
            for key, value in (self.variables or {}).items()
        }
        return replace(self, variables=given)

    @property
    def has_null_switch(self) -> bool:
        """Whether what to select is unknown somewhere: an error, but only where something would be selected."""
        return any(value is None and name.endswith(SWITCH) for name, value in (self.variables or {}).items())


@dataclass
class Variable:
    """`given` is ABSENT where the request leaves it out."""

    type: str
    default: str = ""
    given: Any = ABSENT
    other: Any = ABSENT


@dataclass
class Writer:
    """One operation while it is made. `prefix` keeps its names from those of another one's in the same document."""

    values: Values
    allowed: Allowed
    prefix: str = ""
    budget: int = MOST_FIELDS
    meanings: dict[tuple[str, str], str] = field(default_factory=dict)  # by response name and type
    shapes: dict[str, str] = field(default_factory=dict)  # by response name
    aliases: int = 0
    directives: int = 0
    variables: dict[str, Variable] = field(default_factory=dict)
    fragments: list[tuple[str, str]] = field(default_factory=list)  # names, and of which type
    texts: list[str] = field(default_factory=list)

    def query(self, name: str, depth: int) -> str:
        return self.text(f"query {name}", self.selection(CORE.query_type, depth + 1))

    def subscription(self, root: str, depth: int) -> str:
        """To one field, without a directive: no more is allowed."""
        assert CORE.subscription_type is not None
        found = CORE.subscription_type.fields[root]
        called = self._called(CORE.subscription_type, root, found)
        return self.text("subscription", f"{called} {{ {self.selection(get_named_type(found.type), depth)} }}")

    def text(self, head: str, selected: str) -> str:
        """The operation, and its fragments."""
        declared = ", ".join(f"${key}: {each.type}{each.default}" for key, each in self.variables.items())
        given = f"({declared})" if declared else ""
        return " ".join([f"{head}{given} {{ {selected} }}", *self.texts])

    def selection(self, type_: Any, depth: int) -> str:
        """At least one field of the type."""
        if is_abstract_type(type_):
            return self._abstract(type_, depth)
        names = self._names(type_, depth)
        sizes = (1, 2, 3) if type_ is CORE.query_type else (2, 3, 1, 4, 5, 6)
        chosen = [
            "__typename" if not names or self.values.chance(8) else self.values.one(names)
            for _ in range(self.values.one(sizes))
        ]
        text = " ".join([self.field(type_, name, depth) for name in chosen])
        return self._wrapped(type_, text)

    def _abstract(self, type_: GraphQLInterfaceType | GraphQLUnionType, depth: int) -> str:
        own = [*type_.fields] if isinstance(type_, GraphQLInterfaceType) else []
        parts = [self.field(type_, name, depth) for name in (*own, "__typename") if self.values.chance(25)]
        possible = sorted(each.name for each in CORE.get_possible_types(type_))
        for _ in range(self.values.one((1, 2, 3)) if self.budget > 0 else 0):
            inner = CORE.type_map[self.values.one(possible)]
            parts.append(f"... on {inner.name} {{ {self.selection(inner, depth)} }}")
        return " ".join(parts) or "__typename"

    def field(self, type_: Any, name: str, depth: int) -> str:
        self.budget -= 1
        found = None if name == "__typename" else type_.fields[name]
        text = self._called(type_, name, found) + self._directive()
        inner = get_named_type(found.type) if found is not None else None
        if inner is not None and not is_leaf_type(inner):
            # Connections, edges and payloads are no levels of their own.
            step = 0 if inner.name.endswith(("Connection", "Edge")) and depth > 1 else 1
            text += f" {{ {self.selection(inner, depth - step)} }}"
        return text

    def _names(self, type_: Any, depth: int) -> list[str]:
        open_ = depth > 0 and self.budget > 0
        return sorted(
            name
            for name, found in type_.fields.items()
            if self.allowed(type_.name, name) and (open_ or is_leaf_type(get_named_type(found.type)))
        )

    def _called(self, type_: Any, name: str, found: GraphQLField | None) -> str:
        """The field under a response name that has no other meaning, with its arguments."""
        shape = "String!" if found is None else _shape(found.type)
        types = [type_, *(CORE.get_possible_types(type_) if is_abstract_type(type_) else ())]
        wanted = name
        if self.aliases < MOST_ALIASES and self.values.chance(12):
            wanted = self.values.one(ALIASES)
        for key in (wanted, name, f"k{len(self.shapes)}"):
            if self.shapes.get(key, shape) != shape:
                continue
            known = {self.meanings.get((key, each.name)) for each in types} - {None}
            head = name if key == name else f"{key}: {name}"
            if not known:
                meaning = head + self._arguments(name, found)
            elif len(known) == 1 and (meaning := str(known.pop())).split("(")[0] == head:
                pass
            else:
                continue
            self.aliases += key != name
            self.shapes[key] = shape
            self.meanings.update({(key, each.name): meaning for each in types})
            return meaning
        return self._called(type_, name, found)

    def _arguments(self, name: str, found: GraphQLField | None) -> str:
        given = []
        for key, argument in (found.args if found is not None else {}).items():
            is_size = key in {"first", "last"}
            # Pages have a size mostly, for what they cost.
            if is_required_argument(argument) or self.values.chance(85 if key == "first" else 4 if is_size else 15):
                given.append(f"{key}: {self._given(argument.type, key, name)}")
        return f"({', '.join(given)})" if given else ""

    def _given(self, type_: Any, key: str, name: str) -> str:
        value = self.values.of(type_, key, name)
        if self.values.chance(60):
            # One thing is a list of it, if it is written down or the whole variable.
            is_one = isinstance(value, list) and len(value) == 1 and self.values.chance(20)
            return literal(value[0], get_named_type(type_)) if is_one else literal(value, type_)
        nullable = str(type_).removesuffix("!")
        declared, default, given = str(type_), "", value
        match self.values.one(range(6)):
            case 2 if value is not None:
                declared = f"{nullable}!"
            case 3 if value is not None:  # a default, and something else or nothing or null instead
                declared, default = nullable, f" = {literal(value, type_)}"
                given = self.values.of(type_, key, name) if self.values.chance(50) else None
                given = ABSENT if self.values.chance(50) else given
            case 4 if not is_non_null_type(type_):
                given = ABSENT
            case 5 if isinstance(value, list) and value:
                inner = _nullable(type_).of_type
                parts = [literal(each, inner) for each in value]
                parts[-1] = self._variable(str(inner), "", value[-1], self.values.of(inner, key, name))
                return f"[{', '.join(parts)}]"
        return self._variable(declared, default, given, self.values.of(type_, key, name))

    def _variable(self, type_: str, default: str, given: Any, other: Any) -> str:
        name = f"{self.prefix}v{len(self.variables)}"
        self.variables[name] = Variable(type_, default, given, other)
        return f"${name}"

    def _directive(self) -> str:
        if self.directives >= MOST_DIRECTIVES or not self.values.chance(12):
            return ""
        self.directives += 1
        word = self.values.one(("include", "skip"))
        switches = [name for name in self.variables if name.endswith(SWITCH)]
        match self.values.one(range(4)):
            case 0:
                return f" @{word}(if: {self.values.one(('true', 'false'))})"
            case 1 if switches:
                return f" @{word}(if: ${self.values.one(switches)})"
        name = f"{self.prefix}v{len(self.variables)}{SWITCH}"
        is_fixed = self.values.chance(60)
        given = self.values.one((True, False))
        if not is_fixed and self.values.chance(40):
            given = None if self.values.chance(5) else ABSENT
        default = "" if is_fixed else self.values.one((" = true", " = false"))
        self.variables[name] = Variable("Boolean!" if is_fixed else "Boolean", default, given)
        return f" @{word}(if: ${name})"

    def _wrapped(self, type_: GraphQLObjectType, text: str) -> str:
        """As it is, or in a fragment; perhaps with a fragment that is there already."""
        known = [name for name, of in self.fragments if of == type_.name]
        if known and self.values.chance(25):
            text += f" ...{self.values.one(known)}{self._directive()}"
        match self.values.one(range(10)):
            case 0:
                return f"... on {type_.name}{self._directive()} {{ {text} }}"
            case 1:
                return f"...{self._directive()} {{ {text} }}"
            case 2 if len(self.fragments) < MOST_FRAGMENTS:
                name = f"{self.prefix}part{len(self.fragments)}"
                self.fragments.append((name, type_.name))
                self.texts.append(f"fragment {name} on {type_.name} {{ {text} }}")
                return f"...{name}{self._directive()}"
            case 3 if type_.interfaces:
                interface = self.values.one(type_.interfaces)
                return f"... on {interface.name} {{ {self._common(interface)} }} {text}"
        return text

    def _common(self, interface: GraphQLInterfaceType) -> str:
        names = [name for name, found in interface.fields.items() if is_leaf_type(get_named_type(found.type))]
        return self.field(interface, self.values.one(("__typename", *names)), 0)


def _nullable(type_: Any) -> Any:
    return type_.of_type if is_non_null_type(type_) else type_


def _shape(type_: Any) -> str:
    """What must be equal for two fields of different types to have one response name."""
    named = get_named_type(type_)
    return str(type_) if is_leaf_type(named) else str(type_).replace(named.name, "{}")


def requested(text: str, *writers: Writer, operation_name: str | None = None) -> Written:
    variables = {name: each for writer in writers for name, each in writer.variables.items()}
    given = {name: each.given for name, each in variables.items() if each.given is not ABSENT}
    others = {name: each.other for name, each in variables.items() if each.other is not ABSENT}
    return Written(text, given or None, operation_name, others)


def everything_allowed(_typename: str, _name: str) -> bool:
    return True
