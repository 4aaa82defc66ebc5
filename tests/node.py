"""Node, with the clients of tests/clients installed."""

import fcntl
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import in_ci

CLIENTS = Path(__file__).parent / "clients"
INSTALL_SECONDS = 120
SCRIPT_SECONDS = 30


@pytest.fixture(name="node", scope="session")
def installed_node() -> str:
    """The path of Node, with the clients installed as their lock file says."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        if in_ci():
            pytest.fail("CI must run the client tests, and Node is missing: install nodejs and npm.")
        pytest.skip("Node is missing, so no client of GraphQL is tried: install nodejs and npm.")
    lock, installed = CLIENTS / "package-lock.json", CLIENTS / "node_modules" / ".package-lock.json"
    # Tests run in several processes.
    with Path(tempfile.gettempdir(), "parley-test-npm.lock").open("w", encoding="utf-8") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(
                command, cwd=CLIENTS, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
            )
            assert done.returncode == 0, done.stderr
    return node


def passes(node: str, script: str, environment: Mapping[str, str]) -> None:
    """Run a script of tests. One that finds nothing to test would exit well, too."""
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", script],
        cwd=CLIENTS,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SCRIPT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"^# pass (\d+)$", done.stdout, re.MULTILINE)[-1]) > 0, done.stdout
