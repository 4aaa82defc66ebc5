"""Driving the app and the model side by side: the same request to both, the same answer from both."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import httpx
from hypothesis.stateful import RuleBasedStateMachine
from sqlalchemy import text

from app.auth import LocalIssuer
from app.db import Database
from app.limits import JoinCodeGuard
from app.main import create_app
from app.settings import load_settings
from tests.conftest import Person
from tests.model import MAX_MESSAGE_LENGTH, NEW_CODE, Channel, Chat, Message, Refused, User
from tests.model_view import CHAINS, CHANNELS, MORE, OVERVIEW, channel_view, message_view, nodes, overview, plain
from tests.replay import check_log

OWNER, AUTHOR, MEMBER = "its owner", "its author", "a member"
MOST_PLACES = 15  # of 20
NAMES = ("alice", "bob", "carol", "dave", "root")
# All but the people.
EMPTY = """
UPDATE channels SET deleted_at = now(); DELETE FROM message_reactions; DELETE FROM messages; DELETE FROM channels;
DELETE FROM stream_events; DELETE FROM stream_heads WHERE stream_id LIKE 'c%';
UPDATE stream_heads SET head_seq = 0; UPDATE users SET is_active = true, bio = NULL
"""
# So many of an object with its page of messages cost less than a document may.
CHANNELS_AT_ONCE = 4

Thing = TypeVar("Thing", bound=Channel | Message)
Result = TypeVar("Result", bound=bool | Channel | Message)


class Server:
    """The app on an event loop of its own: the rules of a state machine are no coroutines."""

    def __init__(self, runner: asyncio.Runner, database: Database, people: dict[str, Person]) -> None:
        self._runner = runner
        self._database = database
        self.people = people

    def send(self, name: str, document: str, /, **variables: Any) -> dict[str, Any]:
        return self._runner.run(self.people[name].send(document, **variables))

    def empty(self) -> None:
        async def run() -> None:
            async with self._database.engine.begin() as connection:
                for statement in EMPTY.split(";"):
                    await connection.execute(text(statement))

        self._runner.run(run())

    def check_log(self) -> None:
        self._runner.run(check_log(self._database))


@contextmanager
def serve(url: str, folder: Path) -> Iterator[Server]:
    given = {"PARLEY_DATA_DIR": str(folder), "MAX_MESSAGE_LENGTH": str(MAX_MESSAGE_LENGTH)}
    settings = load_settings(given, env_file=None)
    # Housekeeping would free the client keys of deleted channels at a moment of its own.
    app = create_app(settings, url, keeps_house=False)
    stack = AsyncExitStack()
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(stack.enter_async_context(app.router.lifespan_context(app)))
        # A minute passes with every look at the clock, so that join codes can be tried without end.
        app.state.services = replace(app.state.services, join_codes=JoinCodeGuard(clock=count(0.0, 60.0).__next__))
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://parley.test")
        runner.run(stack.enter_async_context(client))
        issuer = LocalIssuer(settings.data_dir)
        people = {name: Person(name, issuer.issue(name, admin=name == "root"), client) for name in NAMES}
        for person in people.values():
            person.id = runner.run(person.ask("{ viewer { user { id } } }"))["user"]["id"]
        try:
            yield Server(runner, app.state.services.database, people)
        finally:
            runner.run(stack.aclose())


class SideBySide(RuleBasedStateMachine):
    """The rules come from below; here is how they ask, and how the answers are compared."""

    server: ClassVar[Server]

    def __init__(self) -> None:
        super().__init__()
        self.server.empty()
        self.users = {
            name: User(name, is_workspace_admin=name == "root", id=person.id)
            for name, person in self.server.people.items()
        }
        self.chat = Chat()
        self.join_codes: dict[Channel, list[str]] = {}  # all there ever were
        self.keyed: list[Callable[[], None]] = []
        self.cursors: dict[Message, str] = {}  # of the events that made them: a retry is told the same
        self.agrees = True

    def people(self, names: frozenset[str]) -> frozenset[User]:
        return frozenset(self.users[name] for name in names)

    def ids(self, names: frozenset[str]) -> list[str]:
        return [self.users[name].id for name in sorted(names)]

    def who(self, actor: str, thing: Channel | Message) -> str:
        """The name behind OWNER, MEMBER (one of the lowest role) and AUTHOR."""
        members = (thing.channel if isinstance(thing, Message) else thing).members
        if actor in {OWNER, MEMBER}:
            return (max if actor == OWNER else min)(members, key=lambda user: members[user]).name
        return thing.author.name if actor == AUTHOR else actor

    def channel_at(self, place: int) -> Channel:
        """One that is neither deleted nor a direct message, as a rule."""
        most = [channel for channel in self.chat.channels if not channel.is_deleted and channel.name is not None]
        pool = most if most and place < MOST_PLACES else self.chat.channels
        return pool[place % len(pool)]

    def message_at(self, place: int) -> Message:
        """One in a channel that is not deleted, as a rule."""
        everything = [message for channel in self.chat.channels for message in channel.messages]
        live = [message for message in everything if not message.channel.is_deleted]
        pool = live if live and place < MOST_PLACES else everything
        return pool[place % len(pool)]

    def now_and_again(self, make: Callable[[], None], key: str | None) -> None:
        """With a client key, it will be retried."""
        if key is not None:
            self.keyed.append(make)
        make()

    def both(
        self, actor: str, document: str, expected: Callable[[], Result], **variables: Any
    ) -> tuple[Result, dict[str, Any]] | None:
        """What came of it, or None if both refuse."""
        self.agrees = False
        body = self.server.send(actor, document, **variables)
        if not self.users[actor].is_active:
            assert [error["extensions"]["code"] for error in body["errors"]] == ["USER_INACTIVE"]
            self.agrees = True
            return None
        assert "errors" not in body, body
        (payload,) = body["data"].values()
        codes = [error["code"] for error in payload.pop("errors")]
        refusals, result = [], None
        try:
            result = expected()
        except Refused as refused:
            refusals = [str(refused)]
        assert codes == refusals, payload
        if result is None:
            assert (payload.pop("existingReply", None) is not None) == (codes == ["REPLY_EXISTS"])
            assert not any(payload.values()), payload
            self.agrees = True
            return None
        is_new = result if isinstance(result, bool) else not result.id
        if not payload.get("deduplicated"):
            assert (payload["cursor"] is not None) == is_new
        if isinstance(result, Message):
            assert payload["cursor"] == self.cursors.setdefault(result, payload["cursor"])
        assert payload.get("deduplicated", not is_new) is not is_new
        assert payload.get("changed", is_new) is is_new
        self.agrees = True
        return result, payload

    def shows(self, actor: str, thing: Channel | Message, payload: dict[str, Any]) -> None:
        """The payload must show the thing as it is now."""
        self.agrees = False
        viewer = self.users[actor]
        if isinstance(thing, Message):
            shown, expected = plain(payload["message"]), message_view(viewer, thing)
            # The documents of other tests ask for less.
            assert shown == {name: expected[name] for name in shown}
        elif payload["channel"] is None:
            assert not self.chat.sees(viewer, thing)
        else:
            if thing.join_code == NEW_CODE:
                thing.join_code = payload["channel"]["joinCode"]
                assert thing.join_code not in [None, *self.join_codes.get(thing, ())]
                self.join_codes.setdefault(thing, []).append(str(thing.join_code))
            shown, view = plain(payload["channel"]), channel_view(viewer, self.chat, thing)
            assert view
            assert shown == {name: view[name] for name in shown}
        self.agrees = True

    def change(
        self, actor: str, thing: Thing, document: str, rule: Callable[[User, Thing], bool], **variables: Any
    ) -> None:
        """Something that is there already."""
        name = self.who(actor, thing)
        done = self.both(name, document, lambda: rule(self.users[name], thing), **variables)
        if done:
            self.shows(name, thing, done[1])

    def change_channel(
        self, actor: str, place: int, document: str, rule: Callable[[User, Channel], bool], **variables: Any
    ) -> None:
        channel = self.channel_at(place)
        self.change(actor, channel, document, rule, channelId=channel.id, **variables)

    def change_message(
        self, actor: str, place: int, document: str, rule: Callable[[User, Message], bool], **variables: Any
    ) -> None:
        message = self.message_at(place)
        self.change(actor, message, document, rule, messageId=message.id, **variables)

    def make(self, actor: str, document: str, rule: Callable[[], Channel | Message], **variables: Any) -> None:
        """Something new, or what is there instead."""
        done = self.both(actor, document, rule, **variables)
        if not done:
            return
        thing, payload = done
        if not thing.id:
            thing.id = payload["message" if isinstance(thing, Message) else "channel"]["id"]
        self.shows(actor, thing, payload)

    def look(self, actor: str) -> None:
        """Everything that somebody can see."""
        viewer, channels = self.users[actor], self.chat.channels
        if not viewer.is_active:
            return
        self.agrees = False
        answer = self.server.send(actor, OVERVIEW)
        assert answer == {"data": overview(viewer, self.chat, list(self.users.values()))}
        for start in range(0, len(channels), CHANNELS_AT_ONCE):
            asked = channels[start : start + CHANNELS_AT_ONCE]
            shown = self.server.send(actor, CHANNELS, ids=[channel.id for channel in asked])["data"]["nodes"]
            for channel, found in zip(asked, shown, strict=True):
                assert (found and self.read(actor, found)) == channel_view(viewer, self.chat, channel)
        messages = [message for channel in channels for message in channel.messages]
        chains = [
            {"id": message.id, "replyChain": nodes(message.chain())} if self.chat.sees(viewer, message) else None
            for message in messages
        ]
        answer = self.server.send(actor, CHAINS, ids=[message.id for message in messages])
        assert answer == {"data": {"nodes": chains}}
        self.agrees = True

    def read(self, actor: str, shown: dict[str, Any]) -> dict[str, Any]:
        """A channel with all of its messages, page by page."""
        page = shown["messages"]
        messages = list(page["nodes"])
        while page["pageInfo"]["hasNextPage"]:
            more = self.server.send(actor, MORE, id=shown["id"], after=page["pageInfo"]["endCursor"])
            page = more["data"]["channel"]["messages"]
            messages += page["nodes"]
        numbers = [message["seq"] for message in messages]
        assert numbers == sorted(set(numbers))
        members = {member["user"]["id"]: member["role"] for member in shown["members"]["nodes"]}
        return {**plain(shown), "members": members, "messages": plain(messages)}

    def teardown(self) -> None:
        """Unless a step has failed already: that is the failure to report."""
        if self.agrees:
            # Two of them, other ones after other conversations: looking takes longer than a step.
            turn = sum(len(channel.messages) for channel in self.chat.channels)
            for name in (NAMES[turn % len(NAMES)], NAMES[(turn + 2) % len(NAMES)]):
                self.look(name)
            self.server.check_log()
