"""./smw dashboard: the results in a browser, until Ctrl-C."""

from __future__ import annotations

import argparse
import time

from smartmeter.logs import Bound
from smartmeter.settings import Settings
from stack import services
from stack.processes import Processes


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the dashboard; the stack may be started before or after it. Raises UserError when the dashboard ends by itself."""
    with Processes(settings.stack.home.resolve() / "dashboard", Bound.of(settings)) as processes:
        services.start_dashboard(processes, settings)
        print(f"Dashboard: {services.dashboard_url(settings)}\nCtrl-C stops it.")
        while True:
            processes.check()
            time.sleep(1)
