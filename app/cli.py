"""The command `parley`. What a command needs is imported when it runs, so that `parley token` answers at once."""

import os
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import getdoc
from typing import NoReturn

from app import __version__
from app.errors import AppError
from app.settings import StartError, load_settings

DAY = 86_400  # seconds
MOST_WORKERS = 100

DESCRIPTION = "Parley: a self-hosted, Slack-like chat backend whose only API is GraphQL."
SETTINGS = """
settings:
  are read from the environment and from the file .env; docs/configuration.md lists all of them.
  DB_URL           use this PostgreSQL; unset: an embedded one in the data folder
  PARLEY_DATA_DIR  the data folder (default: .parley in the working folder)
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 done, 1 failed with a line on stderr, 2 wrong usage, 130 interrupted."""
    options = _parser().parse_args(arguments)
    # A stop while something starts unwinds like Ctrl-C, so that a database that runs already is stopped too.
    for stop in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(stop) != signal.SIG_IGN:  # as nohup leaves SIGHUP
            signal.signal(stop, signal.default_int_handler)
    try:
        options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever reads our output has enough of it; the interpreter's last flush must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (StartError, AppError) as error:
        for line in str(error).splitlines():
            print(f"parley: {line}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="parley", description=DESCRIPTION, epilog=SETTINGS, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"parley {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[Namespace], None], summary: str) -> ArgumentParser:
        command = commands.add_parser(
            name, help=summary, description=getdoc(run), epilog=SETTINGS, formatter_class=RawDescriptionHelpFormatter
        )
        command.set_defaults(run=run)
        return command

    serve = add("serve", _serve, "start the server, and the embedded database with it")
    serve.add_argument("--no-migrate", action="store_true", help="leave the schema of the database as it is")
    serve.add_argument(
        "--workers",
        type=_count,
        default=1,
        metavar="N",
        help=f"serve in N processes, 1 to {MOST_WORKERS} (default: %(default)s); several need REDIS_URL",
    )
    add("migrate", _migrate, "bring the database to the current schema")
    token = add("token", _token, "print an access token of the local issuer")
    token.add_argument("name", metavar="NAME", help="who the token is for")
    token.add_argument("--admin", action="store_true", help="with the permission workspace:admin")
    token.add_argument(
        "--ttl", type=int, default=DAY, metavar="SECONDS", help="how long it is in force (default: %(default)s, a day)"
    )
    add("seed", _seed, "write the demo workspace")
    add("schema", _schema, "print the GraphQL schema")
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise ArgumentTypeError(f"'{text}' is not a whole number from 1 to {MOST_WORKERS}")
    return int(text)


def _serve(options: Namespace) -> None:
    """Start the server: start the embedded database (unless DB_URL is set), bring the database to the
    current schema, and serve GraphQL on HOST (127.0.0.1) and PORT (8000) until Ctrl-C or SIGTERM.
    The first start with the embedded database writes a demo workspace with alice, bob and carol.

    With --workers N as many processes share the port, for machines with several processors. Redis
    (REDIS_URL) carries events between them. A process that dies is replaced; all stop together.

    Examples:
      parley serve
      REDIS_URL=redis://127.0.0.1:6379/0 parley serve --workers 4
      PORT=9000 PARLEY_DATA_DIR=/srv/parley parley serve
      DB_URL=postgresql://parley:secret@db.example.org/parley parley serve --no-migrate
    """
    settings = load_settings()
    if settings.auth0_domain is None and not settings.loopback:
        advice = "Set AUTH0_DOMAIN and AUTH0_API_IDENTIFIER, or leave HOST at 127.0.0.1."
        raise StartError(
            f"HOST is '{settings.host}', but the local issuer of tokens is for this machine only. {advice}"
        )
    if options.workers > 1 and settings.redis_url is None:
        advice = "Set it to the URL of a Redis, or leave --workers away."
        raise StartError(f"Several workers need REDIS_URL: Redis carries events from one to the others. {advice}")
    from app.manifest import read_manifest

    manifest, served = None, None
    if settings.persisted_documents is not None:
        # What is wrong with it is said before anything starts, and once for all workers.
        manifest = read_manifest(settings.persisted_documents)
        from schema.persisted.served import served_schema

        served = served_schema(settings, manifest)
    from app.server import listen, serve, welcome

    with listen(settings) as listener:
        settings = replace(settings, port=listener.getsockname()[1])  # with PORT=0, whatever was free
        from app.open_database import open_database, prepare

        with open_database(settings, report=_say, servers=options.workers) as database:
            if not options.no_migrate:
                prepare(database.url, demo=database.embedded)

            def announce() -> None:
                _say(welcome(settings, listener))

            if options.workers == 1:
                from app.main import create_app

                app = create_app(settings, database.url, served=served)
                serve(app, settings, listener, alive=database.alive, announce=announce)
            else:
                from app.workers import serve_in_workers

                serve_in_workers(
                    options.workers,
                    settings,
                    manifest,
                    database.url,
                    listener,
                    alive=database.alive,
                    announce=announce,
                )
            if not database.alive():
                raise StartError("The embedded database has ended by itself. Start Parley again; the data are safe.")


def _migrate(_: Namespace) -> None:
    """Bring the database to the current schema. Safe while servers run and from several places at once:
    they take turns, and what is done already is left alone.

    Examples:
      parley migrate
      DB_URL=postgresql://parley:secret@db.example.org/parley parley migrate
    """
    settings = load_settings()
    from app.open_database import open_database, prepare

    with open_database(settings, report=_say, shared=True) as database:
        prepare(database.url)
    _say("The database has the current schema.")


def _seed(_: Namespace) -> None:
    """Write the demo workspace: alice, bob and carol, four channels, messages with a reply chain and
    reactions. Migrates first. Writes nothing when there are users already.

    Examples:
      parley seed
      DB_URL=postgresql://parley:secret@localhost/scratch parley seed
    """
    settings = load_settings()
    from app.open_database import open_database, prepare

    with open_database(settings, report=_say, shared=True) as database:
        written = prepare(database.url, demo=True)
    _say("The demo workspace is written." if written else "There are users already: nothing is written.")


def _token(options: Namespace) -> None:
    """Print an access token of the local issuer, and nothing else. Any name makes a user at the first
    request with it. With AUTH0_DOMAIN set there is no local issuer: that one issues the tokens.

    Examples:
      parley token alice
      parley token root --admin --ttl 3600
      curl -H "authorization: Bearer $(parley token alice)" ...
    """
    settings = load_settings()
    if settings.auth0_domain is not None:
        raise StartError(f"Tokens come from https://{settings.auth0_domain}/ while AUTH0_DOMAIN is set.")
    from app.auth.local import LocalIssuer

    print(LocalIssuer(settings.data_dir).issue(options.name, admin=options.admin, ttl=options.ttl))


def _schema(_: Namespace) -> None:
    """Print the GraphQL schema (SDL). Needs no database and no settings.

    Examples:
      parley schema > schema.graphql
    """
    from schema.root import schema

    print(schema.as_str())


def _say(line: str) -> None:
    print(line, flush=True)
