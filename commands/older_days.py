"""Takes days into a running system that are older than what their house has sent: in the topic they would be late.

They go into an archive, beside the topic's own messages. Then the pipeline is stopped with a savepoint, and a job that starts from it reads the
houses of these days anew: what Kafka and the archive hold of them, all in order. The pipeline goes on from where that job ends. So its state
and the tables are what they would be if all had come in order.
"""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import date, timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Protocol, cast

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from commands import archive, submit
from commands.replay import CHECKPOINT_EVERY_S, ClusterJob, LocalJob, Work, follow, settings_of_replay
from smartmeter.errors import UserError
from smartmeter.kafka import archived, event_times
from smartmeter.kafka.consumers import ARCHIVE, group_of
from smartmeter.kafka.offsets import Offsets
from smartmeter.kafka.producer import Producer
from smartmeter.local_days import local_date, midnight_ms, now_ms
from smartmeter.logs import Bound
from smartmeter.messages import archive_files
from smartmeter.messages.codec import Burst
from smartmeter.messages.records import AlertRecord
from smartmeter.messages.topics import topic
from smartmeter.progress import ProgressLine
from smartmeter.run import Run
from smartmeter.settings import SMW, Settings
from smartmeter.state_folders import address, folder_at, savepoints_of
from stack import lifecycle, local_flink, machine, savepoints
from stack.flink import Flink
from stack.ports import LOOPBACK
from stack.processes import Processes
from store.client import reader, reason, writer
from store.schema import execute

PIPELINE = local_flink.PIPELINE_JOB.stem
STALLED_S = 600
POLL_S = 0.5

STORED_ENDS = "SELECT house_id, (toInt64(toInt32(max(date))) + 2) * 86400000 FROM daily_energy GROUP BY house_id"
STALE = "house_id IN {houses:Array(Int64)} AND t.date >= {first:Date32} AND t.revision < {begun:Int64}"
STALE_ALERTS = f"""
    SELECT alert_id, house_id, meter_id, toInt32(date) AS date, toUnixTimestamp64Milli(start) AS start, toUnixTimestamp64Milli(end) AS end,
           open, true AS retracted, readings, peak_watts, percentile_watts, limit_watts, excess_kwh, revision + 1 AS revision, kind, severity,
           reason, ends_when
    FROM alerts AS t FINAL
    WHERE {STALE}"""


class OlderDays:
    """The houses that have older days, and the first and the last of these days."""

    def __init__(self) -> None:
        self.houses: dict[int, str] = {}
        """House -> its time zone."""
        self.first, self.last = date.max, date.min
        self.readings = 0

    def add(self, burst: Burst) -> None:
        """Count a burst."""
        day = local_date(burst.start_ms, burst.timezone)
        self.houses[burst.house_id] = burst.timezone
        self.first, self.last = min(self.first, day), max(self.last, day)
        self.readings += int(burst.counts.sum())


def newest_ms(settings: Settings) -> dict[int, int]:
    """House -> the latest end, in ms, of all that it has sent. Raises UserError."""
    settings = lifecycle.of_what_runs(settings)
    with Offsets(settings, ("readings",), group_of(settings, ARCHIVE)) as offsets:
        bounds = offsets.bounds()
    found = event_times.newest_ms(settings, event_times.folder_of(settings), bounds)
    if any(begin for begin, _ in bounds.values()):  # the index may lack what Kafka has deleted
        stored = reader(settings).query(STORED_ENDS)
        found |= {house_id: max(end_ms, found.get(house_id, end_ms)) for house_id, end_ms in stored.result_rows}
    return found


class Pipeline(Protocol):
    """The pipeline that takes in older days."""

    @property
    def own(self) -> Settings:
        """Those of the job that reads houses anew."""

    def require_ready(self) -> None:
        """Raise UserError if it cannot take in older days."""

    def stopped(self) -> AbstractContextManager[str]:
        """Gives the address of the savepoint with which it has stopped. Within the context nobody starts it. Raises UserError."""

    def read(self, processes: Processes, state: str, run: Run, work: Work, line: ProgressLine) -> str:
        """Let a job from this savepoint read all of the run. Returns the address of its own savepoint. Raises UserError."""

    def go_on(self, state: str) -> None:
        """What follows, now that the savepoint to go on from is in its place. Raises UserError."""


