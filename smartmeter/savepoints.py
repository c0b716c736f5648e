"""Where a job's state is kept on disk, and ./smw savepoint: its state at this moment, to start a job from later."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from smartmeter.errors import UserError
from smartmeter.processes import innermost_cause
from smartmeter.settings import Settings

POLL_S = 0.2
TIMEOUT_S = 10
PATIENCE_S = 300
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
        raise UserError(f"{path} is no savepoint: it has no file {METADATA}; ./smw savepoint prints where it puts one")
    return path.resolve()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw savepoint."""
    parser.add_argument("folder", nargs="?", type=Path, help="folder to put it in (default: one in SMW_HOME, where "
                        "./smw stack finds it by itself)")
    parser.add_argument("--stop", action="store_true", help="stop the job with it")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Take a savepoint of each job that runs in the local Flink, and print where it is. Raises UserError."""
    flink = Flink(settings)
    jobs = flink.running_jobs()
    if not jobs:
        raise UserError(f"no job runs in the Flink at {flink.url}")
    for job_id, name in jobs.items():
        print(flink.savepoint(job_id, args.folder.resolve() if args.folder else savepoints_of(settings, name), args.stop))
    return 0


class Flink:
    """Flink's REST API (its page "REST API" describes each call). Raises UserError."""

    def __init__(self, settings: Settings):
        self.url = f"http://127.0.0.1:{settings.flink_ui_port}"

    def running_jobs(self) -> dict[str, str]:
        """Id -> name of the jobs that run."""
        return {job["jid"]: job["name"] for job in self._ask("/jobs/overview")["jobs"] if job["state"] == "RUNNING"}

    def savepoint(self, job_id: str, folder: Path, stop: bool) -> str:
        """Take a savepoint, and stop the job with it if asked to. Returns its path."""
        target = f"file://{folder}"
        call, body = ("stop", {"targetDirectory": target}) if stop else ("savepoints", {"target-directory": target})
        trigger = self._ask(f"/jobs/{job_id}/{call}", body)["request-id"]
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            answer = self._ask(f"/jobs/{job_id}/savepoints/{trigger}")
            if answer["status"]["id"] == "COMPLETED":
                if location := answer["operation"].get("location"):
                    return location.removeprefix("file:").replace("//", "/")
                raise UserError(f"Flink could take no savepoint: {_reason(answer['operation']['failure-cause']['stack-trace'])}")
            time.sleep(POLL_S)
        raise UserError(f"Flink has taken no savepoint in {PATIENCE_S} s; its page is {self.url}")

    def _ask(self, path: str, body: dict | None = None) -> dict:
        """The answer to a GET, or to a POST with a body."""
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(self.url + path, data, {"Content-Type": "application/json"}), timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise UserError(f"Flink at {self.url} refuses: {_reason(error.read().decode(errors='replace'))}") from None
        except (URLError, OSError, ValueError):
            raise UserError(f"no Flink answers at {self.url}: start one by ./smw stack, or set SMW_FLINK_UI_PORT") from None


def _reason(answer: str) -> str:
    """Why Flink refuses, from what it answers: the innermost cause of a stack trace, else its first line."""
    lines = answer.replace("\\n", "\n").replace("\\t", "\t").splitlines()
    return innermost_cause(lines) or (lines[0] if lines else "it gives no reason")
