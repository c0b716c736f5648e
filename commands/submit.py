"""./smw submit: submits a job to a Flink cluster, with its code and the Python packages that it needs.

On the nodes, the code is unpacked on PYTHONPATH, and the packages are a virtual environment for the nodes' own Python.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from commands.arguments import add_from_savepoint, add_installed
from smartmeter.errors import UserError
from smartmeter.folders import private_folder
from smartmeter.kafka.consumers import JOBS
from smartmeter.messages.framing import framing
from smartmeter.run import LIVE, Run
from smartmeter.settings import ROOT, SMW, Settings
from stack import machine, savepoints
from stack.flink import POLL_S, Flink, Standstill, reason
from stack.local_flink import FLINK, flink_environ
from stack.packages import packed

PATIENCE_S = 600
STAY_POLL_S = 5
SUBMITTED = r"submitted with JobID (\w+)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw submit."""
    parser.add_argument("job", choices=JOBS, help="pipeline: all the others in one")
    parser.add_argument("--jobmanager", metavar="HOST:PORT", required=True, help="REST address of the cluster's JobManager")
    add_from_savepoint(parser)
    add_installed(parser)
    parser.add_argument(
        "--stay",
        action="store_true",
        help="stay until the job ends, or watch one that is already running; for a supervisor that calls this again when it fails",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Submit a job. Returns once all of its tasks run, or with --stay once it ends. Raises UserError."""
    flink = Flink(args.jobmanager)
    running = [job_id for job_id, name in flink.jobs().items() if name == args.job] if args.stay else []
    job_id = running[0] if running else start_newest(flink, args, settings)
    print(f"{args.job} runs: {flink.url}/#/job/running/{job_id}", flush=True)
    while args.stay and stands_still(flink, job_id, settings):
        print(f"{args.job} has stood still for {settings.flink.standstill_s:.0f} s: it is started again.", file=sys.stderr)
        job_id = start_again(flink, job_id, args, settings)
    return 0


def start_again(flink: Flink, job_id: str, args: argparse.Namespace, settings: Settings) -> str:
    """Cancel a job that stands still, and submit it again from its newest checkpoint. Returns its new id. Raises UserError."""
    state = flink.newest_checkpoint(job_id)
    flink.cancel(job_id)
    deadline = time.monotonic() + PATIENCE_S
    while job_id in flink.jobs():
        if time.monotonic() > deadline:
            raise UserError(f"the job cannot be canceled in the Flink at {flink.url}: end the TaskManagers that it runs on")
        time.sleep(STAY_POLL_S)
    return start_newest(flink, args, settings, state)


def start_newest(flink: Flink, args: argparse.Namespace, settings: Settings, state: str | None = None) -> str:
    """Start the job of the arguments from a state: else from their savepoint, else from the newest. Returns its id. Raises UserError."""
    state = state or savepoints.state_to_start_from(settings, args.job, args.from_savepoint)
    run = savepoints.run_from(state)
    return start(flink, args.job, settings, state, args.installed, Run.load() if run == LIVE else run)


def start(flink: Flink, job: str, settings: Settings, state: str | None, installed: bool, run: Run) -> str:
    """Submit a job's run, and wait until all of its tasks run. Returns its id. Raises UserError. state: the address of the state to start from."""
    if installed:
        machine.require_java()
    else:
        machine.set_up()
    framing(settings, run)
    require_room(flink, job, settings)
    job_id = submit(flink, job, settings, state, installed, run)
    print(f"Starting it as job {job_id} from {state or 'the beginning of its topic'} ...", file=sys.stderr)
    wait_until_at_work(flink, job_id)
    return job_id


def require_room(flink: Flink, job: str, settings: Settings) -> None:
    """Raise UserError when a Flink cannot run a job, or already runs it."""
    mine, its = metadata.version("apache-flink"), flink.version()
    if mine != its:
        raise UserError(f"the Flink at {flink.url} is of version {its}, and the jobs need {mine}")
    savepoints.require_shared(settings)
    if job in flink.jobs().values():
        raise UserError(f"{job} runs already in the Flink at {flink.url}: stop it with {SMW} savepoint --stop --job {job}")
    free, slots = flink.slots()
    if free < settings.flink.parallelism:
        raise UserError(
            f"the Flink at {flink.url} has {free} free slots of {slots}, "
            f"and SMW_PARALLELISM={settings.flink.parallelism} takes as many: start more TaskManagers, stop a job, or set it lower"
        )


def submit(flink: Flink, job: str, settings: Settings, state: str | None, installed: bool, run: Run) -> str:
    """Submit a job's run through Flink's client, with code and packages unless the nodes have them installed. Returns its id. Raises UserError.

    Settings, including secrets, are only in the client's environment.
    """
    kept, logs = settings.stack.home.resolve() / "submit", settings.stack.home.resolve() / "logs"
    private_folder(kept)
    private_folder(logs)
    with TemporaryDirectory(dir=kept) as folder:
        sent = ["--pyExecutable", "python"] if installed else packed(kept, Path(folder))
        print(f"Sending {job} to the Flink at {flink.url} ...", file=sys.stderr)
        with open(logs / f"submit_{job}.log", "w+") as log:
            ended = subprocess.run(
                [
                    str(FLINK / "bin" / "flink"),
                    "run",
                    "--jobmanager",
                    flink.address,
                    "--detached",
                    *savepoints.restore_options(state),
                    *sent,
                    "--pyClientExecutable",
                    sys.executable,
                    "--python",
                    str(ROOT / "jobs" / f"{job}.py"),
                ],
                env=os.environ | flink_environ(settings, f"submit_{job}", run),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            log.seek(0)
            printed = log.read()
    if ended.returncode:
        raise UserError(f"{job} could not be submitted: {reason(printed)}; the output of Flink's client is in {log.name}")
    submitted = re.search(SUBMITTED, printed)
    assert submitted, f"Flink's client names no job; its output is in {log.name}"
    return submitted[1]


def wait_until_at_work(flink: Flink, job_id: str) -> None:
    """Wait until all tasks of a job run. If one fails or it takes too long, cancel the job and raise UserError."""
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not flink.is_at_work(job_id):
            if time.monotonic() > deadline:
                raise UserError(f"the job has not started in {PATIENCE_S} s; its logs are at {flink.url}")
            time.sleep(POLL_S)
    except UserError:
        if job_id in flink.jobs():
            flink.cancel(job_id)
        raise


def stands_still(flink: Flink, job_id: str, settings: Settings) -> bool:
    """Wait until a job stands still (true), or is stopped, for example with a savepoint (false).

    Raises UserError when it ends otherwise, or Flink no longer knows it.
    """
    standstill = Standstill(flink, settings.flink.standstill_s, job_id)
    while job_id in flink.jobs():
        if standstill.is_found():
            return True
        time.sleep(STAY_POLL_S)
    if (state := flink.state(job_id)) != "FINISHED":
        raise UserError(f"the job is {state} in the Flink at {flink.url}")
    return False
