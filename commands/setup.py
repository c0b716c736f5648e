"""./smw setup: what the other commands do first, ahead of them."""

from __future__ import annotations

import argparse

from smartmeter.settings import Settings
from stack.machine import set_up


def run(args: argparse.Namespace, settings: Settings) -> int:
    """smw setup: what the commands that start Kafka or Flink do first, ahead of them."""
    set_up()
    return 0
