"""A client of Flink's REST API, and checks of a job's health through it."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from smartmeter.errors import UserError
from smartmeter.kafka.consumers import JOBS
from smartmeter.settings import SMW
from stack.processes import innermost_cause

SENTENCE = "smw: "
"""Begins the line in which a job's Python program says why it ends."""
PYTHON_ERROR = re.compile(r"[A-Z]\w*: ")
ENDED = {"FINISHED", "FAILED", "CANCELED", "SUSPENDED"}
POLL_S = 0.2
TIMEOUT_S = 30
PATIENCE_S = 300
CHECK_EVERY_S = 2
LOOK_EVERY_S = 5
MOST_WITHOUT_SLOTS = 4
"""How many checks in a row may find no TaskManager: they register a little later than the JobManager."""
RECENT_S = 300
"""How long a job's failure counts as recent."""
SOURCE_RATE = re.compile(r"Source__.*\.numRecordsInPerSecond")
PLACE = re.compile(r"partition[\s=:]+(?:[\w.]+-)?(?P<partition>\d+)\W+(?:at )?offset[\s=:]+(?P<offset>\d+)", re.IGNORECASE)
"""A message's partition and offset, as Kafka's client and the jobs write them when they fail on it."""
NO_FLINK = 502
"""HTTP status of stack.flink_page when no Flink answers."""

Json = dict[str, Any]
"""An object in an answer of Flink, or a job's description in `smw status --json`."""
Figures = tuple[Any, ...]
"""Numbers that change while a job works."""


