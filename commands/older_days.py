"""Takes days into a running system that are older than what their house has sent: in the topic they would be late.

They go into an archive, beside the topic's own messages. Then the pipeline is stopped with a savepoint, and a job that starts from it reads the
houses of these days anew: what Kafka and the archive hold of them, all in order. The pipeline goes on from where that job ends. So its state
and the tables are what they would be if all had come in order.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import date, timedelta
from itertools import chain
from pathlib import Path
from typing import cast

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from commands import archive
from commands.replay import Work, follow, settings_of_replay
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
from smartmeter.state_folders import folder_at, savepoints_of
from stack import lifecycle, local_flink, machine, savepoints
from stack.flink import Flink
from stack.ports import LOOPBACK
from stack.processes import Processes
from store.client import reader, reason, writer

PIPELINE = local_flink.PIPELINE_JOB.stem
STALLED_S = 600
POLL_S = 0.5

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
        stored = reader(settings).query("SELECT house_id, (toInt64(toInt32(max(date))) + 2) * 86400000 FROM daily_energy GROUP BY house_id")
        found |= {house_id: max(end_ms, found.get(house_id, end_ms)) for house_id, end_ms in stored.result_rows}
    return found


def take_in(bursts: Iterable[Burst], folder: Path, settings: Settings) -> int:
    """Take in the bursts of older days. Returns the number of their readings. Raises UserError."""
    settings = lifecycle.of_what_runs(settings)
    found = iter(bursts)
    if not (burst := next(found, None)):
        return 0
    flink = Flink(f"{LOOPBACK}:{settings.flink.ui_port}")
    pipeline(flink)
    folder = archive_files.folder_of(settings, folder)
    days = keep(chain([burst], found), folder)
    first = days.first - timedelta(days=1)  # begins no later in any time zone
    run = Run(replay_from=str(first), replay_to=str(date.today() + timedelta(days=2)), archived=True, anew=now_ms())
    read_anew(days, run, folder, flink, settings)
    return days.readings


def pipeline(flink: Flink) -> str:
    """The id of the only job in a Flink, the pipeline. Raises UserError."""
    jobs: dict[str, str] = {}
    with suppress(UserError):  # no Flink answers
        jobs = flink.jobs()
    if list(jobs.values()) != [PIPELINE]:
        raise UserError(
            f"some of these days are older than what their house has sent, and need {SMW} stack: its {PIPELINE} as the only job in the Flink "
            f"at {flink.url}"
        )
    return next(iter(jobs))


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


def read_anew(days: OlderDays, run: Run, folder: Path, flink: Flink, settings: Settings) -> None:
    """Let the pipeline go on as if the older days of an archive had come in order. Raises UserError."""
    print(
        f"{days.first} to {days.last}: {len(days.houses):,} houses have sent newer readings. The pipeline pauses while it reads these houses "
        "anew; live readings wait in Kafka.",
        file=sys.stderr,
    )
    machine.set_up()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a file of each house is open
    with lifecycle.paused(settings):
        state, offsets = stopped(flink, settings)
        own = settings_of_replay(settings)
        messages = archived.with_imported(settings, run, folder, folder, days.houses, offsets)
        with Processes(own.stack.home, Bound.of(own)) as processes, archived.in_kafka(own, run, messages), ProgressLine() as line:
            work = Work(own, run, event_times.folder_of(settings))
            processes.wait_until(lambda: not work.unstored(), f"the results are not stored: check the sink of {SMW} stack", STALLED_S)
            forgets = has_all_readings(settings)
            if forgets:
                forget_minutes(days, settings)
            local_flink.start_job(processes, own, ends=True, savepoint=state, run=run)
            went_on: list[str] = []
            follow(processes, work, line, lambda: went_on.append(stop(own, settings)))
        if forgets:
            forget_stale(days.houses, run, settings)
        publish(went_on[0], offsets, settings)
    wait_until_at_work(flink, settings)


def has_all_readings(settings: Settings) -> bool:
    """Whether Kafka has deleted nothing, so that each result that still holds is found again."""
    with Offsets(settings, ("readings",), group_of(settings, ARCHIVE)) as offsets:
        return not any(begin for begin, _ in offsets.bounds().values())


def stopped(flink: Flink, settings: Settings) -> tuple[str, dict[int, int]]:
    """Stop the pipeline. Returns (the address of its savepoint, partition -> the offset at which it continues). Raises UserError."""
    place = savepoints_of(settings, PIPELINE)
    if not folder_at(place):
        raise UserError(f"SMW_CHECKPOINT_DIR={settings.flink.checkpoint_dir}: older days need a folder of this machine for savepoints")
    state = flink.savepoint(pipeline(flink), place, stop=True)
    folder, name = folder_at(state), topic(settings, "readings")
    assert folder
    offsets = savepoints.offsets_in((folder / savepoints.METADATA).read_bytes(), name)
    with Offsets(settings, ("readings",), group_of(settings, ARCHIVE)) as found:
        if {(name, partition) for partition in offsets} != found.bounds().keys():
            raise UserError(f"{folder} does not show where the pipeline continues in {name}; it goes on from there, without the older days")
    return state, offsets


def stop(own: Settings, settings: Settings) -> str:
    """Stop the job (own: its settings) that has read everything. Returns the address of its savepoint. Raises UserError."""
    flink = Flink(f"{LOOPBACK}:{own.flink.ui_port}")
    [job_id] = flink.running()
    return flink.savepoint(job_id, f"{savepoints_of(settings, PIPELINE)}.anew", stop=True)  # where nobody starts from it yet


def publish(state: str, offsets: dict[int, int], settings: Settings) -> None:
    """Make a savepoint the one that the pipeline goes on from, at its offsets (partition -> offset)."""
    folder, place = folder_at(state), folder_at(savepoints_of(settings, PIPELINE))
    assert folder and place
    savepoints.keep_offsets(folder, offsets)
    folder.rename(place / folder.name)


def forget_minutes(days: OlderDays, settings: Settings) -> None:
    """Delete the minutes of the older days: the parts that they come in may be others now, and the higher count of readings would stay."""
    with tables(settings) as client:
        for timezone in set(days.houses.values()):
            client.command(
                "DELETE FROM power_profile WHERE house_id IN {houses:Array(Int64)} AND minute >= toDateTime({begin:Int64}, 'UTC') "
                "AND minute < toDateTime({end:Int64}, 'UTC')",
                parameters={
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
        client.command(f"DELETE FROM thresholds WHERE {STALE.replace('t.', '')}", parameters=parameters)


@contextmanager
def tables(settings: Settings) -> Iterator[Client]:
    """A client that may change the tables. Raises UserError when ClickHouse cannot be used."""
    try:
        with closing(writer(settings, settings.clickhouse.database)) as client:
            yield client
    except ClickHouseError as error:
        raise UserError(reason(error, settings)) from None


def wait_until_at_work(flink: Flink, settings: Settings) -> None:
    """Wait until the pipeline runs again. Raises UserError if it does not."""
    deadline = time.monotonic() + STALLED_S
    while time.monotonic() < deadline:
        if not (settings.stack.home / lifecycle.PAUSE).exists() and is_at_work(flink):
            return
        time.sleep(POLL_S)
    raise UserError(f"the older days are taken in, but the pipeline has not started again in {STALLED_S} s: start {SMW} stack")


def is_at_work(flink: Flink) -> bool:
    """Whether the pipeline runs, with all of its tasks."""
    try:
        return any(name == PIPELINE and flink.is_at_work(job_id) for job_id, name in flink.jobs().items())
    except UserError:  # it is starting
        return False
