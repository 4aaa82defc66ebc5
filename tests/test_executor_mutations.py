"""A mutation is done once, by whichever executor, and both would show the same of what it returned.

PARLEY_EXAMPLES sets how many documents tests/test_executor.py thinks of; here it is a sixth of that.
"""

from typing import Any

import pytest
from graphql import get_named_type
from hypothesis import given
from hypothesis import strategies as st

from app.db import Database
from schema.execution.leaves import Uncovered
from schema.execution.run import Run
from tests.both_ways import by_plan, by_reference, is_failed
from tests.given_values import Values, literal
from tests.right_mutations import RIGHT, UPLOADS, new_place
from tests.test_executor import EXAMPLES, examples
from tests.told import after_the_story  # noqa: F401 - a fixture
from tests.village import Village, village_of  # noqa: F401 - a fixture
from tests.writer import CORE, Writer, Written, everything_allowed, requested

assert CORE.mutation_type is not None
MUTATIONS = CORE.mutation_type.fields


def called(name: str, given: dict[str, Any], selection: str) -> str:
    """A field of the root, with these arguments."""
    arguments = ", ".join(f"{key}: {literal(value, MUTATIONS[name].args[key].type)}" for key, value in given.items())
    return f"{name}({arguments}) {{ {selection} }}"


def test_there_are_arguments_for_each_mutation() -> None:
    assert RIGHT.keys() == MUTATIONS.keys() - UPLOADS


@examples(EXAMPLES // 6)
@given(data=st.data())
async def test_payloads(village: Village, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(RIGHT)))
    field = MUTATIONS[name]
    values = Values(data.draw, village.pools)
    is_right = values.chance(60)
    wrong = {key: values.of(argument.type, key, name) for key, argument in field.args.items()}
    payload = get_named_type(field.type)
    writers = [Writer(values, everything_allowed) for _ in range(4)]
    selections = [writer.selection(payload, 4) for writer in writers]
    viewer, right = RIGHT[name]
    arguments = right(village, await new_place(village)) if is_right else wrong
    # Who may do little spoils nothing for the examples that follow.
    async with village.viewers.context(viewer if is_right else "carol") as context:
        # The first of them does it, the others show again what it returned.
        for writer, selection in zip(writers, selections, strict=True):
            request = requested(writer.text("mutation", called(name, arguments, selection)), writer)
            found, how = await by_plan(context, request)
            assert found == await by_reference(context, request)
            assert b'"INTERNAL"' not in found
            assert b'"VALIDATION_FAILED"' not in found
            if not is_failed(found) and not request.has_null_switch:
                assert how == {"plan": 1}
            outcome = context.outcomes.get(name)
            if is_right and name not in {"setPresence", "renewSession"} and outcome is not None:
                assert outcome.errors == []


async def test_a_mutation_whose_plan_gives_up_is_not_done_again(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = Database.write

    async def counted(self: Database, unit: Any) -> Any:
        written[-1] += 1
        return await write(self, unit)

    async def give_up(_run: Run) -> None:
        raise Uncovered("for the test")

    monkeypatch.setattr(Database, "write", counted)
    for name, (viewer, right) in RIGHT.items():
        counts = []
        for gives_up in (False, True):
            written.append(0)
            place = await new_place(village)
            request = Written(f"mutation {{ {called(name, right(village, place), '__typename')} }}")
            written.append(0)
            with monkeypatch.context() as patched:
                if gives_up:
                    patched.setattr(Run, "finish", give_up)
                found, how = await village.viewers.by_plan(viewer, request)
            assert b'"__typename"' in found
            assert how == {"for the test" if gives_up else "plan": 1}
            counts.append(written[-1])
        assert counts[0] == counts[1], name