class OfStack:
    """That of ./smw stack: it stops, and goes on afterwards."""

    def __init__(self, settings: Settings):
        self.settings = lifecycle.of_what_runs(settings)
        self.flink = Flink(f"{LOOPBACK}:{self.settings.flink.ui_port}")

    @cached_property
    def own(self) -> Settings:
        """See Pipeline."""
        return settings_of_replay(self.settings)

    def require_ready(self) -> None:
        """See Pipeline."""
        self._job()
        place = self.settings.flink.checkpoint_dir
        if place and not folder_at(place):
            raise UserError(f"SMW_CHECKPOINT_DIR={place}: older days need a folder of this machine for savepoints")

    @contextmanager
    def stopped(self) -> Iterator[str]:
        """See Pipeline."""
        with lifecycle.paused(self.settings):
            yield self.flink.savepoint(self._job(), savepoints_of(self.settings, PIPELINE), stop=True)

    def read(self, processes: Processes, state: str, run: Run, work: Work, line: ProgressLine) -> str:
        """See Pipeline."""
        machine.set_up()
        local_flink.start_job(processes, self.own, ends=True, savepoint=state, run=run)
        went_on: list[str] = []

        def stop() -> None:
            flink = Flink(f"{LOOPBACK}:{self.own.flink.ui_port}")
            [job_id] = flink.running()
            went_on.append(flink.savepoint(job_id, place_of_anew(self.settings), stop=True))

        follow(LocalJob(processes), work, line, stop)
        return went_on[0]

    def go_on(self, state: str) -> None:
        """See Pipeline. Returns once it runs again."""
        deadline = time.monotonic() + STALLED_S
        while time.monotonic() < deadline:
            if not (self.settings.stack.home / lifecycle.PAUSE).exists() and self._is_at_work():
                return
            time.sleep(POLL_S)
        raise UserError(f"the older days are taken in, but the pipeline has not started again in {STALLED_S} s: start {SMW} stack")

    def _job(self) -> str:
        """The id of the only job in the Flink, the pipeline. Raises UserError."""
        jobs: dict[str, str] = {}
        with suppress(UserError):  # no Flink answers
            jobs = self.flink.jobs()
        if list(jobs.values()) != [PIPELINE]:
            raise UserError(
                f"some of these days are older than what their house has sent, and need {SMW} stack: its {PIPELINE} as the only job in the "
                f"Flink at {self.flink.url}; for a cluster give --jobmanager and --from-savepoint"
            )
        return next(iter(jobs))

    def _is_at_work(self) -> bool:
        """Whether it runs, with all of its tasks."""
        try:
            return any(name == PIPELINE and self.flink.is_at_work(job_id) for job_id, name in self.flink.jobs().items())
        except UserError:  # it is starting
            return False


class OfCluster:
    """One on a Flink cluster that was stopped with a savepoint. Its user starts it again, from the savepoint that is printed."""

    def __init__(self, settings: Settings, jobmanager: str, savepoint: str, installed: bool):
        """installed: whether the nodes have the code and its packages."""
        self.settings, self.flink, self.savepoint, self.installed = settings, Flink(jobmanager), savepoint, installed

    @cached_property
    def own(self) -> Settings:
        """See Pipeline."""
        return self.settings.but(
            home=self.settings.stack.home.resolve() / "replay",
            checkpoint_every_s=CHECKPOINT_EVERY_S,
            checkpoint_dir=f"{self.settings.flink.checkpoint_dir}/anew",
        )

    def require_ready(self) -> None:
        """See Pipeline."""
        submit.require_room(self.flink, PIPELINE, self.settings)
        for place in (self.settings.flink.checkpoint_dir, self.savepoint):
            if not folder_at(place):
                raise UserError(f"{place}: older days need savepoints in a folder that this machine reads too")
        savepoints.require_savepoint(self.savepoint)

    @contextmanager
    def stopped(self) -> Iterator[str]:
        """See Pipeline."""
        yield savepoints.require_savepoint(self.savepoint)

    def read(self, processes: Processes, state: str, run: Run, work: Work, line: ProgressLine) -> str:
        """See Pipeline."""
        job_id = submit.start(self.flink, PIPELINE, self.own.but(home=self.settings.stack.home), state, self.installed, run)
        went_on: list[str] = []
        try:
            follow(
                ClusterJob(self.flink, job_id),
                work,
                line,
                lambda: went_on.append(self.flink.savepoint(job_id, place_of_anew(self.settings), stop=True)),
            )
        finally:
            if job_id in self.flink.jobs():
                self.flink.cancel(job_id)
            if folder := folder_at(self.own.flink.checkpoint_dir):
                shutil.rmtree(folder, ignore_errors=True)
        return went_on[0]

    def go_on(self, state: str) -> None:
        """See Pipeline."""
        print(f"Let the pipeline go on: {SMW} submit {PIPELINE} --jobmanager {self.flink.address} --from-savepoint {folder_at(state)}")


def pipeline_of(settings: Settings, jobmanager: str | None, savepoint: str | None, installed: bool) -> Pipeline:
    """The pipeline that takes in older days. Raises UserError."""
    if bool(jobmanager) != bool(savepoint):
        raise UserError(f"give --jobmanager together with --from-savepoint, the savepoint with which {SMW} savepoint --stop has stopped it")
    return OfCluster(settings, jobmanager, savepoint, installed) if jobmanager and savepoint else OfStack(settings)


def take_in(bursts: Iterable[Burst], folder: Path, pipeline: Pipeline, settings: Settings) -> int:
    """Take in the bursts of older days. Returns the number of their readings. Raises UserError."""
    settings = lifecycle.of_what_runs(settings)
    found = iter(bursts)
    if not (burst := next(found, None)):
        return 0
    pipeline.require_ready()
    folder = archive_files.folder_of(settings, folder)
    days = keep(chain([burst], found), folder)
    first = days.first - timedelta(days=1)  # begins no later in any time zone
    run = Run(replay_from=str(first), replay_to=str(date.today() + timedelta(days=2)), archived=True, anew=now_ms())
    read_anew(days, run, folder, pipeline, settings)
    return days.readings


