"""Random sequences of mutations. What is refused is refused: only what follows from them counts."""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, NamedTuple

from tests import documents as doc
from tests.conftest import Person
from tests.documents import only
from tests.uploads import DELETE_FILE, DOWNLOAD, UPLOAD, Sent, image, send_form

NAMES = ("alice", "bob", "carol", "dave", "root")
MOST_CHANNELS = 6
ROLES = ("OWNER", "ADMIN", "MODERATOR", "MEMBER", "MEMBER")


class Step(NamedTuple):
    """What happens. The numbers are places in the lists that there are by then."""

    kind: str
    actor: int
    channel: int
    message: int
    other: int
    choice: int

    @property
    def flag(self) -> bool:
        return self.choice % 2 == 1


class Play:
    """One sequence; `number` keeps the names of its channels apart from those of others."""

    def __init__(self, people: dict[str, Person], number: int) -> None:
        self.people = people
        self.number = number
        self.channels: list[tuple[str, Person]] = []
        self.messages: list[tuple[str, Person]] = []
        self.files: list[tuple[str, str, Person]] = []
        self.codes: list[str] = []
        self.reactions: list[tuple[str, str]] = []
        self.reacted: list[tuple[Person, str, str]] = []
        self.archived: set[str] = set()
        self.made = count()

    async def take(self, step: Step) -> None:
        move: Callable[[Step], Awaitable[None]] = getattr(self, step.kind)
        await move(step)

    def anybody(self, step: Step) -> Person:
        return self.people[NAMES[step.actor % len(NAMES)]]

    def able(self, step: Step, owner: Person) -> Person:
        """More often than not somebody who may."""
        return owner if step.actor >= len(NAMES) else self.anybody(step)

    def other(self, step: Step) -> Person:
        return self.people[NAMES[step.other % len(NAMES)]]

    def channel(self, step: Step) -> tuple[str, Person]:
        channel, owner = self.channels[step.channel % len(self.channels)]
        return channel, self.able(step, owner)

    def message(self, step: Step) -> tuple[str, Person]:
        message, author = self.messages[step.message % len(self.messages)]
        return message, self.able(step, author)

    def text(self) -> str:
        return f"text {next(self.made)}"

    async def ask(self, person: Person, document: str, /, **variables: Any) -> dict[str, Any]:
        body = await person.send(document, **variables)
        if "errors" in body:  # dave, while he is deactivated
            assert [each["extensions"]["code"] for each in body["errors"]] == ["USER_INACTIVE"], body
            return {}
        (payload,) = body["data"].values()
        found: dict[str, Any] = payload
        return found

    # ------------------------------------------------------------ messages

    async def send(self, step: Step) -> None:
        channel, person = self.channel(step)
        await self.say(person, doc.SEND, {"channelId": channel, "content": self.text()})

    async def reply(self, step: Step) -> None:
        message, person = self.message(step)
        given = {"parentId": message, "content": self.text(), "onReplyExists": "APPEND_TO_TAIL"}
        await self.say(person, doc.REPLY, given)

    async def say(self, person: Person, document: str, given: dict[str, Any]) -> None:
        said = await self.ask(person, only("message { id }", document), input=given)
        if said.get("message"):
            self.messages.append((said["message"]["id"], person))

    async def edit(self, step: Step) -> None:
        message, person = self.message(step)
        await self.ask(person, only("message { id }", doc.EDIT), input={"messageId": message, "content": self.text()})

    async def delete(self, step: Step) -> None:
        message, person = self.message(step)
        await self.ask(person, only("message { id }", doc.DELETE_MESSAGE), messageId=message)

    async def react(self, step: Step) -> None:
        message, person = self.message(step)
        codes = ["heart", "fire", *(code for code, _ in self.reactions)]
        code = codes[step.choice % len(codes)]
        await self.ask(person, only("changed", doc.ADD_REACTION), messageId=message, code=code)
        self.reacted.append((person, message, code))

    async def unreact(self, step: Step) -> None:
        if self.reacted:
            person, message, code = self.reacted[step.choice % len(self.reacted)]
            await self.ask(person, only("changed", doc.REMOVE_REACTION), messageId=message, code=code)

    # ------------------------------------------------------------ files

    async def upload(self, step: Step) -> None:
        channel, person = self.channel(step)
        sent = image(1 + step.choice, 2) if step.flag else Sent(self.text().encode())
        body = await send_form(
            person,
            only("file { id }", UPLOAD),
            {"input.file": sent},
            input={"channelId": channel, "file": None},
        )
        found = (body.get("data") or {}).get("uploadFile") or {}
        if found.get("file"):
            self.files.append((found["file"]["id"], channel, person))

    async def attach(self, step: Step) -> None:
        """One of the newest, so that some are free."""
        if self.files:
            file, channel, person = self.files[-1 - step.choice % min(3, len(self.files))]
            content = self.text() if step.flag else ""
            await self.say(person, doc.SEND, {"channelId": channel, "content": content, "fileIds": [file]})

    async def delete_file(self, step: Step) -> None:
        if self.files:
            file, _, owner = self.files[step.message % len(self.files)]
            await self.ask(self.able(step, owner), only("cursor", DELETE_FILE), fileId=file)

    async def download(self, step: Step) -> None:
        if self.files:
            file, _, owner = self.files[step.message % len(self.files)]
            await self.ask(self.able(step, owner), only("cursor", DOWNLOAD), fileId=file)

    # ------------------------------------------------------------ channels

    async def create(self, step: Step) -> None:
        if len(self.channels) < MOST_CHANNELS:
            await self.create_channel(self.anybody(step), private=step.flag, members=[self.other(step)])

    async def create_channel(self, owner: Person, *, private: bool, members: list[Person]) -> None:
        given = {"name": f"{self.number} {next(self.made)}", "isPrivate": private}
        made = await self.ask(owner, doc.CREATE_CHANNEL, input={**given, "memberIds": [each.id for each in members]})
        self.keep(made, owner)

    async def talk_alone(self, step: Step) -> None:
        opened = await self.ask(self.anybody(step), doc.OPEN_DM, userIds=[self.other(step).id])
        self.keep(opened, self.anybody(step))

    def keep(self, payload: dict[str, Any], owner: Person) -> None:
        """The channel, if it is new, and its join code."""
        channel = payload.get("channel")
        if channel and channel["id"] not in [each for each, _ in self.channels]:
            self.channels.append((channel["id"], owner))
        if channel and channel["joinCode"]:
            self.codes.append(channel["joinCode"])

    async def update(self, step: Step) -> None:
        channel, person = self.channel(step)
        given = {"name": f"{self.number} {self.text()}", "description": self.text() if step.flag else None}
        await self.ask(person, doc.UPDATE_CHANNEL, input={"channelId": channel, **given})

    async def privacy(self, step: Step) -> None:
        channel, person = self.channel(step)
        self.keep(await self.ask(person, doc.SET_PRIVACY, channelId=channel, isPrivate=step.flag), person)

    async def rotate(self, step: Step) -> None:
        channel, person = self.channel(step)
        self.keep(await self.ask(person, doc.ROTATE, channelId=channel), person)

    async def archive(self, step: Step) -> None:
        """Or the opposite."""
        channel, person = self.channel(step)
        self.archived ^= {channel}
        await self.ask(person, doc.ARCHIVE, channelId=channel, archived=channel in self.archived)

    async def delete_channel(self, step: Step) -> None:
        channel, person = self.channel(step)
        await self.ask(person, doc.DELETE_CHANNEL, channelId=channel)

    # ------------------------------------------------------------ people

    async def join(self, step: Step) -> None:
        await self.ask(self.anybody(step), doc.JOIN, channelId=self.channel(step)[0])

    async def join_by_code(self, step: Step) -> None:
        if self.codes:
            await self.ask(self.anybody(step), doc.JOIN_BY_CODE, joinCode=self.codes[step.choice % len(self.codes)])

    async def leave(self, step: Step) -> None:
        await self.ask(self.anybody(step), doc.LEAVE, channelId=self.channel(step)[0])

    async def add(self, step: Step) -> None:
        channel, person = self.channel(step)
        await self.ask(person, doc.ADD_MEMBERS, channelId=channel, userIds=[self.other(step).id])

    async def remove(self, step: Step) -> None:
        channel, person = self.channel(step)
        await self.ask(person, doc.REMOVE_MEMBER, channelId=channel, userId=self.other(step).id)

    async def away_and_back(self, step: Step) -> None:
        await self.remove(step)
        await self.add(step)

    async def role(self, step: Step) -> None:
        channel, person = self.channel(step)
        given = {"userId": self.other(step).id, "role": ROLES[step.choice % len(ROLES)]}
        await self.ask(person, doc.SET_ROLE, channelId=channel, **given)

    async def profile(self, step: Step) -> None:
        person = self.anybody(step)
        given = {"name": f"{person.name} {self.text()}", "bio": self.text() if step.flag else None}
        await self.ask(person, doc.UPDATE_PROFILE, input=given)

    async def activate(self, step: Step) -> None:
        """Or the opposite: somebody whose own connection nobody needs."""
        await self.ask(self.people["root"], doc.SET_USER_ACTIVE, userId=self.people["dave"].id, active=step.flag)

    # ------------------------------------------------------------ the catalogue

    async def create_reaction(self, step: Step) -> None:  # noqa: ARG002 - a step like any other
        given = {"code": f"r{self.number}-{next(self.made)}", "imageUrl": "https://x.example/"}
        made = await self.ask(self.people["root"], doc.CREATE_REACTION, input=given)
        self.reactions.append((made["reaction"]["code"], made["reaction"]["id"]))

    async def delete_reaction(self, step: Step) -> None:
        if self.reactions:
            _, reaction = self.reactions.pop(step.choice % len(self.reactions))
            await self.ask(self.people["root"], doc.DELETE_REACTION, reactionId=reaction)

    async def end(self) -> None:
        """Leave nothing behind but people."""
        root = self.people["root"]
        await self.ask(root, doc.SET_USER_ACTIVE, userId=self.people["dave"].id, active=True)
        for channel, _ in self.channels:
            await self.ask(root, doc.DELETE_CHANNEL, channelId=channel)
        for _, reaction in self.reactions:
            await self.ask(root, doc.DELETE_REACTION, reactionId=reaction)
