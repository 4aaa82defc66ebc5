"""What a subscription can select: every field by itself, everything at once, or whatever Hypothesis thinks of."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from graphql import GraphQLField, GraphQLObjectType, get_named_type, is_leaf_type
from hypothesis import strategies as st

from schema.events import EVENT_TYPES
from schema.execution.operation import viewer_fields
from schema.root import schema

CORE = schema.core
MARKED = viewer_fields(CORE)
EVENT_TYPENAMES = sorted({name for name, _ in EVENT_TYPES.values()})
# What depends on the moment, not on the database.
PASSING = frozenset({"presence", "lastSeenAt"})
SUBSCRIBE = "viewerEvents(after: $after)"
PAGES = ("first: 2", "first: 1", 'first: 1, after: "nonsense"')
TIMELINES = (*PAGES, "last: 2", "last: $number", "first: 3, around: $message")
ARGUMENTS = {
    "members": (*PAGES, "first: 2, role: MEMBER", "first: $number, role: $role"),
    "users": (*PAGES, "first: $number"),
    "messages": TIMELINES,
    "replyChain": TIMELINES[:-1],
    "files": PAGES,
}
VARIABLES = {
    "after": "[EventCursor!]",
    "yes": "Boolean!",
    "no": "Boolean!",
    "number": "Int",
    "role": "ChannelRoleName",
    "message": "ID",
}


def fields(typename: str) -> dict[str, GraphQLField]:
    type_ = CORE.type_map[typename]
    assert isinstance(type_, GraphQLObjectType)
    found: dict[str, GraphQLField] = type_.fields
    return found


def called(typename: str, name: str) -> str:
    """The field with a page's arguments, where it takes them."""
    return f"{name}({PAGES[0]})" if fields(typename)[name].args else name


def document(selected: str, fragments: str = "") -> str:
    """A subscription to this selection of StreamItem, with the variables that it uses."""
    used = [f"${name}: {type_}" for name, type_ in VARIABLES.items() if f"${name}" in SUBSCRIBE + selected + fragments]
    return f"subscription ({', '.join(used)}) {{ {SUBSCRIBE} {{ {selected} }} }} {fragments}"


def leaves(typename: str) -> str:
    """What an object has by itself, for whoever asks."""
    own = [name for name, found in fields(typename).items() if is_leaf_type(get_named_type(found.type))]
    return " ".join(["__typename", *(name for name in own if name not in MARKED)])


def with_leaves(parent: str, name: str) -> str:
    """The field with what its objects have by themselves."""
    inner = get_named_type(fields(parent)[name].type)
    if is_leaf_type(inner):
        return name
    nodes = with_leaves(inner.name, "nodes") if "nodes" in fields(inner.name) else ""
    return f"{called(parent, name)} {{ {leaves(inner.name)} {nodes} }}"


def one_by_one() -> Iterator[tuple[str, str, str, str]]:
    """Type and name of every field that events lead to; the type of the event on the way; the document."""
    seen = set(EVENT_TYPENAMES)
    queue: list[tuple[str, str, Callable[[str], str]]] = [
        (name, name, lambda inner, name=name: f"... on {name} {{ {inner} }}")  # type: ignore[misc]  # the default binds it
        for name in EVENT_TYPENAMES
    ]
    while queue:
        event, typename, wrap = queue.pop(0)
        for name, found in fields(typename).items():
            yield typename, name, event, document(wrap(with_leaves(typename, name)))
            inner = get_named_type(found.type)
            # Behind a mark everything is private already.
            if name in MARKED or is_leaf_type(inner) or inner.name in seen:
                continue
            seen.add(inner.name)
            field_ = called(typename, name)
            queue.append((event, inner.name, lambda text, wrap=wrap, field_=field_: wrap(f"{field_} {{ {text} }}")))  # type: ignore[misc]  # likewise


def everything(*, marked: bool, depth: int = 3) -> str:
    """One document with all that is stable: each event with its objects, theirs, and so on."""

    def below(typename: str, left: int) -> str:
        parts = ["__typename"]
        for name, found in fields(typename).items():
            inner = get_named_type(found.type)
            if name in PASSING or (name in MARKED and not marked) or name == "edges":
                continue
            if is_leaf_type(inner):
                parts.append(name)
            elif left:
                parts.append(f"{called(typename, name)} {{ {below(inner.name, left - 1)} }}")
        return " ".join(parts)

    notice = "... on StreamNotice { kind cursor recovered channelId }"
    return document(
        "__typename " + notice + " ".join(f"... on {each} {{ {below(each, depth)} }}" for each in EVENT_TYPENAMES)
    )


@dataclass
class Writing:
    """A document while it is made."""

    draw: st.DrawFn
    marked: bool
    arguments: dict[str, str]  # by field: the same wherever the field is, so that selections can be merged
    aliases: int = 0
    fragments: list[str] = field(default_factory=list)

    def selection(self, typename: str, depth: int) -> str:
        """Some of the type's fields, at least one."""
        known = fields(typename)
        names = sorted(
            name
            for name, found in known.items()
            if (self.marked or name not in MARKED) and (depth or is_leaf_type(get_named_type(found.type)))
        )
        chosen = self.draw(st.lists(st.sampled_from(["__typename", *names]), min_size=1, max_size=5, unique=True))
        return self.wrapped(typename, " ".join(self.selected(typename, name, depth) for name in chosen))

    def selected(self, typename: str, name: str, depth: int) -> str:
        text = name
        if self.aliases < 20 and self.draw(st.integers(0, 5)) == 0:
            self.aliases += 1
            text = f"other{self.aliases}: {name}"
        if name != "__typename" and fields(typename)[name].args:
            if name not in self.arguments:
                self.arguments[name] = self.draw(st.sampled_from(ARGUMENTS[name]))
            text += f"({self.arguments[name]})"
        text += self.draw(st.sampled_from(("", "", "", " @include(if: $yes)", " @skip(if: $no)", " @include(if: $no)")))
        inner = get_named_type(fields(typename)[name].type) if name != "__typename" else None
        if inner is not None and not is_leaf_type(inner):
            text += f" {{ {self.selection(inner.name, depth - 1)} }}"
        return text

    def wrapped(self, typename: str, text: str) -> str:
        """As it is, or in a fragment."""
        match self.draw(st.integers(0, 7)):
            case 0:
                return f"... on {typename} {{ {text} }}"
            case 1:
                return f"... @include(if: $yes) {{ {text} }}"
            case 2 if len(self.fragments) < 10:
                self.fragments.append(f"fragment part{len(self.fragments)} on {typename} {{ {text} }}")
                return f"...part{len(self.fragments) - 1}"
        return text


@st.composite
def documents(draw: st.DrawFn, *, marked: bool) -> str:
    writing = Writing(draw, marked, {})
    chosen = draw(st.lists(st.sampled_from(EVENT_TYPENAMES), min_size=1, max_size=3, unique=True))
    selected = [f"... on {name} {{ {writing.selection(name, draw(st.integers(0, 4)))} }}" for name in chosen]
    return document(" ".join(["__typename", *selected]), " ".join(writing.fragments))
