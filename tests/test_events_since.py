"""Catching up: pages without gap or repeat, of what somebody may see and nothing else."""

import asyncio
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from sqlalchemy import text

from app.db import Database
from app.events import cursor
from schema.channels import MESSAGES
from tests import documents as doc
from tests.conftest import Newcomer, Person
from tests.documents import create_channel, global_id, number, open_dm, request_error, send
from tests.follower import SINCE, Follower, at, following, positions, stream
from tests.plans import recorded

CURSOR = "query ($id: ID!) { channel(id: $id) { cursor } }"


async def change(database: Database, statement: str, **parameters: Any) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text(statement), parameters)


async def pages(follower: Follower, first: int) -> list[dict[str, Any]]:
    """All events, in pages of this size."""
    events, has_more = [], True
    while has_more:
        page = await follower.page(first)
        assert not page["resyncRequired"]
        assert len(page["events"]) == first or not page["hasMore"]
        events += page["events"]
        has_more = page["hasMore"]
    return events


async def busy(alice: Person, bob: Person) -> None:
    """Things happen in channels that bob is in, joins, leaves and loses, and in the workspace."""
    here = await create_channel(alice, "here", members=(bob,))
    gone = await create_channel(alice, "gone", private=True, members=(bob,))
    left = await create_channel(alice, "left", private=True, members=(bob,))
    await open_dm(alice, bob)
    for channel in (here, gone, left):
        top = await send(alice, channel)
        await alice.ask(doc.ADD_REACTION, messageId=top, code="tada")
    await alice.ask(doc.UPDATE_PROFILE, input={"bio": "zebra"})
    await alice.ask(doc.DELETE_CHANNEL, channelId=gone)
    await bob.ask(doc.LEAVE, channelId=left)
    await send(alice, left)
    await send(bob, here)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_pages_of_any_size_are_one_page_of_all(size: int, alice: Person, bob: Person) -> None:
    before = await following(bob)
    await busy(alice, bob)
    in_all = await Follower(bob, before.after).events()
    assert len(in_all) == 15
    assert await pages(before, size) == in_all
    assert await before.events() == []


async def test_a_page_of_none_tells_only_whether_there_are_more(alice: Person, bob: Person) -> None:
    follower = await following(bob)
    start = positions(follower.after[0])
    page = await follower.page(first=0)
    assert (page["events"], page["hasMore"], positions(page["cursor"])) == ([], False, start)
    await create_channel(alice, members=(bob,))
    page = await follower.page(first=0)
    assert (page["events"], page["hasMore"], len(await follower.events())) == ([], True, 4)


