"""Users are looked up once; what is remembered of them ends when their account is switched off, on every node."""

from collections.abc import Sequence

from starlette.applications import Starlette

from app.auth import LocalIssuer
from tests.conftest import Person
from tests.eventually import eventually
from tests.two_apps import clients_of, two_apps  # noqa: F401 - a fixture

CHANNELS = "{ channels(first: 1) { nodes { id } } }"
SWITCH = "mutation ($id: ID!, $on: Boolean!) { setUserActive(userId: $id, active: $on) { errors { code } } }"


async def test_an_account_that_is_switched_off_is_out_on_every_node(
    nodes: Sequence[Starlette], issuer: LocalIssuer
) -> None:
    async with clients_of(nodes) as http:
        admin = Person("root", issuer.issue("root", admin=True), http[0])
        here, there = (Person("alice", issuer.issue("alice"), client) for client in http)
        user_id = (await here.ask("{ viewer { user { id } } }"))["user"]["id"]
        await there.ask(CHANNELS)
        subject = LocalIssuer.subject("alice")
        assert all(app.state.services.known_users.get(subject) for app in nodes)

        await admin.ask(SWITCH, id=user_id, on=False)
        assert (await here.send(CHANNELS))["errors"][0]["extensions"]["code"] == "USER_INACTIVE"  # at once
        await eventually(lambda: nodes[1].state.services.known_users.get(subject) is None)
        assert (await there.send(CHANNELS))["errors"][0]["extensions"]["code"] == "USER_INACTIVE"

        await admin.ask(SWITCH, id=user_id, on=True)
        for person in (here, there):
            await person.ask(CHANNELS)
