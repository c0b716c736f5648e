"""What a running Flink is asked and told, over its REST API."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from smartmeter.errors import UserError
from smartmeter.processes import innermost_cause
from smartmeter.settings import SMW

POLL_S = 0.2
TIMEOUT_S = 10
PATIENCE_S = 300


class Flink:
    """Flink's REST API (its page "REST API" describes each call). Raises UserError."""

    def __init__(self, address: str, timeout_s: float = TIMEOUT_S):
        """address: host:port of its web page, which is the JobManager's REST port."""
        self.url, self.timeout_s = f"http://{address}", timeout_s

    def running_jobs(self) -> dict[str, str]:
        """Id -> name of the jobs that run."""
        return {job["jid"]: job["name"] for job in self._ask("/jobs/overview")["jobs"] if job["state"] == "RUNNING"}

    def described_jobs(self) -> list[dict]:
        """What is known of each job that has not ended, or has failed: see smartmeter.status for the names."""
        return [self._described(job) for job in self._ask("/jobs/overview")["jobs"] if job["state"] not in ("FINISHED", "CANCELED")]

    def _described(self, job: dict) -> dict:
        path = f"/jobs/{job['jid']}"
        checkpoints = self._ask(f"{path}/checkpoints") if job["state"] == "RUNNING" else {}
        last = checkpoints.get("latest", {}).get("completed")
        vertices = self._ask(path)["vertices"]
        attempts = [subtask["attempt"] for vertex in vertices for subtask in self._ask(f"{path}/vertices/{vertex['id']}")["subtasks"]]
        return {
            "name": job["name"], "state": job["state"], "since_unix_s": job["start-time"] / 1000,
            "parallelism": max((vertex["parallelism"] for vertex in vertices), default=None),
            "restarts": max(attempts, default=None),  # its metric is empty when it is asked for the first time
            "checkpoint_unix_s": last and last["latest_ack_timestamp"] / 1000,
            "checkpoint_bytes": last and last["state_size"],
            "checkpoint_s": last and last["end_to_end_duration"] / 1000,
            "failed_checkpoints": checkpoints.get("counts", {}).get("failed"),
        }

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
            with urlopen(Request(self.url + path, data, {"Content-Type": "application/json"}), timeout=self.timeout_s) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise UserError(f"Flink at {self.url} refuses: {_reason(error.read().decode(errors='replace'))}") from None
        except (URLError, OSError, ValueError):
            raise UserError(f"no Flink answers at {self.url}: start one by {SMW} stack, or set SMW_FLINK_UI_PORT") from None


def _reason(answer: str) -> str:
    """Why Flink refuses, from what it answers: the innermost cause of a stack trace, else its first line."""
    lines = answer.replace("\\n", "\n").replace("\\t", "\t").splitlines()
    return innermost_cause(lines) or (lines[0] if lines else "it gives no reason")