class Flink:
    """Flink's REST API (its page "REST API" describes each call). Raises UserError."""

    def __init__(self, address: str, timeout_s: float = TIMEOUT_S):
        """address: host:port of its web page, which is the JobManager's REST port."""
        self.address, self.url, self.timeout_s = address, f"http://{address}", timeout_s

    def version(self) -> str:
        """Flink's version, such as 2.2.0."""
        return str(self._request("/config")["flink-version"])

    def slots(self) -> tuple[int, int]:
        """(free slots, all slots)."""
        overview = self._request("/overview")
        return overview["slots-available"], overview["slots-total"]

    def jobs(self) -> dict[str, str]:
        """Id -> name of this project's jobs that have not ended."""
        return {
            job["jid"]: job["name"] for job in self._request("/jobs/overview")["jobs"] if job["name"] in JOBS and job["state"] not in ENDED
        }

    def is_at_work(self, job_id: str) -> bool:
        """Whether all tasks of a job run, or have ended. Raises UserError if one has failed since the job was submitted."""
        job = self._request(f"/jobs/{job_id}")
        for failure in self._request(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]:
            raise UserError(f"{job['name']} fails in the Flink at {self.url}: {reason(failure['stacktrace'])}")
        return bool(job["vertices"]) and all(vertex["status"] in ("RUNNING", "FINISHED") for vertex in job["vertices"])

    def state(self, job_id: str) -> str:
        """A job's state, as Flink names it."""
        return str(self._request(f"/jobs/{job_id}")["state"])

    def progress(self, job_id: str) -> Figures | None:
        """Figures that change while a job works: its restarts, checkpoints, and records read and written.

        None while not all of its tasks run, and after the savepoint that stops it.
        """
        job, checkpoints = self._request(f"/jobs/{job_id}"), self._request(f"/jobs/{job_id}/checkpoints")
        newest = _newest(checkpoints, "completed", "savepoint")
        if newest and newest["checkpoint_type"] == "SYNC_SAVEPOINT":
            return None
        if not job["vertices"] or any(vertex["status"] not in ("RUNNING", "FINISHED") for vertex in job["vertices"]):
            return None
        counts = ((vertex["metrics"]["read-records"], vertex["metrics"]["write-records"]) for vertex in job["vertices"])
        return job["timestamps"]["RUNNING"], checkpoints["counts"]["completed"], checkpoints["counts"]["restored"], *counts

    def newest_checkpoint(self, job_id: str) -> str | None:
        """The address of a job's newest checkpoint or savepoint, or of the state that it was restored from; None without any."""
        newest = _newest(self._request(f"/jobs/{job_id}/checkpoints"), "completed", "savepoint", "restored")
        return newest["external_path"] if newest else None

    def running(self) -> list[str]:
        """The ids of all running jobs."""
        return [job["jid"] for job in self._request("/jobs/overview")["jobs"] if job["state"] == "RUNNING"]

    def cancel(self, job_id: str) -> None:
        """End a job without a savepoint."""
        self._request(f"/jobs/{job_id}", {}, "PATCH")

    def described_jobs(self) -> list[Json]:
        """A description of each job of this project that has not ended, or has failed. docs/observability.md lists the keys."""
        return [
            self._described(job)
            for job in self._request("/jobs/overview")["jobs"]
            if job["name"] in JOBS and job["state"] not in ("FINISHED", "CANCELED")
        ]

    def _described(self, job: Json) -> Json:
        path = f"/jobs/{job['jid']}"
        checkpoints = self._request(f"{path}/checkpoints") if job["state"] == "RUNNING" else {}
        last = checkpoints.get("latest", {}).get("completed")
        details = self._request(path)
        vertices = details["vertices"]
        attempts = [subtask["attempt"] for vertex in vertices for subtask in self._request(f"{path}/vertices/{vertex['id']}")["subtasks"]]
        return {
            "name": job["name"],
            "state": job["state"],
            "since_unix_s": job["start-time"] / 1000,
            "running_since_unix_s": details["timestamps"].get("RUNNING", 0) / 1000,
            "parallelism": max((vertex["parallelism"] for vertex in vertices), default=None),
            "restarts": max(attempts, default=None),  # the metric for it is empty on the first query
            "checkpoint_unix_s": last and last["latest_ack_timestamp"] / 1000,
            "checkpoint_bytes": last and last["state_size"],
            "checkpoint_s": last and last["end_to_end_duration"] / 1000,
            "failed_checkpoints": checkpoints.get("counts", {}).get("failed"),
            "records_per_s": self._rate(path, vertices),
            **recent_failures(self._request(f"{path}/exceptions"), time.time() - RECENT_S),
            **recent_failed_checkpoints(checkpoints, time.time() - RECENT_S),
        }

    def _rate(self, path: str, vertices: list[Json]) -> float | None:
        """Records per second that the sources read over the last minute; None while Flink has no figure yet."""
        found: list[Json] = []
        for metrics in (f"{path}/vertices/{vertex['id']}/subtasks/metrics" for vertex in vertices if "Source" in vertex["name"]):
            names = [metric["id"] for metric in self._request(metrics) if SOURCE_RATE.fullmatch(metric["id"])]
            found += self._request(f"{metrics}?agg=sum&get={','.join(map(quote, names))}") if names else []
        return sum(metric["sum"] for metric in found) if found else None

    def savepoint(self, job_id: str, target: str, stop: bool) -> str:
        """Take a savepoint in the folder at the address `target`, and stop the job with it if `stop`. Returns its address."""
        call, body = ("stop", {"targetDirectory": target}) if stop else ("savepoints", {"target-directory": target})
        trigger = self._request(f"/jobs/{job_id}/{call}", body)["request-id"]
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            answer = self._request(f"/jobs/{job_id}/savepoints/{trigger}")
            if answer["status"]["id"] == "COMPLETED":
                if location := answer["operation"].get("location"):
                    return str(location)
                raise UserError(f"Flink could not take a savepoint: {reason(answer['operation']['failure-cause']['stack-trace'])}")
            time.sleep(POLL_S)
        raise UserError(f"Flink took no savepoint in {PATIENCE_S} s; its page is {self.url}")

    def _request(self, path: str, body: Json | None = None, method: str | None = None) -> Any:
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
        raise UserError(
            f"no Flink answers at {self.url}: start one with {SMW} stack, or set --jobmanager or SMW_FLINK_UI_PORT to its address"
        )


