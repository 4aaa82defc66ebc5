"""Sockets of the program as its users start it: what they are told when it stops, and what its log has of them."""

import signal
import tempfile
import threading
from pathlib import Path

from app.auth import LocalIssuer
from tests.processes import STOP_LIMIT, serving
from tests.socket_client import connected, opened, raw

SUBSCRIBE = "subscription { viewerEvents { __typename ... on StreamNotice { kind } } }"
RENEW = "mutation($token: String!) { renewSession(token: $token) { expiresAt errors { message } } }"


async def test_a_signal_tells_subscriptions_and_no_log_has_a_token() -> None:
    with tempfile.TemporaryDirectory(prefix="parley-sockets-") as home:
        folder = Path(home, "data")
        with serving(folder, LOG_LEVEL="debug") as server:
            output = server.process.stdout
            assert output is not None
            log: list[str] = []
            reader = threading.Thread(target=log.extend, args=[output])
            reader.start()
            token, port = LocalIssuer(folder).issue("alice"), int(server.url.rpartition(":")[2])
            async with raw(port) as careless:
                await careless.handshake("127.0.0.1", f"Authorization: Bearer {token}", path=f"/graphql?token={token}")
            async with opened(port) as refused:
                await refused.send({"type": "connection_init", "payload": {"authToken": token}})
                assert (await refused.closed()).code == 4403
            async with connected(port, token) as client:
                renewed = await client.ask(RENEW, variables={"token": token})
                assert renewed["data"]["renewSession"]["errors"] == []
                await client.refused(RENEW.replace("renewSession", "nonsense"), variables={"token": token})
                await client.subscribe("1", SUBSCRIBE)
                told = [(await client.receive())["payload"]["data"]["viewerEvents"]["kind"]]
                server.process.send_signal(signal.SIGTERM)
                told.append((await client.receive())["payload"]["data"]["viewerEvents"]["kind"])
                assert told == ["READY", "SERVER_DRAINING"]
                assert (await client.closed()).code == 1012
            assert server.process.wait(STOP_LIMIT) == 0
            reader.join(STOP_LIMIT)
    text = "".join(log)
    assert "/graphql" in text, "at this level the log does have the sockets"
    assert token.rpartition(".")[2] not in text
    assert "Traceback" not in text
