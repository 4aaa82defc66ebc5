"""The demo workspace: three people, four places to talk, and a first conversation.

Written through the services, so its events are real, and in one transaction: a start that is killed half way leaves
nothing, and the next one begins anew. So whoever finds users knows that the demo is over, also when the people have
deleted all of it.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth import LocalIssuer
from app.db import Database, Write, Written
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
NO_KEY = client_key(None)


class OneTransaction(Database):
    """Runs all units of work on one connection, whose owner commits them together."""

    def __init__(self, connection: AsyncConnection) -> None:
        # Without the pool of a Database: everything goes through the one connection.
        self._connection = connection

    async def write(self, unit: Callable[[Write], Awaitable[T]]) -> Written[T]:
        write = Write(self._connection)
        value = await unit(write)
        await write.finish()
        return Written(value, write.positions)


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
            key=NO_KEY,
        )
        return written.value

    async def says(self, channel: Channel, content: str) -> Message:
        written, _ = await send_message(
            self.database, self.actor, channel.id, content=content, key=NO_KEY, max_length=len(content)
        )
        return written.value

    async def answers(self, parent: Message, content: str) -> Message:
        written, _ = await reply_to_message(
            self.database, self.actor, parent.id, content=content, to_tail=False, key=NO_KEY, max_length=len(content)
        )
        return written.value

    async def reacts(self, message: Message, code: str) -> None:
        await self.do(lambda write: add_reaction(write, self.actor, message.id, code))


async def seed_demo(database: Database) -> bool:
    """Write the demo workspace, all of it or nothing. False, and nothing written, if there are users already."""
    async with database.engine.connect() as connection:
        whole = OneTransaction(connection)
        people = (await whole.write(bring)).value
        if len(people) < len(PEOPLE):
            return False
        await tell(*(Storyteller(whole, person) for person in people))
        await connection.commit()
    return True


async def bring(write: Write) -> list[User]:
    """The people of the demo; fewer where there are users, or where others bring them at the same time."""
    if await write.first(select(User.id).limit(1)) is not None:
        return []
    arrivals = [
        await insert_user(write, auth0_id=LocalIssuer.subject(name), email=None, name=name, picture=None)
        for name in PEOPLE
    ]
    return [user for user in arrivals if user is not None]


async def tell(alice: Storyteller, bob: Storyteller, carol: Storyteller) -> None:
    """The conversation that a stranger finds on the first start."""
    general = await alice.opens("general", "Everything that concerns everybody", bob, carol)
    await bob.opens("random", "Anything else", alice)
    launch = await alice.opens("launch", "Ours alone until the day", bob, is_private=True)

    hello = await alice.says(general, "Welcome to Parley! This workspace is a demo: try things out.")
    question = await bob.says(general, "Who is in for lunch at noon?")
    answer = await carol.answers(question, "Me! The place at the corner?")
    answer = await alice.answers(answer, "They have closed. Pizza?")
    await bob.answers(answer, "Pizza it is.")
    await alice.says(launch, "The release notes are ready for a look.")
    for person in (bob, carol):
        await person.reacts(hello, "wave")
    await alice.reacts(question, "pizza")
    await carol.reacts(question, "pizza")

    ids: list[int | None] = [alice.user.id]
    direct, _ = await bob.do(lambda write: open_direct_message(write, bob.actor, ids))
    await bob.says(direct, "Thanks for setting this up!")
