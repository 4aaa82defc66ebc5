"""One event to many sockets, for benchmarks/execution: with the audience of benchmarks/fanout."""

from collections.abc import Sequence
from pathlib import Path

from execution_cases import EVENTS, SUBSCRIBERS, SUBSCRIPTION
from execution_rounds import Rounds, Rules
from execution_servers import Contestant
from fanout_servers import PARLEY_MUTATION, PYTHON, Failed, Load, Server, child, note

# Slow enough that each event is delivered by itself: of a server that is behind, several leave in one write, which is
# cheaper, so that whoever executes slower would look better.
EVENTS_PER_SECOND = 40


def measure_events(contestants: Sequence[Contestant], folder: Path, rules: Rules) -> Rounds:
    """Messages at a steady pace, until everybody has all of them."""
    note(f"{EVENTS}: {SUBSCRIBERS} sockets each at {', '.join(each.name for each in contestants)}")
    program = str(Path(__file__).with_name("fanout_load.py"))
    found: Rounds = {each.name: [] for each in contestants}
    with child("sockets", folder, PYTHON, program) as process:
        load = Load(process)
        servers = []
        for place, each in enumerate(contestants):
            server = Server(each.name, process)
            server.pid = each.server.pid
            # A channel each: the others' messages are not for these sockets.
            server.target = {
                "port": each.target["port"],
                "subscription": SUBSCRIPTION,
                "mutation": PARLEY_MUTATION,
                "channel": each.id("Channel", 10 + place),
                "tokens": [each.target["token"]],
            }
            load.connect(server, SUBSCRIBERS)
            load.ask("burst", server, publishers=1, messages=5)
            servers.append(server)
        for _ in range(rules.rounds):
            for server in servers:
                before = server.cpu()[server.pid]
                run = load.ask("pace", server, rate=EVENTS_PER_SECOND, seconds=rules.seconds)
                used = server.cpu()[server.pid] - before
                if run["wrong"] or run["refused"]:
                    why = run["wrong"] or f"it refused {run['refused']}"
                    raise Failed(f"{server.name} did not deliver every message once: {why}.")
                found[server.name].append(
                    {
                        "cpu_ms": used / run["deliveries"] * SUBSCRIBERS * 1e3,
                        "delivery_us": used / run["deliveries"] * 1e6,
                        **{key: run[key] for key in ("delay_p50_ms", "delay_p99_ms", "load_cpu")},
                    }
                )
    return found
