"""Arguments that several commands take."""

from __future__ import annotations

import argparse


def add_from_savepoint(parser: argparse.ArgumentParser) -> None:
    """Add --from-savepoint, for commands that start a job."""
    parser.add_argument(
        "--from-savepoint",
        metavar="PLACE",
        help="start the job from this savepoint, a folder or an address "
        "(default: its newest checkpoint or savepoint, if they are in a folder of this machine)",
    )
