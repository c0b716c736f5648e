"""Where a job's state is kept on disk, and ./smw savepoint: its state at this moment, to start a job from later."""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from smartmeter.errors import UserError
from smartmeter.flink import Flink
from smartmeter.settings import SMW, Settings

METADATA = "_metadata"
"""The file that makes a checkpoint or savepoint complete: Flink writes it last."""


def checkpoints_of(settings: Settings, job: str) -> str:
    """The address of a job's checkpoints: one for each set of topics and kind of state, as neither can read the other's."""
    root = settings.checkpoint_dir or str(settings.home.resolve() / "checkpoints")
    root = root if "://" in root or root.startswith("file:") else f"file://{Path(root).resolve()}"  # Flink takes no %20
    return f"{root.rstrip('/')}/{settings.topic_prefix}{job}/{settings.state_backend}"


def savepoints_of(settings: Settings, job: str) -> Path:
    """The folder of a job's savepoints."""
    return settings.home.resolve() / "savepoints" / f"{settings.topic_prefix}{job}"


def newest_state(settings: Settings, job: str) -> Path | None:
    """A job's newest complete checkpoint or savepoint; None when there is none.

    Checkpoints that are kept elsewhere than in a folder are not looked for.
    """
    complete = list(savepoints_of(settings, job).glob(f"*/{METADATA}"))
    address = urlsplit(checkpoints_of(settings, job))
    if address.scheme == "file":
        complete += Path(address.path).glob(f"*/chk-*/{METADATA}")
    newest = max(complete, key=lambda path: path.stat().st_mtime_ns, default=None)
    return newest and newest.parent


def require_savepoint(path: Path) -> Path:
    """The path as it is. Raises UserError when no savepoint lies there."""
    if not (path / METADATA).is_file():
        raise UserError(f"{path} is no savepoint: it has no file {METADATA}; {SMW} savepoint prints where it puts one")
    return path.resolve()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw savepoint."""
    parser.add_argument("folder", nargs="?", type=Path, help="folder to put it in (default: one in SMW_HOME, where "
                        f"{SMW} stack finds it by itself)")
    parser.add_argument("--stop", action="store_true", help="stop the job with it")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Take a savepoint of each job that runs in the local Flink, and print where it is. Raises UserError."""
    flink = Flink(f"127.0.0.1:{settings.flink_ui_port}")
    jobs = flink.running_jobs()
    if not jobs:
        raise UserError(f"no job runs in the Flink at {flink.url}")
    for job_id, name in jobs.items():
        print(flink.savepoint(job_id, args.folder.resolve() if args.folder else savepoints_of(settings, name), args.stop))
    return 0
