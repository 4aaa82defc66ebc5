"""Random conversations, against a model of the rules: every answer and everything visible must be the same.

PARLEY_EXAMPLES=1000 has that many conversations instead of 50, and other ones in each run.
"""

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from tests import documents
from tests.model import MAX_MESSAGE_LENGTH, REACTIONS, Channel, Message, Role, change
from tests.model_driver import AUTHOR, MEMBER, NAMES, OWNER, SideBySide, serve

EXAMPLES = int(os.environ.get("PARLEY_EXAMPLES", "0"))

Names: TypeAlias = frozenset[str]
names = st.sampled_from(NAMES)
# Chance alone picks people who may not.
actors = st.sampled_from((OWNER, OWNER, OWNER, AUTHOR, AUTHOR, AUTHOR, MEMBER, MEMBER, *NAMES))
groups = st.frozensets(names, max_size=3)
places = st.integers(0, 19)
channel_names = st.sampled_from(("general", "General", "random", "ops", ""))
descriptions = st.sampled_from((None, "news"))
contents = st.sampled_from(
    ("hello", "bonjour", "hola", "hi", "hey", "x" * MAX_MESSAGE_LENGTH, "x" * (MAX_MESSAGE_LENGTH + 1), " \n")
)
client_keys = st.sampled_from((None, "one", "two"))
codes = st.sampled_from((*REACTIONS, *REACTIONS, "unknown"))

Method = TypeVar("Method", bound=Callable[..., None])
steps: list[st.SearchStrategy[tuple[str, dict[str, Any]]]] = []


def step(**given: st.SearchStrategy[Any]) -> Callable[[Method], Method]:
    """A step of a conversation. `channel`, `message`, `parent` and `again` are places in lists, as in `channel_at`."""

    def register(method: Method) -> Method:
        steps.append(st.tuples(st.just(method.__name__), st.fixed_dictionaries(given)))
        return method

    return register


