"""The rules of the chat as the API's contract states them, in memory, sharing no code with the server.

What changes something says whether it did; what makes something returns it, or what was there: only the new has no id.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

MAX_MESSAGE_LENGTH = 20
REACTIONS = ("fire", "heart")  # some of the catalogue that comes with the server
NEW_CODE = "new"  # the server makes join codes; whoever drives the model puts the real one in
Role = IntEnum("Role", ["MEMBER", "MODERATOR", "ADMIN", "OWNER"])
T = TypeVar("T", "Channel", "Message")

# The lowest role that may; how a direct message refuses it; whether archiving closes it.
RULES: dict[str, tuple[Role, str | None, bool]] = {
    "post": (Role.MEMBER, None, True),
    "leave": (Role.MEMBER, "DM_MEMBERSHIP_FIXED", False),
    "invite": (Role.MODERATOR, "DM_MEMBERSHIP_FIXED", True),
    "manageMembers": (Role.MODERATOR, "DM_MEMBERSHIP_FIXED", False),
    "deleteAnyMessage": (Role.MODERATOR, None, False),
    "manageRoles": (Role.ADMIN, "DM_MEMBERSHIP_FIXED", False),
    "editChannel": (Role.ADMIN, None, True),
    "changePrivacy": (Role.ADMIN, "DM_MUST_BE_PRIVATE", True),
    "seeJoinCode": (Role.ADMIN, None, False),
    "rotateJoinCode": (Role.ADMIN, "JOIN_CODE_NOT_ALLOWED", True),
    "archive": (Role.ADMIN, None, False),
    "deleteChannel": (Role.OWNER, None, False),
}


class Refused(Exception): ...  # its text is the code


@dataclass(eq=False)
class User:
    name: str
    is_workspace_admin: bool = False
    is_active: bool = True
    bio: str | None = None
    id: str = ""


@dataclass(eq=False, kw_only=True)
class Channel:
    author: User
    name: str | None = None  # a direct message has none
    description: str | None = None
    is_private: bool = False
    is_archived: bool = False
    is_deleted: bool = False
    join_code: str | None = None
    members: dict[User, Role] = field(default_factory=dict)
    messages: list["Message"] = field(default_factory=list)
    client_key: str | None = None
    given: object = None
    id: str = ""


@dataclass(eq=False, kw_only=True)
class Message:
    channel: Channel
    author: User
    content: str | None  # None once deleted
    parent: "Message | None" = None
    reply: "Message | None" = None
    revision: int = 1
    reactions: dict[tuple[str, User], None] = field(default_factory=dict)  # in the order of reacting
    client_key: str | None = None
    given: object = None
    id: str = ""

    def chain(self) -> list["Message"]:
        return [self.reply, *self.reply.chain()] if self.reply else []


def refuse(code: str, *, when: bool) -> None:
    if when:
        raise Refused(code)


def change(thing: object, **values: object) -> bool:
    before = {name: getattr(thing, name) for name in values}
    vars(thing).update(values)
    return before != values


@dataclass
class Chat:
    channels: list[Channel] = field(default_factory=list)

    def sees(self, actor: User, thing: Channel | Message) -> bool:
        channel = thing.channel if isinstance(thing, Message) else thing
        return not channel.is_deleted and (actor in channel.members or not channel.is_private)

    def need(self, actor: User, channel: Channel, action: str, user: User | None = None) -> None:
        role, code_in_dm, closed_by_archiving = RULES[action]
        refuse("NOT_FOUND", when=not self.sees(actor, channel))  # hidden equals missing
        refuse("NOT_MEMBER", when=actor not in channel.members)
        refuse(str(code_in_dm), when=channel.name is None and code_in_dm is not None)
        refuse("ROLE_TOO_LOW", when=channel.members[actor] < role)
        refuse("CHANNEL_ARCHIVED", when=channel.is_archived and closed_by_archiving)
        refuse("NOT_MEMBER", when=user is not None and user not in channel.members)

    def may(self, actor: User, channel: Channel, action: str) -> bool:
        """What `viewerCan` says to somebody who sees the channel."""
        try:
            self.need(actor, channel, action)
        except Refused:
            return action == "deleteChannel" and actor.is_workspace_admin
        return action != "seeJoinCode" or channel.is_private

    def earlier(self, new: T, made: list[T]) -> T | None:
        """What the author made under the same client key. If they see it no more, the key is just used up."""
        key = (new.author, new.client_key)
        found = next((thing for thing in made if new.client_key and (thing.author, thing.client_key) == key), None)
        if found and self.sees(new.author, found):
            refuse("KEY_REUSED", when=found.given not in (None, new.given))
        return found

    def check_name(self, channel: Channel, name: str | None, *, private: bool) -> None:
        """Names of public channels are unique in any case."""
        public = [other for other in self.channels if not (other.is_private or other.is_deleted or other is channel)]
        refuse("NAME_TAKEN", when=not private and str(name).lower() in [str(other.name).lower() for other in public])

    def check_content(self, content: str | None) -> None:
        refuse("MESSAGE_TOO_LONG", when=len(content or "") > MAX_MESSAGE_LENGTH)
        refuse("INVALID_INPUT", when=not (content or "").strip())

    def set_user_active(self, actor: User, user: User, *, active: bool) -> bool:
        refuse("FORBIDDEN", when=not actor.is_workspace_admin or (user is actor and not active))
        return change(user, is_active=active)

    def create_channel(self, new: Channel, people: frozenset[User]) -> Channel:
        refuse("INVALID_INPUT", when=not new.name)
        found = self.earlier(new, self.channels)
        if found and self.sees(new.author, found):
            return found
        refuse("USER_INACTIVE", when=not all(user.is_active for user in people))
        self.check_name(new, new.name, private=new.is_private)
        refuse("KEY_REUSED", when=found is not None)
        new.members = {new.author: Role.OWNER, **dict.fromkeys(people - {new.author}, Role.MEMBER)}
        new.join_code = NEW_CODE if new.is_private else None
        self.channels.append(new)
        return new

    def open_direct_message(self, actor: User, others: frozenset[User]) -> Channel:
        people = {actor, *others}
        for channel in self.channels:
            if channel.name is None and not channel.is_deleted and channel.members.keys() == people:
                return channel
        refuse("USER_INACTIVE", when=not all(user.is_active for user in people))
        self.channels.append(Channel(author=actor, is_private=True, members=dict.fromkeys(people, Role.MEMBER)))
        return self.channels[-1]

    def update_channel(self, actor: User, channel: Channel, name: str, description: str | None) -> bool:
        refuse("INVALID_INPUT", when=not name)
        self.need(actor, channel, "editChannel")
        self.check_name(channel, name, private=channel.is_private)
        return change(channel, name=name, description=description)

    def set_channel_privacy(self, actor: User, channel: Channel, *, private: bool) -> bool:
        self.need(actor, channel, "changePrivacy")
        self.check_name(channel, channel.name, private=private)
        return change(channel, is_private=private) and change(channel, join_code=NEW_CODE if private else None)

    def rotate_join_code(self, actor: User, channel: Channel) -> bool:
        self.need(actor, channel, "rotateJoinCode")
        refuse("JOIN_CODE_NOT_ALLOWED", when=not channel.is_private)
        return change(channel, join_code=NEW_CODE)

    def archive_channel(self, actor: User, channel: Channel, *, archived: bool) -> bool:
        self.need(actor, channel, "archive")
        return change(channel, is_archived=archived)

    def delete_channel(self, actor: User, channel: Channel) -> bool:
        if channel.is_deleted or not actor.is_workspace_admin:
            self.need(actor, channel, "deleteChannel")
        return change(channel, is_deleted=True, join_code=None)

    def join_channel(self, actor: User, channel: Channel, code: str | None = None) -> bool:
        refuse("NOT_FOUND", when=code is None and not self.sees(actor, channel))
        refuse("INVALID_JOIN_CODE", when=code not in {None, channel.join_code})
        refuse("CHANNEL_ARCHIVED", when=channel.is_archived and actor not in channel.members)
        return change(channel, members={actor: Role.MEMBER, **channel.members})

    def leave_channel(self, actor: User, channel: Channel) -> bool:
        self.need(actor, channel, "leave")
        refuse("LAST_OWNER", when=channel.members[actor] is Role.OWNER)
        return bool(channel.members.pop(actor))

    def add_members(self, actor: User, channel: Channel, people: frozenset[User]) -> bool:
        self.need(actor, channel, "invite")
        refuse("USER_INACTIVE", when=not all(user.is_active for user in people))
        return change(channel, members={**dict.fromkeys(people, Role.MEMBER), **channel.members})

    def remove_member(self, actor: User, channel: Channel, user: User) -> bool:
        self.need(actor, channel, "manageMembers", user)
        refuse("ROLE_TOO_LOW", when=channel.members[user] >= channel.members[actor])
        return bool(channel.members.pop(user))

    def set_member_role(self, actor: User, channel: Channel, user: User, role: Role) -> bool:
        self.need(actor, channel, "manageRoles", user)
        own, before = channel.members[actor], channel.members[user]
        if before is role:
            return False
        refuse("LAST_OWNER", when=user is actor and own is Role.OWNER)
        refuse("ROLE_TOO_LOW", when=role > own or (user is not actor and before >= own))
        refuse("USER_INACTIVE", when=role is Role.OWNER and not user.is_active)
        if role is Role.OWNER:
            channel.members[actor] = Role.ADMIN
        return change(channel, members={**channel.members, user: role})

    def post(self, new: Message, *, to_tail: bool = False) -> Message:
        self.check_content(new.content)
        found = self.earlier(new, [message for channel in self.channels for message in channel.messages])
        if found and self.sees(new.author, found):
            return found
        self.need(new.author, new.channel, "post")
        refuse("PARENT_DELETED", when=new.parent is not None and new.parent.content is None)
        refuse("REPLY_EXISTS", when=new.parent is not None and new.parent.reply is not None and not to_tail)
        refuse("KEY_REUSED", when=found is not None)
        if new.parent:
            new.parent = [new.parent, *new.parent.chain()][-1]
            new.parent.reply = new
        new.channel.messages.append(new)
        return new

    def edit_message(self, actor: User, message: Message, content: str, expected: int | None) -> bool:
        self.check_content(content)
        refuse("NOT_FOUND", when=not self.sees(actor, message))
        refuse("FORBIDDEN", when=message.author is not actor)
        self.need(actor, message.channel, "post")
        refuse("MESSAGE_DELETED", when=message.content is None)
        refuse("EDIT_CONFLICT", when=expected not in {None, message.revision})
        return change(message, content=content) and change(message, revision=message.revision + 1)

    def delete_message(self, actor: User, message: Message) -> bool:
        if message.author is not actor or actor not in message.channel.members or message.channel.is_deleted:
            self.need(actor, message.channel, "deleteAnyMessage")
        message.reactions.clear()
        return change(message, content=None, given=None)  # nothing of the text stays: any input passes for a retry

    def react(self, actor: User, message: Message, code: str, *, take_back: bool = False) -> bool:
        self.need(actor, message.channel, "post")
        refuse("REACTION_UNKNOWN", when=code not in REACTIONS)
        refuse("MESSAGE_DELETED", when=message.content is None and not take_back)
        others = {key: None for key in message.reactions if key != (code, actor)}
        return change(message, reactions=others if take_back else {**message.reactions, (code, actor): None})
