"""The command line: ./smw COMMAND. What the user can mend is told in one sentence on standard error."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import suppress

from generator import commands as generator
from smartmeter import __version__, archive, demo, machine, replay, savepoints, stack, status, submit, topic_settings
from smartmeter.codec import CodecError
from smartmeter.errors import UserError
from smartmeter.folders import private_home
from smartmeter.logs import Bound
from smartmeter.processes import STOP_SIGNALS, Processes
from smartmeter.settings import INSTALLED, SMW, Settings, SettingsError
from smartmeter.terminal import printable
from store import sql

INTERRUPTED = 130
OF_WHAT_RUNS = (archive.run, replay.run, savepoints.run, status.run)
"""Commands that find what they need in the folder of the stack, or demo, that runs."""
CHECKOUT_ONLY = (  # the script ./smw itself runs these two
    ("test", "run the tests; takes pytest's arguments", None, None),
    ("bench", "measure speed, against other engines and the targets; ./smw bench --help tells of all benchmarks", None, None),
)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for what went wrong, 2 for wrong arguments, 130 for Ctrl-C."""
    return carry_out(parser().parse_args(argv))


def carry_out(args: argparse.Namespace) -> int:
    """Run the command that was asked for; returns as main does."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)  # all of them stop it as Ctrl-C does
    try:
        settings = Settings.load()
        if settings.home.is_dir():
            with suppress(OSError):  # it is another user's
                private_home(settings.home)
        return args.run(args, stack.of_what_runs(settings) if args.run in OF_WHAT_RUNS else settings)
    except (UserError, SettingsError, CodecError, ConnectionError) as error:
        print("smw:", printable(str(error), keep="\n"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="smw", description="Smart Meter Watchdog", allow_abbrev=False,
                                     epilog="Settings are environment variables; smartmeter/settings.py lists them.")
    parser.add_argument("--version", action="version", version=f"smw {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, help_text, add_arguments, run in (
        ("demo", "start everything, produce some days of some houses, show the results", demo.add_arguments, demo.run),
        ("stack", "start Kafka, ClickHouse, the sink and the pipeline, and keep them until Ctrl-C",
         add_arguments_stack, run_stack),
        ("generate", "produce readings, synthetic or from a data set", generator.add_arguments_generate, generator.generate),
        ("replay", "process past days once more, from what Kafka or an archive keeps", replay.add_arguments, replay.run),
        ("archive", "copy days of readings from Kafka into Avro files, and check these", archive.add_arguments, archive.run),
        ("status", "show what runs, how far it is, and what it has found last", status.add_arguments, status.run),
        ("savepoint", "keep the state of a running job, to start one from it later", savepoints.add_arguments, savepoints.run),
        ("submit", "start a job on a Flink cluster of your own", submit.add_arguments, submit.run),
        ("dashboard", "show the results in a browser, until Ctrl-C", None, run_dashboard),
        ("sql", "query the results", sql.add_arguments, sql.run),
        ("topics", "create the topics in the Kafka cluster, and mend the settings of those that are there", None, topic_settings.run),
        ("setup", "get ready what the others need: jars, and loops compiled", None, machine.run),
        *(() if INSTALLED else CHECKOUT_ONLY),
    ):
        command = commands.add_parser(name, help=help_text, description=help_text.capitalize() + ".", allow_abbrev=False)
        command.set_defaults(run=run)
        if add_arguments:
            add_arguments(command)
    return parser


def add_arguments_stack(parser: argparse.ArgumentParser) -> None:
    savepoints.add_from_savepoint(parser)


def run_stack(args: argparse.Namespace, settings: Settings) -> int:
    """Start the stack and keep it until Ctrl-C, or until its job is stopped with a savepoint.

    Raises UserError when one of its processes ends by itself.
    """
    if args.from_savepoint:
        savepoints.require_savepoint(args.from_savepoint)
    machine.set_up()
    with Processes(settings.home, Bound.of(settings)) as processes:
        stack.start(processes, settings, args.from_savepoint)
        print(stack.addresses(settings) + "\nCtrl-C stops it.")
        stack.stay(processes)
        print(f"The pipeline has been stopped with a savepoint; so ends the stack. The next {SMW} stack goes on from it.")
    return 0


def run_dashboard(args: argparse.Namespace, settings: Settings) -> int:
    """Run the dashboard on the results of a stack that runs, or will. Raises UserError when it ends by itself."""
    with Processes(settings.home.resolve() / "dashboard", Bound.of(settings)) as processes:
        stack.start_dashboard(processes, settings)
        print(f"Dashboard: {stack.dashboard_url(settings)}\nCtrl-C stops it.")
        while True:
            processes.check()
            time.sleep(1)
