"""A short story in which everything happens that can: every type of event, in channels of every kind."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from tests import documents as doc
from tests.conftest import Person
from tests.documents import create_channel, open_dm, reply, send, set_role
from tests.uploads import DELETE_FILE, DOWNLOAD, image, upload, upload_several


@dataclass
class Cast:
    """alice owns the channels, bob is in them, carol is in none, root is a workspace admin; then the channels' ids."""

    alice: Person
    bob: Person
    carol: Person
    root: Person
    channels: dict[str, str] = field(default_factory=dict)
    message: str = ""


async def talk(cast: Cast) -> AsyncGenerator[None, None]:
    """In hall (public), vault (private) and a direct message. Each part goes on by one mutation at a time."""
    alice, bob, root, channels = cast.alice, cast.bob, cast.root, cast.channels
    channels["hall"] = hall = await create_channel(alice, "hall", members=(bob,))
    yield
    channels["vault"] = vault = await create_channel(alice, "vault", private=True, members=(bob, root))
    yield
    channels["dm"] = await open_dm(alice, bob)
    for author, channel in ((alice, hall), (bob, vault), (bob, channels["dm"])):
        given = {"channelId": channel, "content": f"{author.name} was here", "clientKey": f"{author.name} {channel}"}
        top = (await author.ask(doc.SEND, input=given))["message"]["id"]
        yield
        for person in (bob, alice):
            await person.ask(doc.ADD_REACTION, messageId=top, code="heart")
            yield
        await alice.ask(doc.ADD_REACTION, messageId=top, code="tada")
        yield
        answer = await reply(bob, top)
        yield
        await reply(alice, answer)
        yield


async def change(cast: Cast) -> AsyncGenerator[None, None]:
    """What can happen to them, their messages and their people, after they have talked."""
    alice, bob, carol, root = cast.alice, cast.bob, cast.carol, cast.root
    hall, vault = cast.channels["hall"], cast.channels["vault"]
    cast.message = top = await send(alice, hall)
    yield
    await alice.ask(doc.EDIT, input={"messageId": top, "content": "a better text"})
    yield
    await bob.ask(doc.ADD_REACTION, messageId=top, code="fire")
    yield
    await bob.ask(doc.REMOVE_REACTION, messageId=top, code="fire")
    yield
    answer = await reply(bob, top)
    yield
    await bob.ask(doc.DELETE_MESSAGE, messageId=answer)
    yield
    made = await root.ask(doc.CREATE_REACTION, input={"code": "zebra", "imageUrl": "https://x.example/"})
    yield
    await bob.ask(doc.ADD_REACTION, messageId=top, code="zebra")
    yield
    await root.ask(doc.DELETE_REACTION, reactionId=made["reaction"]["id"])
    yield
    await alice.ask(doc.UPDATE_CHANNEL, input={"channelId": hall, "description": "for everybody"})
    yield
    for private in (False, True):
        await alice.ask(doc.SET_PRIVACY, channelId=vault, isPrivate=private)
        yield
    for archived in (True, False):
        await alice.ask(doc.ARCHIVE, channelId=hall, archived=archived)
        yield
    await carol.ask(doc.JOIN, channelId=hall)
    yield
    await carol.ask(doc.LEAVE, channelId=hall)
    yield
    await set_role(alice, vault, bob, "MODERATOR")
    yield
    await set_role(alice, hall, bob, "ADMIN")
    yield
    await bob.ask(doc.UPDATE_PROFILE, input={"bio": "stripes"})
    yield
    await root.ask(doc.SET_USER_ACTIVE, userId=root.id, active=True)  # changes nothing, so is told to nobody
    yield


async def share(cast: Cast) -> AsyncGenerator[None, None]:
    """Files that messages carry, that are deleted, and that wait."""
    alice, bob, hall, vault = cast.alice, cast.bob, cast.channels["hall"], cast.channels["vault"]
    for author, channel in ((bob, hall), (alice, vault)):
        carried = await upload(author, channel, image())
        yield
        await author.ask(doc.SEND, input={"channelId": channel, "content": "", "fileIds": [carried]})
        yield
        await alice.ask(DOWNLOAD, fileId=carried)
        yield
    unwanted = await upload(bob, vault)
    yield
    await alice.ask(DELETE_FILE, fileId=unwanted)
    yield
    await upload_several(alice, hall, image(), image(5, 4))
    yield


async def in_the_attic(cast: Cast) -> AsyncGenerator[None, None]:
    """A channel that goes in the end."""
    cast.channels["attic"] = attic = await create_channel(cast.alice, "attic", members=(cast.bob,))
    yield
    await cast.alice.ask(doc.DELETE_CHANNEL, channelId=attic)
    yield


PARTS = (in_the_attic, talk, change, share)
