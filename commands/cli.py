"""The command line: ./smw COMMAND. An error that the user can correct is printed as one sentence on standard error."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from keyword import iskeyword

from smartmeter import __version__, reports
from smartmeter.errors import INTERRUPTED, UserError
from smartmeter.folders import private_home
from smartmeter.messages.schemas import CodecError
from smartmeter.settings import INSTALLED, Settings
from smartmeter.variables import SettingsError
from stack.processes import STOP_SIGNALS

Run = Callable[[argparse.Namespace, Settings], int]
"""Carries out a command. Returns its exit code."""
OF_WHAT_RUNS = ("archive", "replay", "savepoint", "status")
"""Commands that use the folder of the running stack or demo."""
COMMANDS = {
    "demo": "start everything, produce some days of some houses, show the results",
    "stack": "start Kafka, ClickHouse, the sink and the pipeline, and run them until Ctrl-C",
    "generate": "produce readings, synthetic or from a data set",
    "import": "send the readings in files: CSV, Parquet and the formats of data sets and utilities",
    "replay": "process past days again, from Kafka or an archive",
    "archive": "copy days of readings from Kafka into Avro files, and check the files",
    "status": "show what runs, its lags, and its newest results",
    "savepoint": "save the state of a running job, to start a job from it later",
    "submit": "start a job on a Flink cluster of your own",
    "dashboard": "show the results in a browser, until Ctrl-C",
    "gateway": "receive the readings of meters by MQTT and HTTP, until Ctrl-C",
    "notify": "send alerts by mail, webhook, MQTT and more, until Ctrl-C",
    "sql": "query the results",
    "topics": "create the topics in the Kafka cluster, and correct the configuration of existing ones",
    "setup": "fetch the jars and compile the loops, which other commands do on first use",
}
CHECKOUT_ONLY = {  # the script ./smw itself runs these two
    "test": "run the tests; takes pytest's arguments",
    "bench": "measure speed, against other engines and the targets; ./smw bench --help lists the benchmarks",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 for success, 1 for an error, 2 for wrong arguments, 130 for Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    return carry_out(parser(argv[0] if argv else "").parse_args(argv))


def carry_out(args: argparse.Namespace) -> int:
    """Run a parsed command and return its exit code, as main does."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)  # all of them act like Ctrl-C
    try:
        settings = Settings.load()
        if settings.stack.home.is_dir():
            with suppress(OSError):  # it belongs to another user
                private_home(settings.stack.home)
        return int(args.run(args, settings))
    except (UserError, SettingsError, CodecError, ConnectionError) as error:
        return reports.fail("smw", str(error))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED


def parser(chosen: str) -> argparse.ArgumentParser:
    """The parser of all commands. Only the chosen one has its arguments, as to import all commands takes a second."""
    parser = argparse.ArgumentParser(
        prog="smw",
        description="Smart Meter Watchdog",
        allow_abbrev=False,
        epilog="Settings are environment variables; smartmeter/settings.py lists them.",
    )
    parser.add_argument("--version", action="version", version=f"smw {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, help_text in (COMMANDS | ({} if INSTALLED else CHECKOUT_ONLY)).items():
        command = commands.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.", allow_abbrev=False)
        if name == chosen and name in COMMANDS:
            add_command(command, name)
    return parser


def add_command(parser: argparse.ArgumentParser, name: str) -> None:
    """Give a parser the arguments of a command, and what carries it out."""
    module = import_module(f"commands.{name}_" if iskeyword(name) else f"commands.{name}")
    if hasattr(module, "add_arguments"):
        module.add_arguments(parser)
    parser.set_defaults(run=of_what_runs(module.run) if name in OF_WHAT_RUNS else module.run)


def of_what_runs(run: Run) -> Run:
    """The command with the settings of the stack or the demo that runs."""
    from stack import lifecycle  # it takes a fifth of a second to load

    return lambda args, settings: run(args, lifecycle.of_what_runs(settings))
