"""./smw setup: prepares the machine, which other commands otherwise do on first use."""

from __future__ import annotations

import argparse

from smartmeter.settings import Settings
from stack.machine import set_up


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do now what the commands that start Kafka or Flink do first. Raises UserError."""
    set_up()
    return 0
