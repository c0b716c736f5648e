"""./smw stack: runs everything except the dashboard, until Ctrl-C."""

from __future__ import annotations

import argparse

from commands.arguments import add_from_savepoint
from smartmeter.logs import Bound
from smartmeter.settings import SMW, Settings
from stack import lifecycle, machine, savepoints
from stack.processes import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw stack."""
    add_from_savepoint(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Start the stack and run it until Ctrl-C, or until its job is stopped with a savepoint.

    Raises UserError when one of its processes ends by itself.
    """
    if args.from_savepoint:
        savepoints.require_savepoint(args.from_savepoint)
    machine.set_up()
    with Processes(settings.stack.home, Bound.of(settings)) as processes:
        lifecycle.start(processes, settings, args.from_savepoint)
        print(lifecycle.addresses(settings) + "\nCtrl-C stops it.")
        lifecycle.stay(processes, settings)
        print(f"The pipeline has been stopped with a savepoint, which ends the stack. The next {SMW} stack continues from it.")
    return 0
