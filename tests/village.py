"""What is there after the story, and more: what the executor is compared over."""

from collections.abc import Mapping

import pytest
from starlette.applications import Starlette

from tests import documents as doc
from tests.both_ways import Viewers, viewers_of
from tests.conftest import Newcomer, Person
from tests.documents import create_channel, open_dm, send
from tests.given_values import Pools
from tests.story import Cast
from tests.told import after_the_story  # noqa: F401 - a fixture

CHAIN_LENGTH = 100
HARVEST = """query ($after: [EventCursor!]!) {
    viewer { cursor channels(first: 10) { edges { cursor node { ...seen } } } }
    old: viewer { channels(archived: true, first: 5) { edges { cursor node { ...seen } } } }
    channels(first: 10) { edges { cursor node { __typename id } } }
    users(first: 10) { edges { cursor node { __typename id } } }
    reactions(first: 5) { edges { cursor node { __typename id } } }
    catalogue: reactions(kind: CUSTOM, first: 5) { nodes { __typename id } }
    eventsSince(after: $after, first: 100) { events { __typename id cursor } }
}
fragment seen on Channel {
    __typename id cursor joinCode
    members(first: 3) { edges { cursor node { __typename id } } }
    messages(last: 8) { edges { cursor node {
        __typename id replyChain(first: 2) { edges { cursor node { __typename id } } }
        reactions { users(first: 2) { edges { cursor node { id } } } }
    } } }
}"""


class Village:
    """Among the viewers, nobody has no token, and gone was deactivated.

    No dataclass: Hypothesis would show all of it with every failure, and warns that it is long.
    """

    def __init__(
        self, viewers: Viewers, people: Mapping[str, Person], pools: Pools, channels: Mapping[str, str]
    ) -> None:
        self.viewers = viewers
        self.people = people
        self.pools = pools
        self.channels = channels


@pytest.fixture(name="village")
async def village_of(app: Starlette, cast: Cast, newcomer: Newcomer) -> Village:
    alice, bob, root, hall = cast.alice, cast.bob, cast.root, cast.channels["hall"]
    gone = await newcomer("gone")
    begin = await alice.ask("{ viewer { cursor } }")
    people = {"alice": alice, "bob": bob, "carol": cast.carol, "root": root, "gone": gone}
    channels = {**cast.channels, "cellar": await create_channel(alice, "cellar", members=(bob, gone))}
    channels["three"] = await open_dm(alice, bob, root)
    await send(gone, channels["cellar"], "I was here")
    await alice.ask(doc.ARCHIVE, channelId=channels["cellar"], archived=True)
    await root.ask(doc.SET_USER_ACTIVE, userId=gone.id, active=False)
    await root.ask(doc.CREATE_REACTION, input={"code": "parrot", "imageUrl": "https://x.example/parrot"})
    last = await send(bob, hall, 'the first of many \N{ZEBRA FACE} " \\ \n')
    chain = []
    for number in range(CHAIN_LENGTH):
        given = {"parentId": last, "content": f"{number}"}
        answer = await (alice, bob)[number % 2].ask(doc.only("message { id }", doc.REPLY), input=given)
        last = str(answer["message"]["id"])
        chain.append(last)
    for author, message in ((bob, chain[49]), (alice, chain[-2])):
        await author.ask(doc.DELETE_MESSAGE, messageId=message)
    for person, code in ((alice, "heart"), (bob, "heart"), (alice, "parrot")):
        await person.ask(doc.ADD_REACTION, messageId=chain[-1], code=code)
    pools = Pools()
    for name, person in people.items():
        if name != "gone":
            pools.learn((await person.send(HARVEST, after=[begin["cursor"]]))["data"])
    # Most are newer than all that happened, and lead to nothing.
    pools.cursors += [begin["cursor"]] * len(pools.cursors)
    assert {"User", "Channel", "Message", "Reaction", "ChannelMember"} <= pools.ids.keys()
    assert {"channels", "users", "reactions", "members", "messages", "replyChain"} <= pools.places.keys()
    assert pools.codes
    return Village(await viewers_of(app.state.services, *people.values()), people, pools, channels)