def recent_failures(exceptions: Json, since_s: float) -> Json:
    """A job's failures since a Unix time: their number, and when and why the newest occurred, and at which message.

    exceptions: Flink's history of the job's exceptions, which keeps 16.
    """
    recent = [entry for entry in exceptions["exceptionHistory"]["entries"] if entry["timestamp"] / 1000 > since_s]
    newest = max(recent, key=lambda entry: entry["timestamp"], default=None)
    place = PLACE.search(newest["stacktrace"]) if newest else None
    return {
        "recent_failures": len(recent),
        "failure_unix_s": newest and newest["timestamp"] / 1000,
        "failure": newest and reason(newest["stacktrace"]),
        "failure_message": place and {"partition": int(place["partition"]), "offset": int(place["offset"])},
    }


def recent_failed_checkpoints(checkpoints: Json, since_s: float) -> Json:
    """How many of the last 10 checkpoints (those that Flink keeps) failed since a Unix time, and why the newest failed one did."""
    failed = checkpoints.get("latest", {}).get("failed")
    recent = [one for one in checkpoints.get("history", ()) if one["status"] == "FAILED" and one["latest_ack_timestamp"] / 1000 > since_s]
    return {"recent_failed_checkpoints": len(recent), "checkpoint_failure": failed["failure_message"] if recent and failed else None}


class TaskManagers:
    """Detects that a Flink has lost its TaskManagers and gets no others."""

    def __init__(self, flink: Flink):
        self.flink, self.checked, self.without_slots = flink, time.monotonic(), 0

    def are_lost(self) -> bool:
        """Whether they are lost. Call it repeatedly."""
        if time.monotonic() > self.checked + CHECK_EVERY_S:
            self.checked = time.monotonic()
            with suppress(UserError):  # the Flink is starting or ending
                self.without_slots = self.without_slots + 1 if self.flink.slots()[1] == 0 else 0
        return self.without_slots > MOST_WITHOUT_SLOTS


class Standstill:
    """Detects that jobs stand still: their tasks run, but for limit_s nothing was read or written, and no checkpoint completed.

    A Flink that stops answering stands still too. Only time between regular checks counts, so a machine that slept does not look like a
    job that hangs.
    """

    def __init__(self, flink: Flink, limit_s: float, job_id: str | None = None):
        """job_id: the job to watch; None: all running jobs."""
        self.flink, self.limit_s, self.job_id = flink, limit_s, job_id
        self.checked, self.still_s = time.monotonic(), 0.0
        self.seen: dict[str, Figures | None] | None = None

    def is_found(self) -> bool:
        """Whether they stand still. Call it repeatedly."""
        now = time.monotonic()
        if now > self.checked + LOOK_EVERY_S:
            seen = self._look()
            self.still_s = self.still_s + min(now - self.checked, 2 * LOOK_EVERY_S) if seen and seen == self.seen else 0.0
            self.checked, self.seen = now, seen
        return self.still_s > self.limit_s

    def _look(self) -> dict[str, Figures | None] | None:
        """The progress of each job; None if one of them has no figures."""
        try:
            jobs = [self.job_id] if self.job_id else self.flink.running()
            progress = {job_id: self.flink.progress(job_id) for job_id in jobs}
        except UserError:
            return self.seen
        return progress if all(progress.values()) else None


def _newest(checkpoints: Json, *kinds: str) -> Json | None:
    """The newest of these kinds in Flink's answer about a job's checkpoints; None without any."""
    found = [state for kind in kinds if (state := checkpoints["latest"].get(kind))]
    return max(found, key=lambda state: state["id"]) if found else None


def reason(answer: str) -> str:
    """Why Flink fails or refuses, from its answer: the job's own sentence, else Python's error, else the innermost cause, else the first line.

    Java begins with the options that it takes from its environment, which are no reason.
    """
    lines = [line for line in answer.replace("\\n", "\n").replace("\\t", "\t").splitlines() if not line.startswith("Picked up ")]
    sentence = next((line.removeprefix(SENTENCE) for line in reversed(lines) if line.startswith(SENTENCE)), None)
    python_error = next((line for line in reversed(lines) if PYTHON_ERROR.match(line)), None)
    return sentence or python_error or innermost_cause(lines) or (lines[0] if lines else "it gives no reason")
