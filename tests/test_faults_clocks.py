"""Nodes whose clocks are apart: neither what is delivered nor its order goes by them. Tokens do."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.db import Database
from tests.conftest import in_ci
from tests.documents import create_channel
from tests.load import Load
from tests.nodes import Node, running
from tests.oracle import judge, same_frames
from tests.pair import BOUND, RATE
from tests.processes import parley
from tests.redis_server import RedisServer
from tests.socket_client import opened
from tests.watcher import Watcher, watching

pytestmark = pytest.mark.faults

SKEW_SECONDS = 600
# Loaded into a process before the C library, whose functions Python asks for the time of day.
OTHER_CLOCK = """
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *found) {
    int result = syscall(SYS_clock_gettime, clock, found);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        found->tv_sec += atol(getenv("SKEW_SECONDS"));
    return result;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found)
        *found = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture(scope="module")
def other_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that has it."""
    compiler = shutil.which("cc")
    if compiler is None:
        if in_ci():
            pytest.fail("CI must run the tests of clocks, and there is no C compiler: install gcc.")
        pytest.skip("No C compiler, so no clock can be set for one process: install gcc.")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=OTHER_CLOCK, text=True, check=True)
    return library


async def refusal(node: Node, token: str) -> str:
    """Why the node closes a socket with this token."""
    async with opened(node.port) as client:
        await client.send({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
        closed = await client.closed()
        assert closed.code == 4403
        return closed.reason


@pytest.mark.parametrize("skew", [SKEW_SECONDS, -SKEW_SECONDS])
async def test_a_node_with_another_clock_delivers_the_same_in_the_same_order(
    tmp_path: Path, new_database: Callable[[str], str], redis: RedisServer, other_clock: Path, skew: int
) -> None:
    url = new_database(f"faults_clocks_{'ahead' if skew > 0 else 'behind'}")
    skewed = {"LD_PRELOAD": str(other_clock), "SKEW_SECONDS": str(skew)}
    first, second = Node(tmp_path, url, REDIS_URL=redis.url), Node(tmp_path, url, REDIS_URL=redis.url, **skewed)
    behind, ahead = (first, second) if skew > 0 else (second, first)

    def issue(name: str, node: Node, ttl: int = 3600) -> str:
        """By the clock of this node. All of them take it until it ends by theirs, and none before it begins by that."""
        settings = skewed if node is second else {}
        return parley(tmp_path, "token", name, "--ttl", str(ttl), **settings).stdout.strip()

    database = Database(url, pool_size=2)
    async with running(first, second):
        alice = await first.person("alice", token=issue("alice", behind))
        bob = await second.person("bob", token=issue("bob", behind))
        channel = await create_channel(alice, members=(bob,))
        watchers = [
            Watcher(person, node, channel=each)
            for person in (alice, bob)
            for node in (first, second)
            for each in (channel, None)
        ]
        async with watching(*watchers), Load([alice, bob] * 2, [channel], rate=RATE) as load:
            await load.run(2)
            assert "not valid yet" in await refusal(behind, issue("alice", ahead))
            assert await refusal(ahead, issue("alice", behind, ttl=SKEW_SECONDS // 2)) == "Token expired"
            await load.stop()
            await judge(database, watchers, seconds=BOUND)
            await load.judge(database)
        # Times of events are those of the database.
        assert all(abs(lag) < BOUND for watcher in watchers for lag in watcher.lags())
        assert same_frames(*watchers) >= len(load.sent) > RATE
        assert [(watcher.closes, watcher.sockets) for watcher in watchers] == [([], 1)] * len(watchers)
    await database.dispose()