def keep(bursts: Iterable[Burst], folder: Path) -> OlderDays:
    """Add the bursts to an archive. Raises UserError."""
    days = OlderDays()
    with archive.alone(folder):
        files = archive_files.ImportedFiles(folder)
        for burst in bursts:
            files.add(burst)
            days.add(burst)
        for _ in files.complete():
            pass
    return days


def read_anew(days: OlderDays, run: Run, folder: Path, pipeline: Pipeline, settings: Settings) -> None:
    """Let the pipeline go on as if the older days of an archive had come in order. Raises UserError."""
    print(
        f"{days.first} to {days.last}: {len(days.houses):,} houses have sent newer readings, and are read anew. Until the pipeline goes on, live "
        "readings wait in Kafka.",
        file=sys.stderr,
    )
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a file of each house is open
    own = pipeline.own
    with pipeline.stopped() as state:
        offsets = offsets_of(state, settings)
        messages = archived.with_imported(settings, run, folder, folder, days.houses, offsets)
        with Processes(own.stack.home, Bound.of(own)) as processes, archived.in_kafka(own, run, messages), ProgressLine() as line:
            work = Work(own, run, event_times.folder_of(settings))
            processes.wait_until(lambda: not work.unstored(), f"the results are not stored: check the sink of {SMW} stack", STALLED_S)
            forgets = has_all_readings(settings)
            if forgets:
                forget_minutes(days, settings)
            went_on = pipeline.read(processes, state, run, work, line)
        if forgets:
            forget_stale(days.houses, run, settings)
        published = publish(went_on, offsets, settings)
    pipeline.go_on(published)


def has_all_readings(settings: Settings) -> bool:
    """Whether Kafka has deleted nothing, so that each result that still holds is found again."""
    with Offsets(settings, ("readings",), group_of(settings, ARCHIVE)) as offsets:
        return not any(begin for begin, _ in offsets.bounds().values())


def offsets_of(state: str, settings: Settings) -> dict[int, int]:
    """Partition -> the offset at which the pipeline continues from a savepoint. Raises UserError."""
    folder, name = folder_at(state), topic(settings, "readings")
    assert folder
    offsets = savepoints.offsets_in((folder / savepoints.METADATA).read_bytes(), name)
    with Offsets(settings, ("readings",), group_of(settings, ARCHIVE)) as found:
        if {(name, partition) for partition in offsets} != found.bounds().keys():
            raise UserError(f"{folder} does not show where the pipeline continues in {name}; it goes on from there, without the older days")
    return offsets


def place_of_anew(settings: Settings) -> str:
    """The address of the savepoints of the job that reads houses anew, where nobody starts from them yet."""
    return f"{savepoints_of(settings, PIPELINE)}.anew"


def publish(state: str, offsets: dict[int, int], settings: Settings) -> str:
    """Make a savepoint the one that the pipeline goes on from, at its offsets (partition -> offset). Returns its address."""
    folder, place = folder_at(state), folder_at(savepoints_of(settings, PIPELINE))
    assert folder and place
    savepoints.keep_offsets(folder, offsets)
    place.mkdir(parents=True, exist_ok=True)
    return address(str(folder.rename(place / folder.name)))


def forget_minutes(days: OlderDays, settings: Settings) -> None:
    """Delete the minutes of the older days: the parts that they come in may be others now, and the higher count of readings would stay."""
    with tables(settings) as client:
        for timezone in set(days.houses.values()):
            execute(
                client,
                settings,
                "DELETE FROM power_profile WHERE house_id IN {houses:Array(Int64)} AND minute >= toDateTime({begin:Int64}, 'UTC') "
                "AND minute < toDateTime({end:Int64}, 'UTC')",
                {
                    "houses": [house_id for house_id, own in days.houses.items() if own == timezone],
                    "begin": midnight_ms(days.first, timezone) // 1000,
                    "end": midnight_ms(days.last + timedelta(days=1), timezone) // 1000,
                },
            )


def forget_stale(houses: Collection[int], run: Run, settings: Settings) -> None:
    """Retract the alerts, and delete the thresholds, that are no longer found."""
    parameters = {"houses": list(houses), "first": date.fromisoformat(run.replay_from), "begun": run.anew}
    with tables(settings) as client, Producer(settings) as producer:
        for alert in client.query(STALE_ALERTS, parameters=parameters).named_results():
            producer.send_alert(cast(AlertRecord, alert))
        execute(client, settings, f"DELETE FROM thresholds WHERE {STALE.replace('t.', '')}", parameters)


@contextmanager
def tables(settings: Settings) -> Iterator[Client]:
    """A client that may change the tables. Raises UserError when ClickHouse cannot be used."""
    try:
        with closing(writer(settings, settings.clickhouse.database)) as client:
            yield client
    except ClickHouseError as error:
        raise UserError(reason(error, settings)) from None
