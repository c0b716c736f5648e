"""./smw notify: sends alerts by the routes in SMW_NOTIFY_ROUTES, until Ctrl-C."""

from __future__ import annotations

import argparse

from notify import service, trial
from smartmeter import logs
from smartmeter.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw notify."""
    parser.add_argument("--test", action="store_true", help="send one test message by each route, show which failed, and end")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Deliver alerts until Ctrl-C; with --test, send one message by each route. Raises UserError. Returns 1 if a test message failed."""
    if not args.test:
        logs.configure("notify")
        service.serve(settings, service.on_signals)
        return 0
    worked = True
    for name, fault in trial.each(service.routes_of(settings)):
        print(f"{name}: {'failed: ' + fault if fault else 'sent'}", flush=True)
        worked &= fault is None
    return 0 if worked else 1
