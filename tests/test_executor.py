"""Answers made by a plan are, byte for byte, those of the reference executor.

PARLEY_EXAMPLES sets how many documents the property tests think of: 400 without it.
"""

import itertools
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.both_ways import is_failed
from tests.queries import queries
from tests.told import after_the_story  # noqa: F401 - a fixture
from tests.village import Village, village_of  # noqa: F401 - a fixture

EXAMPLES = int(os.environ.get("PARLEY_EXAMPLES", "400"))
VIEWERS = (("alice", "carol", "root"),) * 6 + (("alice", "bob"), ("alice", "gone"), ("nobody", "alice"))


def examples(number: int) -> settings:
    return settings(
        max_examples=max(number, 1),
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


@examples(EXAMPLES)
@given(data=st.data())
async def test_queries(village: Village, data: st.DataObject) -> None:
    request = data.draw(queries(village.pools))
    viewers = data.draw(st.sampled_from(VIEWERS))
    for viewer, asked in itertools.product(viewers, (request, request.again())[: 1 + bool(request.variables)]):
        found, how = await village.viewers.by_plan(viewer, asked)
        assert found == await village.viewers.by_reference(viewer, asked)
        assert b'"INTERNAL"' not in found
        assert b'"VALIDATION_FAILED"' not in found
        if not is_failed(found) and not asked.has_null_switch:
            assert how == {"plan": 1}
