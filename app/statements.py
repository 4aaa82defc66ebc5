"""Statements as the driver runs them: their text, the order of their parameters, and rows with attributes."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, cast
from weakref import WeakKeyDictionary

import asyncpg
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.asyncpg import dialect

_DIALECT = cast("Any", dialect)()


class Row(asyncpg.Record):  # type: ignore[misc]  # asyncpg has no types
    """A row whose columns are attributes too. Its own class, made with the first rows, finds them faster."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Prepared:
    """A statement, compiled."""

    __slots__ = ("_defaults", "_order", "_uses", "record_class", "sql")

    def __init__(self, statement: ClauseElement) -> None:
        compiled: Any = statement.compile(dialect=_DIALECT)
        # Nothing of `compiled` itself is kept: it leads back to the statement, which would then live for ever.
        given: Mapping[str, Any] = compiled.construct_params(_check=False)
        self._defaults = {name: value for name, value in given.items() if not compiled.binds[name].required}
        self._order: Sequence[str] = compiled.positiontup or ()
        self.sql: str = compiled.string
        self.record_class: type[Row] = Row
        self._uses = 0

    def values(self, parameters: Mapping[str, Any] | None) -> list[Any]:
        """In the order of `$1`, `$2`, ..."""
        given = {**self._defaults, **parameters} if parameters else self._defaults
        return [given[name] for name in self._order]

    def learn(self, row: asyncpg.Record) -> None:
        """Take the names of the columns from a row, for a statement that is used again."""
        self._uses += 1
        if self._uses == 2:  # noqa: PLR2004 - again
            # By name: a column more, of a migration beside this process, would move the others.
            columns = {name: property(itemgetter(name)) for name in row.keys()}  # noqa: SIM118 - a Record iterates over values
            self.record_class = type("Row", (Row,), columns)


_prepared: WeakKeyDictionary[ClauseElement, Prepared] = WeakKeyDictionary()


def prepared(statement: ClauseElement) -> Prepared:
    """Compiled once, where the statement is made once."""
    found = _prepared.get(statement)
    if found is None:
        found = _prepared[statement] = Prepared(statement)
    return found
