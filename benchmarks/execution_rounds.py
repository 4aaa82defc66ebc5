"""One case of benchmarks/execution: the answers compared, then the rounds, in which the servers take turns."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO, Any, TypeAlias, cast

from execution_cases import PARLEY, PEERS, Case
from execution_servers import Contestant
from fanout_servers import Failed, Server, note

Round: TypeAlias = dict[str, float]
Rounds: TypeAlias = dict[str, list[Round]]  # by server

CONNECTIONS = 16
WARM_UP_SECONDS, PEERS_WARM_UP_SECONDS = 0.7, 3.0  # V8 compiles what has been hot for a while
RETRY = "the answers are compared"  # a client key: with the same one a mutation is answered alike


class Load:
    """The process that makes the load."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._runs = cast("IO[str]", process.stdin)
        self._answers = cast("IO[str]", process.stdout)

    def run(self, contestant: Contestant, bodies: Sequence[str], seconds: float) -> dict[str, Any]:
        command = {**contestant.target, "bodies": bodies, "seconds": seconds, "connections": CONNECTIONS}
        self._runs.write(json.dumps(command) + "\n")
        self._runs.flush()
        line = self._answers.readline()
        if not line:
            raise Failed("The load has ended.")
        found: dict[str, Any] = json.loads(line)
        if found["wrong"]:
            raise Failed(f"{contestant.name} answered wrongly: {found['wrong']}")
        return found


class Rules:
    """How long, how often, on how many messages."""

    def __init__(self, *, rounds: int, seconds: float, messages: int) -> None:
        self.rounds, self.seconds, self.messages = rounds, seconds, messages


def measure(case: Case, contestants: Sequence[Contestant], postgres: Server, load: Load, rules: Rules) -> Rounds:
    note(f"{case.name}: {', '.join(each.name for each in contestants)}")
    compare(case, contestants, rules.messages)
    bodies = {each.name: each.bodies(case, rules.messages) for each in contestants}
    for each in contestants:
        load.run(each, bodies[each.name], PEERS_WARM_UP_SECONDS if each.name in PEERS else WARM_UP_SECONDS)
    found: Rounds = {each.name: [] for each in contestants}
    for _ in range(rules.rounds):
        for each in contestants:
            before, before_postgres = each.cpu(), postgres.cpu()
            run = load.run(each, bodies[each.name], rules.seconds)
            used, used_postgres = each.cpu() - before, since(before_postgres, postgres.cpu())
            found[each.name].append(
                {
                    "per_s": run["requests"] / run["seconds"],
                    "cpu_ms": used / run["requests"] * 1e3,
                    "postgres_ms": used_postgres / run["requests"] * 1e3,
                    **{key: run[key] for key in ("p50_ms", "p99_ms", "bytes", "load_cpu")},
                }
            )
    return found


def since(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Of those that still run: clients close connections that are idle, and the processes behind them end."""
    return sum(seconds - before.get(process, 0.0) for process, seconds in after.items())


def compare(case: Case, contestants: Sequence[Contestant], messages: int) -> None:
    """Raises Failed if an answer is not what was meant, or those of Parley differ in a byte."""
    answers = {}
    for each in contestants:
        body = json.loads(each.bodies(case, messages)[0])
        if "key" in body["variables"]:
            body["variables"]["key"] = RETRY
            each.ask(json.dumps(body))  # so that what follows is a retry, for each
        answers[each.name] = each.ask(json.dumps(body))
        answer = json.loads(answers[each.name])
        if answer.get("errors") or longest(answer) != case.rows or None in (answer.get("data") or {"": None}).values():
            raise Failed(f"{each.name} answers {case.name} wrongly: {answers[each.name][:500]!r}")
    if len({answers[name] for name in PARLEY if name in answers}) > 1:
        raise Failed(f"The answers to {case.name} differ: {[answers[name][:500] for name in PARLEY]}")


def longest(value: Any) -> int:
    """The length of the longest list inside."""
    if isinstance(value, dict):
        return max(map(longest, value.values()), default=0)
    if isinstance(value, list):
        return max([len(value), *map(longest, value)])
    return 0
