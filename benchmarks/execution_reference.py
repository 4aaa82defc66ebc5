"""`parley serve` with the plans switched off: graphql-core answers everything. For benchmarks/execution."""

from typing import Any, NoReturn
from unittest.mock import patch

from app.cli import main
from schema.execution import execute
from schema.execution.group import Group
from schema.execution.leaves import Uncovered


def refuse(*_: Any) -> NoReturn:
    raise Uncovered("switched off")


if __name__ == "__main__":
    # `patch` refuses what is not there (any more).
    with patch.object(execute, "_by_plan", refuse), patch.object(Group, "_start", refuse):
        main(["serve"])
