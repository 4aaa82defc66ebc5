"""Every connection: walks in both directions, borders, arguments and cursors."""

import json
from base64 import urlsafe_b64decode

import pytest

from tests.conftest import Newcomer, Person
from tests.documents import global_id
from tests.listings import KINDS, Kind, Scene, ids_of

LABELS = [f"m{place}" for place in range(10)]
MOST_PAGES = 20
BOTH_WAYS = [name for name, kind in KINDS.items() if kind.both_ways]


async def scene_of(kind: Kind, owner: Person, newcomer: Newcomer, size: int) -> Scene:
    scene = Scene(kind, owner, newcomer)
    scene.target = await kind.start(scene)
    await scene.add(*LABELS[:size])
    return scene


async def walk(scene: Scene, size: int) -> list[str]:
    """All ids, front to end in pages of this size."""
    found: list[str] = []
    after = None
    for _ in range(MOST_PAGES):
        page = await scene.page(first=size, after=after)
        found += ids_of(page)
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        if not page["pageInfo"]["hasNextPage"]:
            return found
        assert len(page["nodes"]) == size
        after = page["pageInfo"]["endCursor"]
    raise AssertionError("the walk does not end")


async def walk_back(scene: Scene, size: int) -> list[str]:
    found: list[str] = []
    before = None
    for _ in range(MOST_PAGES):
        page = await scene.page(last=size, before=before)
        found = ids_of(page) + found
        assert page["pageInfo"]["hasNextPage"] is (before is not None)
        if not page["pageInfo"]["hasPreviousPage"]:
            return found
        assert len(page["nodes"]) == size
        before = page["pageInfo"]["startCursor"]
    raise AssertionError("the walk does not end")


@pytest.mark.parametrize("name", KINDS)
async def test_a_walk_meets_every_item_once(alice: Person, newcomer: Newcomer, name: str) -> None:
    scene = await scene_of(KINDS[name], alice, newcomer, 0)
    for size, more in ((0, LABELS[:1]), (1, LABELS[1:10]), (10, [])):
        expected = await scene.items()
        assert len(set(expected)) == len(expected) == size + KINDS[name].initial
        assert set(expected) >= {scene.ids[label] for label in LABELS[:size]}
        for page_size in (3, size) if size else (1,):
            assert await walk(scene, page_size) == expected
            if KINDS[name].both_ways:
                assert await walk_back(scene, page_size) == expected
        await scene.add(*more)


@pytest.mark.parametrize("name", KINDS)
async def test_pages_end_right_at_the_border(alice: Person, newcomer: Newcomer, name: str) -> None:
    scene = await scene_of(KINDS[name], alice, newcomer, 4)
    whole = await scene.page(first=100)
    size, cursors = len(whole["nodes"]), [edge["cursor"] for edge in whole["edges"]]
    assert [edge["node"] for edge in whole["edges"]] == whole["nodes"]
    for first, after, count, has_next in (
        (0, None, 0, True),
        (size - 1, None, size - 1, True),
        (size, None, size, False),
        (100, None, size, False),
        (1, cursors[-3], 1, True),
        (1, cursors[-2], 1, False),
        (2, cursors[-2], 1, False),
        (1, cursors[-1], 0, False),
        (0, cursors[0], 0, True),
    ):
        page = await scene.page(first=first, after=after)
        info = page["pageInfo"]
        assert (len(page["nodes"]), info["hasNextPage"], info["hasPreviousPage"]) == (
            count,
            has_next,
            after is not None,
        )
        shown = [edge["cursor"] for edge in page["edges"]] or [None]
        assert (info["startCursor"], info["endCursor"]) == (shown[0], shown[-1])


@pytest.mark.parametrize("name", BOTH_WAYS)
async def test_pages_begin_right_at_the_border(alice: Person, newcomer: Newcomer, name: str) -> None:
    scene = await scene_of(KINDS[name], alice, newcomer, 4)
    whole = await scene.page(first=100)
    cursors = [edge["cursor"] for edge in whole["edges"]]
    for last, before, places, has_previous in (
        (0, None, [], True),
        (3, None, [1, 2, 3], True),
        (4, None, [0, 1, 2, 3], False),
        (5, None, [0, 1, 2, 3], False),
        (1, cursors[2], [1], True),
        (1, cursors[1], [0], False),
        (1, cursors[0], [], False),
    ):
        page = await scene.page(last=last, before=before)
        info = page["pageInfo"]
        assert ids_of(page) == [whole["nodes"][place]["id"] for place in places]
        assert (info["hasPreviousPage"], info["hasNextPage"]) == (has_previous, before is not None)


