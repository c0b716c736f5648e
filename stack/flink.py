"""A client of Flink's REST API, and what it shows of a job's health."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from smartmeter.errors import UserError
from smartmeter.kafka.consumers import JOBS
from smartmeter.settings import SMW
from stack.processes import innermost_cause

PYTHON_ERROR = re.compile(r"[A-Z]\w*: ")
ENDED = {"FINISHED", "FAILED", "CANCELED", "SUSPENDED"}
POLL_S = 0.2
TIMEOUT_S = 10
PATIENCE_S = 300
ASK_EVERY_S = 2
LOOK_EVERY_S = 5
MOST_IN_VAIN = 4
"""How often a Flink may have no TaskManager when it is asked: they come a little later than it does."""
RECENT_S = 300
"""How long ago what a job suffers from may be to count as present."""
SOURCE_RATE = re.compile(r"Source__.*\.numRecordsInPerSecond")
PLACE = re.compile(r"partition[\s=:]+(?:[\w.]+-)?(?P<partition>\d+)\W+(?:at )?offset[\s=:]+(?P<offset>\d+)", re.IGNORECASE)
"""Where a message is in its topic, as Kafka's client and the jobs name it when they fail on it."""
NO_FLINK = 502
"""How stack.flink_page answers where no Flink does."""


