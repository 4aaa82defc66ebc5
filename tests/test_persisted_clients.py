"""Real clients from npm against a server with a manifest, and against one with automatic persisted queries."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import Settings
from tests.node import installed_node, passes  # noqa: F401 - a fixture
from tests.persisted import apollos, digest, persisting, write

# As the generator writes it for Apollo Client, which adds `__typename` to every selection below the root.
VIEWER = "query Viewer {\n  viewer {\n    user {\n      id\n      name\n      __typename\n    }\n    __typename\n  }\n}"
NOTICES = "subscription Notices { viewerEvents { ... on StreamNotice { kind } } }"


@pytest.mark.parametrize("mode", ["only", "automatic"])
def test_clients(mode: str, node: str, settings: Settings, new_database: Callable[[str], str], tmp_path: Path) -> None:
    path = write(tmp_path, apollos(VIEWER, NOTICES))
    environ = {"PERSISTED_DOCUMENTS": str(path), "PERSISTED_DOCUMENTS_ONLY": "on"}
    if mode == "automatic":
        environ = {"AUTOMATIC_PERSISTED_QUERIES": "on"}
    with persisting(settings, new_database(f"parley_persisted_clients_{mode}"), **environ) as server:
        ids = json.dumps({"Viewer": digest(VIEWER)})
        own = {"PARLEY_URL": server.url, "PARLEY_TOKEN": server.token, "PARLEY_MODE": mode, "PARLEY_IDS": ids}
        passes(node, "persisted.mjs", {**os.environ, "NODE_ENV": "production", **own})
