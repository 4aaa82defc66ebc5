"""Real clients from npm against the real app: Apollo, urql, and the audits of the GraphQL over HTTP specification."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jose import jwt

from app.auth import LocalIssuer
from app.auth.local import LOCAL_AUDIENCE, LOCAL_ISSUER
from app.main import create_app
from app.settings import Settings
from tests.node import CLIENTS, installed_node, passes  # noqa: F401 - a fixture
from tests.served import Served

SCRIPTS = sorted(path.name for path in CLIENTS.glob("*.test.mjs"))


@pytest.fixture(scope="module")
def environment(settings: Settings, new_database: Callable[[str], str]) -> Iterator[dict[str, str]]:
    issuer = LocalIssuer(settings.data_dir)
    with Served(create_app(settings, new_database("parley_clients"))) as served:
        yield {
            **os.environ,
            "PARLEY_URL": served.url,
            "PARLEY_TOKEN": issuer.issue("urql"),
            "PARLEY_EXPIRED_TOKEN": expired_token(issuer, settings.data_dir),
        }


def expired_token(issuer: LocalIssuer, data_dir: Path) -> str:
    now = int(time.time())
    claims = {"iss": LOCAL_ISSUER, "aud": LOCAL_AUDIENCE, "sub": "local|urql", "iat": now - 7200, "exp": now - 3600}
    headers = {"kid": issuer.jwks()["keys"][0]["kid"]}
    token: str = jwt.encode(claims, (data_dir / "issuer.pem").read_text(), algorithm="RS256", headers=headers)
    return token


@pytest.mark.parametrize("script", SCRIPTS)
def test_client(script: str, node: str, environment: dict[str, str]) -> None:
    passes(node, script, environment)
