"""./smw savepoint: saves the state of running jobs, to start a job from it later."""

from __future__ import annotations

import argparse

from smartmeter.errors import UserError
from smartmeter.kafka.consumers import JOBS
from smartmeter.settings import Settings
from smartmeter.state_folders import address, folder_at, savepoints_of
from stack.flink import Flink
from stack.savepoints import require_shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw savepoint."""
    parser.add_argument(
        "folder",
        nargs="?",
        help="folder or address for the savepoint (default: one in SMW_CHECKPOINT_DIR or SMW_HOME, where the job finds it by itself)",
    )
    parser.add_argument("--stop", action="store_true", help="also stop the job")
    parser.add_argument("--job", choices=JOBS, help="only this job (default: all that run)")
    parser.add_argument(
        "--jobmanager",
        metavar="HOST:PORT",
        help="REST address of a Flink cluster's JobManager (default: the local Flink, at SMW_FLINK_UI_PORT)",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Take a savepoint of each running job, and print its location. Raises UserError."""
    if args.jobmanager and not args.folder:
        require_shared(settings)
    flink = Flink(args.jobmanager or f"127.0.0.1:{settings.flink.ui_port}")
    jobs = {job_id: name for job_id, name in flink.jobs().items() if args.job in (None, name)}
    if not jobs:
        raise UserError(f"no job {args.job or ''} runs in the Flink at {flink.url}".replace("  ", " "))
    for job_id, name in jobs.items():
        place = flink.savepoint(job_id, address(args.folder) if args.folder else savepoints_of(settings, name), args.stop)
        print(folder_at(place) or place)
    return 0
