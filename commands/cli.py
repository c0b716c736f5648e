"""The command line: ./smw COMMAND. An error that the user can correct is printed as one sentence on standard error."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress

from commands import archive, dashboard, demo, generate, notify, replay, savepoint, setup, sql, stack, status, submit, topics
from smartmeter import __version__, reports
from smartmeter.errors import INTERRUPTED, UserError
from smartmeter.folders import private_home
from smartmeter.messages.schemas import CodecError
from smartmeter.settings import INSTALLED, Settings
from smartmeter.variables import SettingsError
from stack import lifecycle
from stack.processes import STOP_SIGNALS

OF_WHAT_RUNS = (archive.run, replay.run, savepoint.run, status.run)
"""Commands that use the folder of the running stack or demo."""
COMMANDS = (
    ("demo", demo, "start everything, produce some days of some houses, show the results"),
    ("stack", stack, "start Kafka, ClickHouse, the sink and the pipeline, and run them until Ctrl-C"),
    ("generate", generate, "produce readings, synthetic or from a data set"),
    ("replay", replay, "process past days again, from Kafka or an archive"),
    ("archive", archive, "copy days of readings from Kafka into Avro files, and check the files"),
    ("status", status, "show what runs, its lags, and its newest results"),
    ("savepoint", savepoint, "save the state of a running job, to start a job from it later"),
    ("submit", submit, "start a job on a Flink cluster of your own"),
    ("dashboard", dashboard, "show the results in a browser, until Ctrl-C"),
    ("notify", notify, "send alerts by mail, webhook, MQTT and more, until Ctrl-C"),
    ("sql", sql, "query the results"),
    ("topics", topics, "create the topics in the Kafka cluster, and correct the configuration of existing ones"),
    ("setup", setup, "fetch the jars and compile the loops, which other commands do on first use"),
)
CHECKOUT_ONLY = (  # the script ./smw itself runs these two
    ("test", None, "run the tests; takes pytest's arguments"),
    ("bench", None, "measure speed, against other engines and the targets; ./smw bench --help lists the benchmarks"),
)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 for success, 1 for an error, 2 for wrong arguments, 130 for Ctrl-C."""
    return carry_out(parser().parse_args(argv))


def carry_out(args: argparse.Namespace) -> int:
    """Run a parsed command and return its exit code, as main does."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)  # all of them act like Ctrl-C
    try:
        settings = Settings.load()
        if settings.stack.home.is_dir():
            with suppress(OSError):  # it belongs to another user
                private_home(settings.stack.home)
        return int(args.run(args, lifecycle.of_what_runs(settings) if args.run in OF_WHAT_RUNS else settings))
    except (UserError, SettingsError, CodecError, ConnectionError) as error:
        return reports.fail("smw", str(error))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="smw",
        description="Smart Meter Watchdog",
        allow_abbrev=False,
        epilog="Settings are environment variables; smartmeter/settings.py lists them.",
    )
    parser.add_argument("--version", action="version", version=f"smw {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module, help_text in (*COMMANDS, *(() if INSTALLED else CHECKOUT_ONLY)):
        command = commands.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.", allow_abbrev=False)
        if module:
            command.set_defaults(run=module.run)
            if hasattr(module, "add_arguments"):
                module.add_arguments(command)
    return parser
