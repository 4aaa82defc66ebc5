"""Brings a database to the current schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config

ALEMBIC_INI = Path(__file__).parent.parent / "alembic.ini"


def migrate(url: str, revision: str = "head") -> None:
    """Run the migrations up (or down) to `revision`. Safe to call from several processes at once: they take turns."""
    config = Config(str(ALEMBIC_INI))
    config.set_main_option("script_location", str(ALEMBIC_INI.parent / "migrations"))
    config.attributes["url"] = url
    if revision == "base" or revision.startswith("-"):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)
