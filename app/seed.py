"""The demo workspace: three people, four places to talk, and a first conversation.

Written through the services, so its events are real. Every step can be repeated: a start that was killed half way is
completed by the next one.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy import select

from app.auth import LocalIssuer
from app.db import Database, Write, among
from app.models import Channel, Message, User
from app.services.access import Actor
from app.services.channels import create_channel
from app.services.direct_messages import open_direct_message
from app.services.idempotency import client_key
from app.services.messages import reply_to_message, send_message
from app.services.reactions import add_reaction
from app.services.users import insert_user

T = TypeVar("T")

PEOPLE = ("Alice", "Bob", "Carol")
MAX_LENGTH = 8000
LAST_KEY = "demo-last"


class Storyteller:
    """One of the people, doing things in the demo workspace."""

    def __init__(self, database: Database, user: User) -> None:
        self.database = database
        self.user = user
        self.actor = Actor(user.id)

    async def do(self, unit: Callable[[Write], Awaitable[T]]) -> T:
        return (await self.database.write(unit)).value

    async def opens(self, name: str, about: str, *others: "Storyteller", is_private: bool = False) -> Channel:
        written, _ = await create_channel(
            self.database,
            self.actor,
            name=name,
            description=about,
            is_private=is_private,
            member_ids=[other.user.id for other in others],
            key=client_key(f"demo-{name}", name),
        )
        return written.value

    async def says(self, channel: Channel, content: str, *, key: str) -> Message:
        written, _ = await send_message(
            self.database,
            self.actor,
            channel.id,
            content=content,
            key=client_key(f"demo-{key}", content),
            max_length=MAX_LENGTH,
        )
        return written.value

    async def answers(self, parent: Message, content: str, *, key: str) -> Message:
        written, _ = await reply_to_message(
            self.database,
            self.actor,
            parent.id,
            content=content,
            to_tail=False,
            key=client_key(f"demo-{key}", content),
            max_length=MAX_LENGTH,
        )
        return written.value

    async def reacts(self, message: Message, code: str) -> None:
        await self.do(lambda write: add_reaction(write, self.actor, message.id, code))


async def seed_demo(database: Database) -> bool:
    """Write the demo workspace. False, and nothing written, if it is there already or anybody else is."""
    subjects = {LocalIssuer.subject(name): name for name in PEOPLE}
    async with database.read() as reader:
        # By their keys: this runs at every start, on a workspace of any size.
        ours = among(User.auth0_id, subjects)
        stranger = await reader.first(select(User.id).where(~ours).limit(1))
        last = select(Message.id).join(User, User.id == Message.author_id)
        done = await reader.first(last.where(ours, Message.client_key == LAST_KEY))
    if done is not None or stranger is not None:
        return False

    async def bring(write: Write) -> list[User]:
        for subject, name in subjects.items():
            await insert_user(write, auth0_id=subject, email=None, name=name, picture=None)
        return [*await write.rows(select(User).order_by(User.name))]

    people = (await database.write(bring)).value
    await tell(*(Storyteller(database, person) for person in people))
    return True


async def tell(alice: Storyteller, bob: Storyteller, carol: Storyteller) -> None:
    """The conversation that a stranger finds on the first start."""
    general = await alice.opens("general", "Everything that concerns everybody", bob, carol)
    await bob.opens("random", "Anything else", alice)
    launch = await alice.opens("launch", "Ours alone until the day", bob, is_private=True)

    hello = await alice.says(general, "Welcome to Parley! This workspace is a demo: try things out.", key="hello")
    question = await bob.says(general, "Who is in for lunch at noon?", key="lunch")
    answer = await carol.answers(question, "Me! The place at the corner?", key="corner")
    answer = await alice.answers(answer, "They have closed. Pizza?", key="pizza")
    await bob.answers(answer, "Pizza it is.", key="deal")
    await alice.says(launch, "The release notes are ready for a look.", key="notes")
    for person in (bob, carol):
        await person.reacts(hello, "wave")
    await alice.reacts(question, "pizza")
    await carol.reacts(question, "pizza")

    ids: list[int | None] = [alice.user.id]
    direct, _ = await bob.do(lambda write: open_direct_message(write, bob.actor, ids))
    await bob.says(direct, "Thanks for setting this up!", key="last")