class Conversation(SideBySide):
    @step()
    def be_silent(self) -> None:
        """Hypothesis begins with a conversation of nothing but the first kind of step."""

    @step(actor=names, bio=st.sampled_from((None, "hi")))
    def update_profile(self, actor: str, bio: str | None) -> None:
        user = self.users[actor]
        self.both(actor, documents.UPDATE_PROFILE, lambda: change(user, bio=bio), input={"bio": bio})

    @step(actor=st.sampled_from(("root", "root", "alice")), name=names, active=st.booleans())
    def set_user_active(self, actor: str, name: str, active: bool) -> None:
        user = self.users[name]
        action = partial(self.chat.set_user_active, self.users[actor], user, active=active)
        self.both(actor, documents.SET_USER_ACTIVE, action, userId=user.id, active=active)

    # ------------------------------------------------------------ channels

    @initialize()
    def begin(self) -> None:
        self.create("alice", "general", frozenset({"bob", "carol"}), None, private=False)
        self.create("bob", "secret", frozenset({"alice", "root"}), None, private=True)
        for channel in self.chat.channels:
            self.send("alice", channel, "first", None)
            self.reply("bob", channel.messages[0], "second", None, to_tail=False)

    def create(self, actor: str, name: str, people: Names, key: str | None, *, private: bool) -> None:
        given = {"name": name, "isPrivate": private, "memberIds": self.ids(people), "clientKey": key}
        new = Channel(author=self.users[actor], name=name, is_private=private, client_key=key, given=given)
        action = partial(self.chat.create_channel, new, self.people(people))
        self.make(actor, documents.CREATE_CHANNEL, action, input=given)

    @step(actor=names, name=channel_names, people=groups, key=client_keys, private=st.booleans())
    def create_channel(self, actor: str, name: str, people: Names, key: str | None, private: bool) -> None:
        self.now_and_again(partial(self.create, actor, name, people, key, private=private), key)

    @step(again=places)
    def retry(self, again: int) -> None:
        if self.keyed:
            self.keyed[again % len(self.keyed)]()

    @step(actor=names, others=groups)
    def open_direct_message(self, actor: str, others: Names) -> None:
        action = partial(self.chat.open_direct_message, self.users[actor], self.people(others))
        self.make(actor, documents.OPEN_DM, action, userIds=self.ids(others))

    @step(actor=actors, channel=places, name=channel_names, description=descriptions)
    def update_channel(self, actor: str, channel: int, name: str, description: str | None) -> None:
        action = partial(self.chat.update_channel, name=name, description=description)
        given = {"channelId": self.channel_at(channel).id, "name": name, "description": description}
        self.change(actor, self.channel_at(channel), documents.UPDATE_CHANNEL, action, input=given)

    @step(actor=actors, channel=places, private=st.booleans())
    def set_channel_privacy(self, actor: str, channel: int, private: bool) -> None:
        action = partial(self.chat.set_channel_privacy, private=private)
        self.change_channel(actor, channel, documents.SET_PRIVACY, action, isPrivate=private)

    @step(actor=actors, channel=places)
    def rotate_join_code(self, actor: str, channel: int) -> None:
        self.change_channel(actor, channel, documents.ROTATE, self.chat.rotate_join_code)

    @step(actor=actors, channel=places, archived=st.booleans())
    def archive_channel(self, actor: str, channel: int, archived: bool) -> None:
        action = partial(self.chat.archive_channel, archived=archived)
        self.change_channel(actor, channel, documents.ARCHIVE, action, archived=archived)

    @step(actor=actors, channel=places)
    def delete_channel(self, actor: str, channel: int) -> None:
        target = self.channel_at(channel)
        name = self.who(actor, target)
        action = partial(self.chat.delete_channel, self.users[name], target)
        done = self.both(name, documents.DELETE_CHANNEL, action, channelId=target.id)
        assert not done or done[1]["deletedId"] == target.id

    # ------------------------------------------------------------ members

    @step(actor=names, channel=places)
    def join_channel(self, actor: str, channel: int) -> None:
        self.change_channel(actor, channel, documents.JOIN, self.chat.join_channel)

    @step(actor=names, channel=places, age=st.integers(0, 2))
    def join_channel_by_code(self, actor: str, channel: int, age: int) -> None:
        """By the newest code, an older one, or none that ever was."""
        code = [*reversed(self.join_codes.get(self.channel_at(channel), ())), "never", "never", "never"][age]
        action = partial(self.chat.join_channel, code=code)
        self.change(actor, self.channel_at(channel), documents.JOIN_BY_CODE, action, joinCode=code)

    @step(actor=actors, channel=places)
    def leave_channel(self, actor: str, channel: int) -> None:
        self.change_channel(actor, channel, documents.LEAVE, self.chat.leave_channel)

    @step(actor=actors, channel=places, people=groups)
    def add_members(self, actor: str, channel: int, people: Names) -> None:
        action = partial(self.chat.add_members, people=self.people(people))
        self.change_channel(actor, channel, documents.ADD_MEMBERS, action, userIds=self.ids(people))

    @step(actor=actors, channel=places, name=actors)
    def remove_member(self, actor: str, channel: int, name: str) -> None:
        user = self.users[self.who(name, self.channel_at(channel))]
        action = partial(self.chat.remove_member, user=user)
        self.change_channel(actor, channel, documents.REMOVE_MEMBER, action, userId=user.id)

    @step(actor=actors, channel=places, name=actors, role=st.sampled_from(Role))
    def set_member_role(self, actor: str, channel: int, name: str, role: Role) -> None:
        user = self.users[self.who(name, self.channel_at(channel))]
        action = partial(self.chat.set_member_role, user=user, role=role)
        self.change_channel(actor, channel, documents.SET_ROLE, action, userId=user.id, role=role.name)

    # ------------------------------------------------------------ messages

    def send(self, actor: str, channel: Channel, content: str, key: str | None) -> None:
        given = {"channelId": channel.id, "content": content, "clientKey": key}
        new = Message(channel=channel, author=self.users[actor], content=content, client_key=key, given=given)
        self.make(actor, documents.SEND, partial(self.chat.post, new), input=given)

    def reply(self, actor: str, parent: Message, content: str, key: str | None, *, to_tail: bool) -> None:
        mode = "APPEND_TO_TAIL" if to_tail else "FAIL"
        given = {"parentId": parent.id, "content": content, "onReplyExists": mode, "clientKey": key}
        new = Message(
            channel=parent.channel,
            author=self.users[actor],
            content=content,
            parent=parent,
            client_key=key,
            given=given,
        )
        self.make(actor, documents.REPLY, partial(self.chat.post, new, to_tail=to_tail), input=given)

    @step(actor=actors, channel=places, content=contents, key=client_keys)
    def send_message(self, actor: str, channel: int, content: str, key: str | None) -> None:
        target = self.channel_at(channel)
        self.now_and_again(partial(self.send, self.who(actor, target), target, content, key), key)

    @step(actor=actors, parent=places, content=contents, key=client_keys, to_tail=st.booleans())
    def reply_to_message(self, actor: str, parent: int, content: str, key: str | None, to_tail: bool) -> None:
        target = self.message_at(parent)
        name = self.who(actor, target)
        self.now_and_again(partial(self.reply, name, target, content, key, to_tail=to_tail), key)

    @step(
        actor=st.one_of(st.just(AUTHOR), actors),
        message=places,
        content=contents,
        expected=st.sampled_from((None, 1, 2)),
    )
    def edit_message(self, actor: str, message: int, content: str, expected: int | None) -> None:
        action = partial(self.chat.edit_message, content=content, expected=expected)
        given = {"messageId": self.message_at(message).id, "content": content, "expectedRevision": expected}
        self.change(actor, self.message_at(message), documents.EDIT, action, input=given)

    @step(actor=actors, message=places)
    def delete_message(self, actor: str, message: int) -> None:
        self.change_message(actor, message, documents.DELETE_MESSAGE, self.chat.delete_message)

    @step(actor=actors, message=places, code=codes)
    def add_reaction(self, actor: str, message: int, code: str) -> None:
        self.change_message(actor, message, documents.ADD_REACTION, partial(self.chat.react, code=code), code=code)

    @step(actor=actors, message=places, code=codes)
    def remove_reaction(self, actor: str, message: int, code: str) -> None:
        action = partial(self.chat.react, code=code, take_back=True)
        self.change_message(actor, message, documents.REMOVE_REACTION, action, code=code)

    # One rule for all steps: Hypothesis leaves some rules out of each conversation, which is good for thousands of
    # them; out of fifty, half would be about nothing but who is in a channel.
    @rule(step=st.one_of(steps))
    def take(self, step: tuple[str, dict[str, Any]]) -> None:
        name, given = step
        getattr(self, name)(**given)


def test_the_app_and_the_model_agree(new_database: Callable[[str], str], tmp_path: Path) -> None:
    # After the tenth, most conversations are Hypothesis's variations of earlier ones: start anew instead.
    chosen = settings(
        max_examples=10,
        stateful_step_count=40,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    starts = random.SystemRandom().sample(range(2**32), EXAMPLES // 10) if EXAMPLES else range(5)
    with serve(new_database("parley_model"), tmp_path) as server:
        Conversation.server = server
        for start in starts:
            run_state_machine_as_test(seed(start)(Conversation), settings=chosen)