@pytest.mark.parametrize("name", BOTH_WAYS)
async def test_a_page_lies_between_its_cursors(alice: Person, newcomer: Newcomer, name: str) -> None:
    scene = await scene_of(KINDS[name], alice, newcomer, 6)
    whole = await scene.page(first=100)
    ids, cursors = ids_of(whole), [edge["cursor"] for edge in whole["edges"]]
    between = {"after": cursors[0], "before": cursors[5]}
    assert ids_of(await scene.page(**between)) == ids[1:5]
    assert ids_of(await scene.page(first=2, **between)) == ids[1:3]
    assert ids_of(await scene.page(last=2, **between)) == ids[3:5]
    assert ids_of(await scene.page(after=cursors[3], before=cursors[2])) == []
    assert ids_of(await scene.page(after=cursors[2], before=cursors[3])) == []


@pytest.mark.parametrize("name", KINDS)
async def test_a_walk_is_not_disturbed_by_others_who_add_and_remove(
    alice: Person, newcomer: Newcomer, name: str
) -> None:
    scene = await scene_of(KINDS[name], alice, newcomer, 8)
    original = await scene.items()
    met = ids_of(await scene.page(first=3))
    after = (await scene.page(first=3))["pageInfo"]["endCursor"]
    await scene.add("a0", "z0")  # by name these are the first and the last
    removed = {scene.ids[label] for label in ("m0", "m6")} - {*met}
    for label in ("m0", "m6"):
        await scene.remove(label)
    for _ in range(MOST_PAGES):
        page = await scene.page(first=2, after=after)
        met += ids_of(page)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    gone = removed - {*await scene.items()}
    assert len(met) == len(set(met))
    assert [id_ for id_ in met if id_ in original] == [id_ for id_ in original if id_ not in gone]
    assert (scene.ids["z0"] in met) is not scene.kind.newest_first


@pytest.mark.parametrize("name", BOTH_WAYS)
async def test_a_walk_back_is_not_disturbed_by_others_who_add(alice: Person, newcomer: Newcomer, name: str) -> None:
    scene = await scene_of(KINDS[name], alice, newcomer, 8)
    original = await scene.items()
    newest = await scene.page(last=3)
    await scene.add("new 1", "new 2")
    await scene.remove("m1")
    older = await scene.page(last=100, before=newest["pageInfo"]["startCursor"])
    assert ids_of(older) + ids_of(newest) == original


@pytest.mark.parametrize("name", KINDS)
async def test_a_page_has_0_to_100_items(alice: Person, newcomer: Newcomer, name: str) -> None:
    scene = await scene_of(KINDS[name], alice, newcomer, 2)
    for size in (-1, 101, 2**31 - 1, -(2**31), 2**31, 10**30, "1", 1.5, True):
        assert await scene.refused(first=size) == "BAD_REQUEST", size
        if KINDS[name].both_ways:
            assert await scene.refused(last=size) == "BAD_REQUEST", size
    if KINDS[name].both_ways:
        assert await scene.refused(first=1, last=1) == "BAD_REQUEST"
    assert len((await scene.page(first=None, after=None))["nodes"]) == 2 + KINDS[name].initial


@pytest.mark.parametrize("name", KINDS)
async def test_a_cursor_that_the_list_did_not_give_is_refused(alice: Person, newcomer: Newcomer, name: str) -> None:
    scene = await scene_of(KINDS[name], alice, newcomer, 1)
    own = str((await scene.page(first=1))["pageInfo"]["endCursor"])
    (listed, *_) = json.loads(urlsafe_b64decode(own + "=="))
    keys = ("", "-1", "true", "1.5", '"x",1,1', f"{2**63}", f'"a",{2**63}', "null", "[1]", '"a\\u0000"', "1e400")
    forged = [global_id(f'["{listed}"{"," if key else ""}{key}]') for key in keys]
    garbage = ["", "x", "é", "%", "\x00", own[:-4], own + own, "a" * 5000]
    for cursor in [*forged, *garbage, *map(global_id, ("1", "{}", "[" * 500, "\x00"))]:
        assert await scene.refused(first=1, after=cursor) == "CURSOR_INVALID", cursor
        if KINDS[name].both_ways:
            assert await scene.refused(last=1, before=cursor) == "CURSOR_INVALID", cursor


async def test_the_cursor_of_another_list_is_refused(newcomer: Newcomer) -> None:
    scenes = {}
    for place, (name, kind) in enumerate(KINDS.items()):
        scenes[name] = await scene_of(kind, await newcomer(f"owner {place}"), newcomer, 0)
        await scenes[name].add(f"item-{place}")
    cursors = {name: (await scene.page(first=1))["pageInfo"]["endCursor"] for name, scene in scenes.items()}
    for name, scene in scenes.items():
        for other, cursor in cursors.items():
            if name.split("(")[0] != other.split("(")[0]:
                assert await scene.refused(first=1, after=cursor) == "CURSOR_INVALID", (name, other)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_cursor_of_a_moment_that_cannot_be_is_refused(alice: Person, newcomer: Newcomer, moment: str) -> None:
    scene = await scene_of(KINDS["members"], alice, newcomer, 1)
    assert await scene.refused(after=global_id(f'["members","{moment}",1]')) == "CURSOR_INVALID"
