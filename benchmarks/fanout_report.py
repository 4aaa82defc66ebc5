"""What benchmarks/fanout has found, as tables in Markdown or as JSON."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fanout_servers import PYTHON

VERSIONS = """
import platform; from importlib.metadata import version
names = "strawberry-graphql", "graphql-core", "uvicorn", "uvloop", "websockets", "broadcaster"
print(", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]))
"""
NAMES = ("Parley", "naive")
NOT_MEASURED = "-"


class Report:
    """Rows by what was measured. In a row the names of the servers lead to their numbers."""

    def __init__(self) -> None:
        self.bursts: list[dict[str, Any]] = []
        self.memory: list[dict[str, Any]] = []
        self.latency: list[dict[str, Any]] = []

    def as_json(self) -> str:
        found = {"machine": machine(), "bursts": self.bursts, "memory": self.memory, "latency": self.latency}
        return json.dumps(found, indent=2)

    def as_text(self) -> str:
        busiest = max(row["Parley"]["load_cpu"] for row in self.bursts)
        lines = [
            machine(),
            f"Every subscriber got every message once. The load took up to {busiest:.0%} of a core.",
            "",
        ]
        lines += table(
            ("subscribers", "publishers", "deliveries/s: Parley", "naive", "ratio", "mutation p50: Parley", "naive"),
            [
                (
                    f"{row['subscribers']:,}",
                    str(row["publishers"]),
                    *(shown(row, name, "deliveries_per_s", ",.0f") for name in NAMES),
                    shown(row, "ratio", "deliveries_per_s", ".1f"),
                    *(shown(row, name, "published_p50_ms", ",.1f ms") for name in NAMES),
                )
                for row in self.bursts
            ],
        )
        lines += table(
            ("subscribers", "publishers", "CPU per delivery: Parley", "with PostgreSQL", "naive", "ratio without"),
            [
                (
                    f"{row['subscribers']:,}",
                    str(row["publishers"]),
                    shown(row, "Parley", "cpu_us", ".1f us"),
                    shown(row, "Parley", "cpu_with_children_us", ".1f us"),
                    shown(row, "naive", "cpu_us", ".1f us"),
                    shown(row, "ratio", "cpu_us", ".1f"),
                )
                for row in self.bursts
            ],
        )
        lines += table(
            (
                "subscribers",
                "messages/s",
                *(f"{what}: {name}" for what in ("p50", "p99", "mutation p50") for name in NAMES),
            ),
            [
                (
                    f"{row['subscribers']:,}",
                    str(row["messages_per_s"]),
                    *(
                        shown(row, name, key, ",.1f ms")
                        for key in ("delay_p50_ms", "delay_p99_ms", "published_p50_ms")
                        for name in NAMES
                    ),
                )
                for row in self.latency
            ],
        )
        lines += table(
            ("idle sockets", "KiB each: Parley", "naive"),
            [
                (f"{row['subscribers']:,}", *(shown(row, name, "kib_per_socket", ".1f") for name in NAMES))
                for row in sorted(self.memory, key=lambda row: row["subscribers"])
            ],
        )
        lines += [
            f"{name} could not keep up with {row['messages_per_s']} messages/s, and refused {row[name]['refused']:.0f}."
            for row in self.latency
            for name in NAMES
            if row[name]["refused"]
        ]
        return "\n".join(lines).rstrip()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of numbers, aligned also where Markdown is read as it is."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [" | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    lines.insert(1, " | ".join("-" * (width - 1) + ":" for width in widths))
    return [*(f"| {line} |" for line in lines), ""]


def shown(row: dict[str, Any], name: str, key: str, form: str) -> str:
    """`form` is how to write the number, and perhaps its unit."""
    number, _, unit = form.partition(" ")
    if name not in row:
        return NOT_MEASURED
    return f"{row[name][key]:{number}} {unit}".rstrip()


def machine() -> str:
    """What the numbers were measured on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    versions = subprocess.run([PYTHON, "-c", VERSIONS], check=True, capture_output=True, text=True).stdout.strip()
    return f"{os.cpu_count()} cores ({models[0] if models else platform.machine()}), {platform.system()}, {versions}."