class Flink:
    """Flink's REST API (its page "REST API" describes each call). Raises UserError."""

    def __init__(self, address: str, timeout_s: float = TIMEOUT_S):
        """address: host:port of its web page, which is the JobManager's REST port."""
        self.address, self.url, self.timeout_s = address, f"http://{address}", timeout_s

    def version(self) -> str:
        return self._ask("/config")["flink-version"]

    def slots(self) -> tuple[int, int]:
        """(free slots, all slots)."""
        overview = self._ask("/overview")
        return overview["slots-available"], overview["slots-total"]

    def jobs(self) -> dict[str, str]:
        """Id -> name of the jobs of this project that have not ended."""
        return {job["jid"]: job["name"] for job in self._ask("/jobs/overview")["jobs"]
                if job["name"] in JOBS and job["state"] not in ENDED}

    def is_at_work(self, job_id: str) -> bool:
        """Whether all tasks of a job run, or have ended. Raises UserError when one has failed since the job was submitted."""
        job = self._ask(f"/jobs/{job_id}")
        for failure in self._ask(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]:
            raise UserError(f"{job['name']} fails in the Flink at {self.url}: {reason(failure['stacktrace'])}")
        return bool(job["vertices"]) and all(vertex["status"] in ("RUNNING", "FINISHED") for vertex in job["vertices"])

    def state(self, job_id: str) -> str:
        """A job's state, as Flink calls it."""
        return self._ask(f"/jobs/{job_id}")["state"]

    def progress(self, job_id: str) -> tuple | None:
        """What changes while a job is at work: its restarts, checkpoints, and records read and written.

        None while its tasks do not all run, and once it has the savepoint with which it stops.
        """
        job, checkpoints = self._ask(f"/jobs/{job_id}"), self._ask(f"/jobs/{job_id}/checkpoints")
        newest = _newest(checkpoints, "completed", "savepoint")
        if newest and newest["checkpoint_type"] == "SYNC_SAVEPOINT":
            return None
        if not job["vertices"] or any(vertex["status"] not in ("RUNNING", "FINISHED") for vertex in job["vertices"]):
            return None
        counts = ((vertex["metrics"]["read-records"], vertex["metrics"]["write-records"]) for vertex in job["vertices"])
        return job["timestamps"]["RUNNING"], checkpoints["counts"]["completed"], checkpoints["counts"]["restored"], *counts

    def newest_checkpoint(self, job_id: str) -> str | None:
        """The address of the newest checkpoint or savepoint of a job, or what it was restored from; None where there is none."""
        newest = _newest(self._ask(f"/jobs/{job_id}/checkpoints"), "completed", "savepoint", "restored")
        return newest["external_path"] if newest else None

    def running(self) -> list[str]:
        """The ids of all jobs that run."""
        return [job["jid"] for job in self._ask("/jobs/overview")["jobs"] if job["state"] == "RUNNING"]

    def cancel(self, job_id: str) -> None:
        self._ask(f"/jobs/{job_id}", {}, "PATCH")

    def described_jobs(self) -> list[dict]:
        """What is known of each job of this project that has not ended, or has failed: see commands.status for the names."""
        return [self._described(job) for job in self._ask("/jobs/overview")["jobs"]
                if job["name"] in JOBS and job["state"] not in ("FINISHED", "CANCELED")]

    def _described(self, job: dict) -> dict:
        path = f"/jobs/{job['jid']}"
        checkpoints = self._ask(f"{path}/checkpoints") if job["state"] == "RUNNING" else {}
        last = checkpoints.get("latest", {}).get("completed")
        details = self._ask(path)
        vertices = details["vertices"]
        attempts = [subtask["attempt"] for vertex in vertices for subtask in self._ask(f"{path}/vertices/{vertex['id']}")["subtasks"]]
        return {
            "name": job["name"], "state": job["state"], "since_unix_s": job["start-time"] / 1000,
            "running_since_unix_s": details["timestamps"].get("RUNNING", 0) / 1000,
            "parallelism": max((vertex["parallelism"] for vertex in vertices), default=None),
            "restarts": max(attempts, default=None),  # its metric is empty when it is asked for the first time
            "checkpoint_unix_s": last and last["latest_ack_timestamp"] / 1000,
            "checkpoint_bytes": last and last["state_size"],
            "checkpoint_s": last and last["end_to_end_duration"] / 1000,
            "failed_checkpoints": checkpoints.get("counts", {}).get("failed"),
            "records_per_s": self._rate(path, vertices),
            **recent_failures(self._ask(f"{path}/exceptions"), time.time() - RECENT_S),
            **recent_failed_checkpoints(checkpoints, time.time() - RECENT_S),
        }

    def _rate(self, path: str, vertices: list[dict]) -> float | None:
        """Records a second that the sources have read over the last minute; None where Flink does not know yet."""
        found: list[dict] = []
        for metrics in (f"{path}/vertices/{vertex['id']}/subtasks/metrics" for vertex in vertices if "Source" in vertex["name"]):
            names = [metric["id"] for metric in self._ask(metrics) if SOURCE_RATE.fullmatch(metric["id"])]
            found += self._ask(f"{metrics}?agg=sum&get={','.join(map(quote, names))}") if names else []
        return sum(metric["sum"] for metric in found) if found else None

    def savepoint(self, job_id: str, target: str, stop: bool) -> str:
        """Take a savepoint in the folder with the address target, and stop the job with it if asked to. Returns its address."""
        call, body = ("stop", {"targetDirectory": target}) if stop else ("savepoints", {"target-directory": target})
        trigger = self._ask(f"/jobs/{job_id}/{call}", body)["request-id"]
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            answer = self._ask(f"/jobs/{job_id}/savepoints/{trigger}")
            if answer["status"]["id"] == "COMPLETED":
                if location := answer["operation"].get("location"):
                    return location
                raise UserError(f"Flink could take no savepoint: {reason(answer['operation']['failure-cause']['stack-trace'])}")
            time.sleep(POLL_S)
        raise UserError(f"Flink has taken no savepoint in {PATIENCE_S} s; its page is {self.url}")

    def _ask(self, path: str, body: dict | None = None, method: str | None = None) -> dict:
        """The answer to a GET, or to a POST with a body."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=self.timeout_s) as answer:
                return json.load(answer)
        except HTTPError as error:
            if error.code != NO_FLINK:
                raise UserError(f"Flink at {self.url} refuses: {reason(error.read().decode(errors='replace'))}") from None
        except (URLError, OSError, ValueError):
            pass
        raise UserError(f"no Flink answers at {self.url}: start one by {SMW} stack, or let --jobmanager or SMW_FLINK_UI_PORT "
                        "name where it is")


def recent_failures(exceptions: dict, since_s: float) -> dict:
    """How often a job has failed since a Unix time, by Flink's history of its exceptions, which keeps 16; of the newest when, why, and at which message."""
    recent = [entry for entry in exceptions["exceptionHistory"]["entries"] if entry["timestamp"] / 1000 > since_s]
    newest = max(recent, key=lambda entry: entry["timestamp"], default=None)
    place = PLACE.search(newest["stacktrace"]) if newest else None
    return {
        "recent_failures": len(recent), "failure_unix_s": newest and newest["timestamp"] / 1000, "failure": newest and reason(newest["stacktrace"]),
        "failure_message": place and {"partition": int(place["partition"]), "offset": int(place["offset"])}}


