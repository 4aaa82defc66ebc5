"""Key-set pages: a page starts after a row, not after a number of rows, so it stays in place while others insert."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Self, TypeVar

from sqlalchemy import BigInteger, BindParameter, Select, bindparam, func, select, true, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from typing_extensions import TypeVarTuple

from app.db import Statements

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 100

Key = tuple[Any, ...]

LIMIT = bindparam("page_limit", type_=BigInteger)


@dataclass(frozen=True, slots=True)
class Page:
    """`size` rows of a list, strictly between `after` and `before`, counted from the front or `from_end`."""

    size: int = DEFAULT_PAGE_SIZE
    after: Key | None = None
    before: Key | None = None
    from_end: bool = False


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """One page of rows in list order, with the key of each."""

    rows: Sequence[T]
    keys: Sequence[Key]
    has_next: bool
    has_previous: bool


class Kind(NamedTuple):
    """What of a page its statement depends on. The rest are parameters, so that statements are made once per kind."""

    has_after: bool
    has_before: bool
    from_end: bool

    @classmethod
    def of(cls, page: Page) -> Self:
        return cls(page.after is not None, page.before is not None, page.from_end)


def window(statement: Select[*Ts], order: Sequence[Any], kind: Kind) -> Select[*Ts]:
    """The statement cut to a page of this kind, and one row more, which tells whether the list goes on."""

    def places(name: str) -> list[BindParameter[Any]]:
        return [bindparam(f"{name}_{place}", type_=column.type) for place, column in enumerate(order)]

    key = tuple_(*order)
    if kind.has_after:
        statement = statement.where(key > tuple_(*places("after")))
    if kind.has_before:
        statement = statement.where(key < tuple_(*places("before")))
    directed = [column.desc() for column in order] if kind.from_end else list(order)
    return statement.order_by(*directed).limit(LIMIT)


def parameters(page: Page) -> dict[str, Any]:
    """The values of what `window` has left open."""
    values = {"page_limit": page.size + 1}
    for name, given in (("after", page.after), ("before", page.before)):
        values.update({f"{name}_{place}": part for place, part in enumerate(given or ())})
    return values


def cut(rows: Sequence[T], keys: Sequence[Key], page: Page) -> Slice[T]:
    """The slice of what `window` selected (in the order in which it came)."""
    more = len(rows) > page.size
    rows, keys = rows[: page.size], keys[: page.size]
    if page.from_end:
        return Slice(rows[::-1], keys[::-1], has_next=page.before is not None, has_previous=more)
    return Slice(rows, keys, has_next=more, has_previous=page.after is not None)


class PerParent:
    """A list that each of many parents has, such as the messages of a channel.

    `build` makes the statement of one parent's list, and says what it is ordered by; the parent's attributes are
    columns called `parents`, `id` first. `key` reads from a row what it is ordered by. Statements are made once per
    kind of page: making one anew costs more than running it.
    """

    def __init__(
        self,
        build: Callable[[Any], tuple[Select[*tuple[Any, ...]], Sequence[Any]]],
        *,
        key: Callable[[Any], Key],
        parents: Sequence[str] = ("id",),
    ) -> None:
        self._build = build
        self._key = key
        self._parents = parents
        self._statements: dict[Kind, Select[*tuple[Any, ...]]] = {}

    async def pages(
        self, session: Statements, parents: Mapping[str, Sequence[int]], page: Page
    ) -> dict[int, Slice[Any]]:
        """One page for each of the parents, whose columns these are, by one statement.

        PostgreSQL runs it per parent (LATERAL), so each page stops after its own rows.
        """
        # A parent may stand in several places of the answer; its page is fetched once.
        distinct = {row[0]: row for row in zip(*parents.values(), strict=True)}.values()
        values = {f"parent_{name}": [row[place] for row in distinct] for place, name in enumerate(parents)}
        grouped: dict[int, list[Any]] = defaultdict(list)
        for row in await session.tuples(self._statement(Kind.of(page)), {**values, **parameters(page)}):
            grouped[row.parent_key].append(row)
        found = {}
        for parent_id in parents["id"]:
            rows = grouped[parent_id]
            keys = list(map(self._key, rows))
            if keys != sorted(keys, reverse=page.from_end):  # as they come, as a rule, but that is promised nowhere
                rows = sorted(rows, key=self._key, reverse=page.from_end)
                keys = list(map(self._key, rows))
            found[parent_id] = cut(rows, keys, page)
        return found

    def _statement(self, kind: Kind) -> Select[*tuple[Any, ...]]:
        statement = self._statements.get(kind)
        if statement is None:
            statement = self._statements[kind] = self._make(kind)
        return statement

    def _make(self, kind: Kind) -> Select[*tuple[Any, ...]]:
        arrays = [bindparam(f"parent_{name}", type_=ARRAY(BigInteger)) for name in self._parents]
        parent = func.unnest(*arrays).table_valued(*self._parents, name="parent").render_derived()
        listed = window(*self._build(parent.c), kind).lateral("listed")
        return select(parent.c.id.label("parent_key"), listed).join(listed, true())