async def test_who_writes_meanwhile_is_found_on_later_pages(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    follower = await following(bob)
    _, seen = await asyncio.gather(
        asyncio.gather(*(send(alice, channel, str(place)) for place in range(20))), pages(follower, 2)
    )
    seen += await pages(follower, 2)
    assert [next(iter(positions(event["cursor"]).values())) for event in seen] == list(range(4, 24))


async def test_the_cursor_of_a_channel_follows_it_alone(alice: Person, bob: Person) -> None:
    channel, other = await create_channel(alice, members=(bob,)), await create_channel(alice, "x", members=(bob,))
    follower = Follower(bob, [(await bob.ask(CURSOR, id=channel))["cursor"]])
    sent = await alice.ask(doc.SEND, input={"channelId": channel, "content": "one"})
    await send(alice, other)
    await alice.ask(doc.UPDATE_PROFILE, input={"bio": "zebra"})
    await send(alice, channel, "two")
    after_one = Follower(bob, [sent["cursor"]])
    assert [event["message"]["content"] for event in await follower.events()] == ["one", "two"]
    assert [event["message"]["content"] for event in await after_one.events()] == ["two"]
    assert {*positions(after_one.after[0])} == {f"c{number(channel)}"}


async def test_the_cursor_of_a_profile_follows_the_workspace_alone(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    changed = await alice.ask(doc.UPDATE_PROFILE, input={"bio": "zebra"})
    follower = Follower(bob, [changed["cursor"]])
    await send(alice, channel)
    await alice.ask(doc.UPDATE_PROFILE, input={"bio": "zebras"})
    assert await follower.types() == [("w", "USER_UPDATED")]


async def test_the_furthest_cursor_counts_per_stream(alice: Person, bob: Person) -> None:
    start = await following(bob)
    await busy(alice, bob)
    events = await Follower(bob, start.after).events()
    for place in range(len(events) + 1):
        seen = [event["cursor"] for event in events[:place]]
        assert await Follower(bob, [*seen, *start.after]).events() == events[place:]


async def test_the_cursor_of_joining_covers_what_comes_after(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice)
    follower = await following(bob)
    joined = await bob.ask(doc.JOIN, channelId=channel)
    await send(alice, channel)
    assert await Follower(bob, [*follower.after, joined["cursor"]]).types() == [
        (f"c{number(channel)}", "MESSAGE_CREATED")
    ]


async def test_joining_begins_with_being_let_in(alice: Person, bob: Person) -> None:
    follower = await following(bob)
    channel = await create_channel(alice, private=True)
    key = f"c{number(channel)}"
    await send(alice, channel, "before")
    await alice.ask(doc.ADD_MEMBERS, channelId=channel, userIds=[bob.id])
    await send(alice, channel, "after")
    forged = Follower(bob, [*follower.after, at(**{key: 0})])
    alone = Follower(bob, [at(**{key: 0})])
    own = (f"u{number(bob.id)}", "MEMBER_JOINED")
    expected = [(key, "MEMBER_JOINED"), (key, "MESSAGE_CREATED")]
    assert sorted(await follower.types()) == sorted(await forged.types()) == [*expected, own]
    assert await alone.types() == expected


async def test_who_leaves_is_told_that_and_nothing_more(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, "x", private=True, members=(bob,))
    follower, alone = await following(bob), Follower(bob, [(await bob.ask(CURSOR, id=channel))["cursor"]])
    await send(alice, channel)
    await alice.ask(doc.REMOVE_MEMBER, channelId=channel, userId=bob.id)
    await send(alice, channel)
    (left,) = await follower.events()
    assert (stream(left), left["type"], left["channelId"]) == (f"u{number(bob.id)}", "MEMBER_LEFT", channel)
    assert (left["channel"], left["user"], left["previousRole"]) == (None, {"name": "bob"}, "MEMBER")
    assert await request_error(bob, SINCE, after=alone.after) == "NOT_FOUND"
    await alice.ask(doc.ADD_MEMBERS, channelId=channel, userIds=[bob.id])
    # 4 to 6 are a message, their leaving, and a message: these stay out of sight, be it only for the gap between.
    assert [positions(event["cursor"])[f"c{number(channel)}"] for event in await alone.events()] == [7]
    assert sorted(await follower.types()) == [
        (f"c{number(channel)}", "MEMBER_JOINED"),
        (f"u{number(bob.id)}", "MEMBER_JOINED"),
    ]


async def test_a_public_channel_goes_on_through_joining_and_leaving(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice)
    follower = await following(bob)
    follower.after.append((await bob.ask(CURSOR, id=channel))["cursor"])
    await send(alice, channel, "before")
    await bob.ask(doc.JOIN, channelId=channel)
    await bob.ask(doc.LEAVE, channelId=channel)
    await send(alice, channel, "after")
    told = [event["type"] for event in await follower.events() if stream(event)[0] == "c"]
    assert told == ["MESSAGE_CREATED", "MEMBER_JOINED", "MEMBER_LEFT", "MESSAGE_CREATED"]


async def test_what_is_hidden_is_as_if_it_were_missing(alice: Person, bob: Person, carol: Person) -> None:
    hidden = [f"c{number(await create_channel(alice, private=True))}", f"c{number(await open_dm(alice, bob))}"]
    hidden += [f"u{number(alice.id)}", f"u{number(bob.id)}", "c999999999", "u999999999"]
    visible = f"c{number(await create_channel(alice, 'x'))}"
    for key in hidden:
        # Wherever the position is: that nothing was refused must not say that there is something to refuse.
        for seq in (0, 1, 10**15):
            assert await request_error(carol, SINCE, after=[at(**{key: seq})]) == "NOT_FOUND"
    page = await Follower(carol, [at(**dict.fromkeys([*hidden, visible], 0))]).page()
    assert not page["resyncRequired"]
    assert {stream(event) for event in page["events"]} == {*positions(page["cursor"])} == {visible}


async def test_of_a_deleted_channel_only_its_end_is_told(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, private=True, members=(bob,))
    key = f"c{number(channel)}"
    start = await following(bob)
    await send(alice, channel)
    await send(alice, channel)
    deleted = await alice.ask(doc.DELETE_CHANNEL, channelId=channel)
    (last,) = positions(deleted["cursor"]).values()
    for cursors in (start.after, [at(**{key: 0})], [at(**{key: last - 1})], [*start.after, at(**{key: last - 2})]):
        follower = Follower(bob, cursors)
        (event,) = await follower.events()
        assert (event["type"], event["channel"], event["cursor"]) == ("CHANNEL_DELETED", None, deleted["cursor"])
        assert await follower.events() == []
    await change(database, "UPDATE stream_heads SET floor_seq = head_seq WHERE stream_id = :key", key=key)
    assert (await Follower(bob, start.after).page())["resyncRequired"]
    assert await Follower(bob, [at(**{key: last})]).events() == []


async def test_what_is_gone_must_be_read_anew(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    key = f"c{number(channel)}"
    before = await following(bob)
    await send(alice, channel)
    at_floor = await following(bob)
    await send(alice, channel)
    heads = positions((await following(bob)).after[0])
    await change(database, "UPDATE stream_heads SET floor_seq = 4 WHERE stream_id = :key", key=key)
    assert await at_floor.types() == [(key, "MESSAGE_CREATED")]
    for cursors in (before.after, [at(**{key: 3})], [at(**{key: 0})]):
        follower = Follower(bob, cursors)
        page = await follower.page()
        assert (page["events"], page["hasMore"], page["resyncRequired"]) == ([], False, True)
        assert positions(page["cursor"]) == {name: heads[name] for name in positions(cursors[0])}
        await send(alice, channel)
        heads[key] += 1
        assert await follower.types() == [(key, "MESSAGE_CREATED")]


async def test_another_numbering_must_be_read_anew(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    key = f"c{number(channel)}"
    follower = await following(bob)
    await change(database, "UPDATE stream_heads SET epoch = 2 WHERE stream_id = :key", key=key)
    page = await follower.page()
    assert (page["events"], page["resyncRequired"]) == ([], True)
    assert cursor.decode(page["cursor"])[key].epoch == 2
    await send(alice, channel)
    assert await follower.types() == [(key, "MESSAGE_CREATED")]


async def test_a_position_that_is_not_reached_yet_must_be_read_anew(alice: Person) -> None:
    channel = await create_channel(alice)
    for seq in (3, 10**15, 10**18 - 1):
        page = await Follower(alice, [at(**{f"c{number(channel)}": seq})]).page()
        assert (page["resyncRequired"], page["hasMore"], positions(page["cursor"])) == (
            True,
            False,
            {f"c{number(channel)}": 2},
        )


BAD_CURSORS = {
    "empty": "",
    "no base64": "é",
    "another list's": MESSAGES.cursor((1,)),
    "an id": global_id("User:1"),
    "no epoch": urlsafe_b64encode(b"w:1").decode(),
    "epoch 0": urlsafe_b64encode(b"w@0:1").decode(),
    "a negative number": urlsafe_b64encode(b"w@1:-1").decode(),
    "a number that PostgreSQL cannot hold": urlsafe_b64encode(b"w@1:" + b"9" * 30).decode(),
    "an unknown stream": urlsafe_b64encode(b"x1@1:1").decode(),
    "injection": urlsafe_b64encode(b"w@1:1'; DROP TABLE users").decode(),
    "NUL": urlsafe_b64encode(b"w@1:1\0").decode(),
}


@pytest.mark.parametrize("bad", BAD_CURSORS.values(), ids=BAD_CURSORS)
async def test_what_is_no_cursor_is_refused(bad: str, alice: Person) -> None:
    good = (await following(alice)).after
    assert await request_error(alice, SINCE, after=[*good, bad]) == "CURSOR_INVALID"


async def test_pages_and_cursors_are_limited(alice: Person) -> None:
    assert await request_error(alice, SINCE, after=[]) == "BAD_REQUEST"
    assert await request_error(alice, SINCE, after=[at(w=0)], first=501) == "BAD_REQUEST"
    assert await request_error(alice, SINCE, after=[at(w=0)], first=-1) == "BAD_REQUEST"
    assert await request_error(alice, SINCE, after=[at(w=0)] * 501) == "CURSOR_INVALID"
    assert (await Follower(alice, [at(w=0)] * 500).events())[0]["type"] == "USER_UPDATED"


async def test_the_page_has_a_hundred_events_unless_told_otherwise(alice: Person, database: Database) -> None:
    fill = """INSERT INTO stream_events (stream_id, seq, type, actor_id, payload)
        SELECT 'w', seq, 'USER_UPDATED', :id, jsonb_build_object('user', CAST(:id AS bigint))
        FROM generate_series(2, 601) AS seq"""
    await change(database, fill, id=number(alice.id))
    await change(database, "UPDATE stream_heads SET head_seq = 601 WHERE stream_id = 'w'")
    document = "query ($after: [EventCursor!]!) { eventsSince(after: $after) { hasMore events { id } } }"
    for asked in (document, document.replace("$after)", "$after, first: null)")):
        page = await alice.ask(asked, after=[at(w=1)])
        assert (len(page["events"]), page["hasMore"]) == (100, True)
    assert len((await Follower(alice, [at(w=1)]).page())["events"]) == 500


async def test_somebody_without_a_token_is_told_nothing(alice: Person) -> None:
    alice.token = "none"
    assert await request_error(alice, SINCE, after=[at(w=0)]) == "UNAUTHENTICATED"


async def test_many_events_of_many_streams_cost_what_a_few_cost(
    newcomer: Newcomer, alice: Person, bob: Person, root: Person, database: Database
) -> None:
    await create_channel(alice, members=(bob,))
    start = (await following(bob)).after
    await root.ask(doc.CREATE_REACTION, input={"code": "zebra", "imageUrl": "https://x.example/"})
    counts, events = [], []
    for place, size in enumerate((1, 2, 8)):
        for step in range(size):
            await newcomer(f"user {place}{step}")
            channel = await create_channel(alice, f"{place}{step}", private=True, members=(bob,))
            for _ in range(size):
                await alice.ask(doc.ADD_REACTION, messageId=await send(alice, channel), code="zebra")
            await alice.ask(doc.SET_PRIVACY, channelId=channel, isPrivate=False)
        with recorded(database.engine) as sent:
            events.append(len((await Follower(bob, start).page())["events"]))
        counts.append(len(sent))
    assert events[2] > 10 * events[0] > 10
    # Who asks; the streams that they follow (2) and those that the cursor names; what happened; then actors, users,
    # messages and their authors, reactions, channels.
    assert counts == [9, 9, 9]
