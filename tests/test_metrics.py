"""Counters: on a port of their own, of this machine alone."""

import re
import time
from pathlib import Path

import httpx
import pytest

from tests.processes import parley, refusal, serving
from tests.redis_server import RedisServer, free_port

INTROSPECTION = "{ __schema { queryType { name } } }"


def counters(port: int) -> dict[str, float]:
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    lines = re.findall(r"^(parley_\S+(?:\{.*\})?) (\S+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_they_tell_how_often_a_plan_answered(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, METRICS_PORT=str(port)) as server:
        before = counters(port)
        for query in ("{ viewer { user { name } } }", "{ viewer { user { name } } }", INTROSPECTION):
            assert "errors" not in server.ask(query, "dora")
        after = counters(port)
        plans, fallbacks = 'parley_executions_total{by="plan"}', 'parley_executions_total{by="introspection"}'
        assert after[plans] - before.get(plans, 0) == 2
        assert after[fallbacks] - before.get(fallbacks, 0) == 1
        assert after["parley_connections"] == 0
        deadline = time.monotonic() + 10
        while counters(port)["parley_events_applied_total"] < 1:  # of the new user; the broker takes a moment
            assert time.monotonic() < deadline
        # Clients see nothing of it.
        assert httpx.get(f"{server.url}/metrics", trust_env=False).status_code == 404


def test_each_worker_has_a_port(tmp_path: Path) -> None:
    port = free_port()
    with (
        RedisServer() as redis,
        serving(tmp_path, "--workers", "2", REDIS_URL=redis.url, METRICS_PORT=str(port)) as server,
    ):
        assert "errors" not in server.ask("{ viewer { user { name } } }")
        found = [counters(each) for each in (port, port + 1)]
        assert sum(each.get('parley_executions_total{by="plan"}', 0) for each in found) == 1


def test_a_taken_port_is_told_at_the_start(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "one", METRICS_PORT=str(port)):
        done = parley(tmp_path / "other", "serve", METRICS_PORT=str(port))
    assert done.returncode == 1
    advice = "Set METRICS_PORT to a free one, or leave it away."
    assert done.stderr == f"parley: Cannot serve metrics on port {port}: Address already in use. {advice}\n"


@pytest.mark.parametrize("port", ["0", "65536", "many"])
def test_a_port_is_a_number(tmp_path: Path, port: str) -> None:
    told = refusal(tmp_path, "serve", METRICS_PORT=port)
    assert told == f"METRICS_PORT is '{port}', but must be a whole number from 1 to 65535."
