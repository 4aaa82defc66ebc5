"""Statements as the driver gets them."""

import gc
from typing import Any

import pytest
from sqlalchemy import func, select

from app import statements
from app.db import Database
from app.models import User
from app.services.users import BY_ID
from app.statements import prepared


def test_a_statement_that_is_gone_leaves_nothing() -> None:
    gc.collect()
    before = len(statements._prepared)  # noqa: SLF001 - what must not grow
    for place in range(50):
        limited = select(User).where(User.id == place, func.lower(User.name) > "a").limit(place + 1)
        assert prepared(limited).values(None) == [place, "a", place + 1]
        del limited
    gc.collect()
    assert len(statements._prepared) == before  # noqa: SLF001 - as above


def test_a_parameter_that_is_not_given_is_no_null() -> None:
    with pytest.raises(KeyError, match="user_ids"):
        prepared(BY_ID).values({})


async def test_rows_have_attributes_from_the_first_time_on(database: Database) -> None:
    statement = select(func.now().label("moment"), func.length("four").label("letters"))
    async with database.read() as reader:
        for _ in range(3):
            row: Any = (await reader.tuples(statement))[0]
            assert (row[1], row.letters) == (4, 4)
            assert row.moment == row["moment"]
            with pytest.raises(AttributeError):
                _ = row.nothing
