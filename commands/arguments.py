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


def add_installed(parser: argparse.ArgumentParser) -> None:
    """Add --installed, for commands that submit a job to a cluster."""
    parser.add_argument(
        "--installed", action="store_true", help="send neither code nor packages: the nodes have them, as in the project's image"
    )
