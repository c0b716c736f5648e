"""Arguments that several commands take."""

from __future__ import annotations

import argparse


def add_from_savepoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from-savepoint", metavar="PLACE", help="start the job from this savepoint, a folder or an address "
                        "(default: from its newest checkpoint or savepoint, where they are in a folder of this machine)")
