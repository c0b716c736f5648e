"""Where a job's state is kept, and ./smw savepoint: its state at this moment, to start a job from later.

State has an address, as Flink takes it: file:///a/folder, or that of any storage that Flink has a file system for.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from smartmeter.errors import UserError
from smartmeter.flink import JOBS, Flink
from smartmeter.settings import SMW, Settings

METADATA = "_metadata"
"""The file that makes a checkpoint or savepoint complete: Flink writes it last."""


def checkpoints_of(settings: Settings, job: str) -> str:
    """The address of a job's checkpoints: one for each set of topics and kind of state, as neither can read the other's."""
    root = settings.checkpoint_dir or str(settings.home / "checkpoints")
    return f"{address(root)}/{settings.topic_prefix}{job}/{settings.state_backend}"


def savepoints_of(settings: Settings, job: str) -> str:
    """The address of a job's savepoints."""
    return f"{address(settings.checkpoint_dir or str(settings.home))}/savepoints/{settings.topic_prefix}{job}"


def address(place: str) -> str:
    """The address of a folder; one that is an address already as it is."""
    is_address = "://" in place or place.startswith("file:")
    return (place if is_address else f"file://{Path(place).resolve()}").rstrip("/")  # Flink takes no %20


def folder_at(place: str) -> Path | None:
    """The folder of an address or path; None for one that is no file's."""
    parts = urlsplit(address(place))
    return Path(parts.path) if parts.scheme == "file" else None


def newest_state(settings: Settings, job: str) -> str | None:
    """The address of a job's newest complete checkpoint or savepoint; None when there is none.

    Those that are kept elsewhere than in a folder are not looked for.
    """
    complete: list[Path] = []
    for place, pattern in ((savepoints_of(settings, job), "*"), (checkpoints_of(settings, job), "*/chk-*")):
        if folder := folder_at(place):
            complete += folder.glob(f"{pattern}/{METADATA}")
    newest = max(complete, key=lambda path: path.stat().st_mtime_ns, default=None)
    return address(str(newest.parent)) if newest else None


def require_savepoint(place: str) -> str:
    """The address of a savepoint. Raises UserError when it is of a folder with none."""
    folder = folder_at(place)
    if folder and not (folder / METADATA).is_file():
        raise UserError(f"{folder} is no savepoint: it has no file {METADATA}; {SMW} savepoint prints where it puts one")
    return address(place)


def state_to_start_from(settings: Settings, job: str, savepoint: str | None) -> str | None:
    """The address of the savepoint, else of the job's newest state; None when there is none. Raises UserError."""
    return require_savepoint(savepoint) if savepoint else newest_state(settings, job)


def restore_options(state: str | None) -> list[str]:
    """The options of flink run with which a job goes on from its state."""
    if not state:
        return []
    is_checkpoint = state.rsplit("/", 1)[-1].startswith("chk-")
    return ["--fromSavepoint", state, *["--claimMode", "claim"] * is_checkpoint]  # claimed: deleted once newer ones are there


def require_shared(settings: Settings) -> None:
    """Raise UserError when state is to be kept in a folder that the nodes of a cluster do not know of."""
    if not settings.checkpoint_dir:
        raise UserError("SMW_CHECKPOINT_DIR is not set: let it name a folder that all nodes of the cluster reach, or an address such as s3://...")


def add_from_savepoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from-savepoint", metavar="PLACE", help="start the job from this savepoint, a folder or an address "
                        "(default: from its newest checkpoint or savepoint, where they are in a folder of this machine)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw savepoint."""
    parser.add_argument("folder", nargs="?", help="folder or address to put it in (default: one in SMW_CHECKPOINT_DIR or SMW_HOME, "
                        "where the job finds it by itself)")
    parser.add_argument("--stop", action="store_true", help="stop the job with it")
    parser.add_argument("--job", choices=JOBS, help="this job alone (default: each that runs)")
    parser.add_argument("--jobmanager", metavar="HOST:PORT", help="where a Flink cluster's JobManager answers REST "
                        "(default: the local Flink, at SMW_FLINK_UI_PORT)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Take a savepoint of each job that runs, and print where it is. Raises UserError."""
    if args.jobmanager and not args.folder:
        require_shared(settings)
    flink = Flink(args.jobmanager or f"127.0.0.1:{settings.flink_ui_port}")
    jobs = {job_id: name for job_id, name in flink.jobs().items() if args.job in (None, name)}
    if not jobs:
        raise UserError(f"no job {args.job or ''} runs in the Flink at {flink.url}".replace("  ", " "))
    for job_id, name in jobs.items():
        place = flink.savepoint(job_id, address(args.folder) if args.folder else savepoints_of(settings, name), args.stop)
        print(folder_at(place) or place)
    return 0
