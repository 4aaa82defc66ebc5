"""What it costs the database when everybody comes back at once."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from app.db import Database
from app.settings import Settings
from tests.conftest import Person
from tests.documents import JOIN, create_channel, send
from tests.eventually import eventually
from tests.live import Live, live
from tests.nodes import Address
from tests.oracle import judge
from tests.pair import BOUND
from tests.watcher import Watcher, watching

pytestmark = pytest.mark.faults

USERS, SOCKETS_EACH = 40, 5


@contextmanager
def statements(database: Database) -> Iterator[Counter[str]]:
    """How often each was sent meanwhile."""
    sent = Counter[str]()

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        sent[statement] += 1

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def return_all(server: Live, watchers: Sequence[Watcher], person: Person, channel: str, *, missed: int) -> float:
    """Cut all connections. How many statements it costs each watcher to be back, beside those that are for all."""
    before = {watcher: watcher.kinds().count("READY") for watcher in watchers}
    with statements(server.services.database) as sent:
        for watcher in watchers:
            watcher.cut()
        for _ in range(missed):
            await send(person, channel)
        await eventually(lambda: all(each.kinds().count("READY") > count for each, count in before.items()), 30)
    assert [watcher.kinds().count("READY") for watcher in watchers] == [count + 1 for count in before.values()]
    return sum(count for count in sent.values() if count > len(watchers) // 2) / len(watchers)


async def test_to_come_back_takes_two_statements_and_a_third_where_something_was_missed(
    settings: Settings, new_database: Callable[[str], str]
) -> None:
    database = Database(url := new_database("faults_storm"), pool_size=1)
    # The server may not have noticed yet that the old connections are gone.
    roomy = replace(settings, max_websocket_connections_per_user=3 * SOCKETS_EACH)
    async with live(roomy, url) as server:
        node = Address()
        node.port = server.served.port
        alice = await server.person("alice")
        channel = await create_channel(alice)
        people = [await server.person(f"user {turn}") for turn in range(USERS)]
        for person in people:
            await person.ask(JOIN, channelId=channel)
        watchers = [Watcher(person, node, reconnects=True) for person in people for _ in range(SOCKETS_EACH)]
        async with watching(*watchers):
            await send(alice, channel)
            await judge(database, watchers, seconds=BOUND)
            # Who it is, and what they follow. A few are told more while they are at it.
            assert await return_all(server, watchers, alice, channel, missed=0) < 2.2
            # What was missed; what is in it, is asked for once for all.
            assert await return_all(server, watchers, alice, channel, missed=3) < 3.2
            await judge(database, watchers, seconds=BOUND)
        assert {watcher.sockets for watcher in watchers} == {3}, "once is enough"
    await database.dispose()