def recent_failed_checkpoints(checkpoints: dict, since_s: float) -> dict:
    """How many of the last checkpoints, of which Flink keeps 10, have failed since a Unix time, and why the newest has."""
    failed = checkpoints.get("latest", {}).get("failed")
    recent = [one for one in checkpoints.get("history", ()) if one["status"] == "FAILED" and one["latest_ack_timestamp"] / 1000 > since_s]
    return {"recent_failed_checkpoints": len(recent), "checkpoint_failure": failed["failure_message"] if recent and failed else None}


class TaskManagers:
    """Tells when a Flink has lost its TaskManagers, and gets no other."""

    def __init__(self, flink: Flink):
        self.flink, self.asked, self.in_vain = flink, time.monotonic(), 0

    def are_lost(self) -> bool:
        """To be called again and again."""
        if time.monotonic() > self.asked + ASK_EVERY_S:
            self.asked = time.monotonic()
            with suppress(UserError):  # it starts, or ends
                self.in_vain = self.in_vain + 1 if self.flink.slots()[1] == 0 else 0
        return self.in_vain > MOST_IN_VAIN


class Standstill:
    """Finds that jobs stand still: their tasks run, but for limit_s nothing was read or written, and no checkpoint completed.

    A Flink that has answered and does so no more stands still too. Only time in which this object looks counts, so that a machine that
    slept does not look like a job that hangs.
    """

    def __init__(self, flink: Flink, limit_s: float, job_id: str | None = None):
        """job_id: the one job to be watched; None: all that run."""
        self.flink, self.limit_s, self.job_id = flink, limit_s, job_id
        self.asked, self.still_s = time.monotonic(), 0.0
        self.seen: dict[str, tuple | None] | None = None

    def is_found(self) -> bool:
        """To be called again and again."""
        now = time.monotonic()
        if now > self.asked + LOOK_EVERY_S:
            seen = self._look()
            self.still_s = self.still_s + min(now - self.asked, 2 * LOOK_EVERY_S) if seen and seen == self.seen else 0.0
            self.asked, self.seen = now, seen
        return self.still_s > self.limit_s

    def _look(self) -> dict[str, tuple | None] | None:
        """The progress of each job; None where one cannot be judged."""
        try:
            jobs = [self.job_id] if self.job_id else self.flink.running()
            progress = {job_id: self.flink.progress(job_id) for job_id in jobs}
        except UserError:
            return self.seen
        return progress if all(progress.values()) else None


def _newest(checkpoints: dict, *kinds: str) -> dict | None:
    """The newest of these kinds in Flink's answer on the checkpoints of a job; None where there is none."""
    found = [state for kind in kinds if (state := checkpoints["latest"].get(kind))]
    return max(found, key=lambda state: state["id"]) if found else None


def reason(answer: str) -> str:
    """Why Flink fails or refuses, from what it says: Python's own error, else the innermost cause of a stack trace, else the first line."""
    lines = answer.replace("\\n", "\n").replace("\\t", "\t").splitlines()
    python_error = next((line for line in reversed(lines) if PYTHON_ERROR.match(line)), None)
    return python_error or innermost_cause(lines) or (lines[0] if lines else "it gives no reason")
