"""./smw replay: processes past days again with the same job, from Kafka's log or an archive, over the old results or beside them."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException

from smartmeter.errors import UserError
from smartmeter.kafka import archived, connection, event_times, topic_admin
from smartmeter.kafka.consumers import REPLAY, group_of, sink_group
from smartmeter.kafka.offsets import Offsets, specific_offsets
from smartmeter.logs import Bound
from smartmeter.messages import archive_files
from smartmeter.messages.archive_files import Message
from smartmeter.messages.topics import RESULTS
from smartmeter.progress import LINE_EVERY_S, ProgressLine
from smartmeter.reports import Progress
from smartmeter.run import Run
from smartmeter.settings import SMW, Settings
from smartmeter.variables import SettingsError
from stack import local_flink, machine, ports, services
from stack.flink import ENDED, Flink
from stack.processes import Processes
from store.client import writer_password
from store.schema import database

STALLED_S = 600  # on a small, busy machine Flink alone takes minutes to start
POLL_S = 0.3
PATIENCE_S = 10
CHECKPOINT_EVERY_S = 2.0  # the job reports its progress at each checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw replay."""
    parser.add_argument("--from", dest="first", required=True, metavar="DATE", help="first local day, such as 2026-11-01")
    parser.add_argument("--to", dest="last", required=True, metavar="DATE", help="last local day")
    parser.add_argument("--house", type=int, default=0, metavar="N", help="this house only (default: all)")
    parser.add_argument(
        "--into",
        default="",
        metavar="NAME",
        help="put the results beside the old ones, into the database smartmeter_NAME (default: over them)",
    )
    parser.add_argument(
        "--with-late",
        action="store_true",
        help="use readings that arrived after their day was closed, for example "
        "because a clock was ahead: the house's readings of later days are left out; needs --house, and works best for one day "
        "at a time",
    )
    parser.add_argument(
        "--archive",
        type=Path,
        nargs="?",
        const=archive_files.USUAL,
        metavar="DIR",
        help=f"read the files of {SMW} archive in DIR (default: {archive_files.USUAL}) instead of Kafka's log",
    )


def run_of(args: argparse.Namespace) -> Run:
    """The run that the arguments describe."""
    try:
        return Run(
            bounded=True,
            into=args.into,
            replay_from=args.first,
            replay_to=args.last,
            house=args.house,
            with_late=args.with_late,
            archived=args.archive is not None,
        )
    except SettingsError:
        raise UserError(
            f"--from {args.first} --to {args.last} --into {args.into!r}: give two dates such as 2026-11-01, "
            "the last not before the first, and a name of letters, digits and underscores"
        ) from None


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Replay some days with a running stack's Kafka and ClickHouse. Raises UserError when that cannot be done."""
    if args.with_late and not args.house:
        raise UserError("--with-late reorders the readings of one house: give it with --house")
    index = event_times.folder_of(settings)
    of_run, messages = messages_of(args, run_of(args), settings)
    settings = settings_of_replay(settings)
    machine.set_up()
    in_kafka = archived.in_kafka(settings, of_run, messages) if messages else nullcontext()
    with Processes(settings.stack.home, Bound.of(settings)) as processes, in_kafka:
        shutil.rmtree(settings.stack.home / "checkpoints", ignore_errors=True)
        topic_admin.create_topics(settings, of_run)
        work = Work(settings, of_run, index)
        if not work.messages:
            raise UserError(f"Kafka at {settings.kafka.address} keeps no readings of {args.first} or the days before or after it")
        print(work.begin(), file=sys.stderr)
        of_run = replace(of_run, offsets=specific_offsets({partition: start for (_, partition), start in work.starts.items()}))
        if of_run.into:
            services.start_sink(processes, settings, of_run)
        local_flink.start_job(processes, settings, ends=True, run=of_run)
        with ProgressLine() as line:
            follow(LocalJob(processes), work, line)
    print(
        f'Replayed {args.first} to {args.last}. See: {SMW} sql "SELECT * FROM {database(settings, of_run)}.daily_energy '
        f"WHERE date BETWEEN '{args.first}' AND '{args.last}' ORDER BY house_id, date, meter_id\""
    )
    return 0


def messages_of(args: argparse.Namespace, of_run: Run, settings: Settings) -> tuple[Run, Iterable[tuple[Message, int]] | None]:
    """(the run, what it reads from a topic of its own; None if it reads Kafka's log). Raises UserError.

    Kafka's log lacks what was imported past it, so a replay that needs this has a topic of its own, too.
    """
    archive = archive_files.folder_of(settings, args.archive or archive_files.USUAL)
    for folder in (archive, archive_files.folder_of(settings, archive_files.USUAL)):
        if archive_files.imported_files(folder, args.house):
            of_run = replace(of_run, archived=True)
            return of_run, archived.with_imported(settings, of_run, folder, archive)
    return of_run, archived.of_archive(settings, of_run, archive) if args.archive else None


def settings_of_replay(settings: Settings) -> Settings:
    """Those of a job beside the stack's, with a folder and a page of its own."""
    own = settings.but(
        home=settings.stack.home.resolve() / "replay",
        clickhouse_password=writer_password(settings),
        checkpoint_every_s=CHECKPOINT_EVERY_S,
        checkpoint_dir="",
        flink_metrics_port=0,
        sink_metrics_port=0,
    )
    return ports.with_free_flink_port(own)


class FollowedJob(Protocol):
    """A job whose end is awaited."""

    logs: str
    """Where its logs are."""

    def has_ended(self) -> bool:
        """Whether it has ended well. Raises UserError if it has not."""


class LocalJob:
    """A job in a Flink of its own on this machine."""

    def __init__(self, processes: Processes):
        self.processes, self.logs = processes, str(processes.log(local_flink.PIPELINE_JOB.stem))

    def has_ended(self) -> bool:
        """See FollowedJob."""
        self.processes.check()
        return self.processes.children[local_flink.PIPELINE_JOB.stem].poll() is not None


class ClusterJob:
    """A job on a Flink cluster."""

    def __init__(self, flink: Flink, job_id: str):
        self.flink, self.job_id, self.logs = flink, job_id, f"at {flink.url}"

    def has_ended(self) -> bool:
        """See FollowedJob."""
        if (state := self.flink.state(self.job_id)) in ENDED - {"FINISHED"}:
            raise UserError(f"the job is {state} in the Flink at {self.flink.url}")
        return state == "FINISHED"


def follow(job: FollowedJob, work: Work, line: ProgressLine, stop: Callable[[], None] | None = None) -> None:
    """Show progress until the job has ended and the sink has stored all of its results. Raises UserError when it stalls.

    stop: stops a job that does not end by itself, once it has read everything.
    """
    moved, before = time.monotonic(), None
    while True:
        ended = job.has_ended()
        now, left = time.monotonic(), work.unstored() if ended else work.unread()
        if ended and not left:
            return
        if stop and not ended and not left:
            stop()
            stop = None
        if (ended, left) != before:
            before, moved = (ended, left), now
        patience_s = STALLED_S + (0 if ended else work.settings.flink.stalled_s)  # a job that stands still is restarted first
        if now - moved > patience_s:
            if ended or not work.has_made_results():
                raise UserError(
                    f"the results are not stored: check that the stack's sink is running ({SMW} stack)"
                    if ended
                    else f"the job made no progress for {patience_s:.0f} s; its logs are {job.logs}"
                )
            moved = now
        if line.is_due():
            line.show(work.progress(ended, left))
        time.sleep(POLL_S)


class Work:
    """What a replay has to read of the topic readings, what it has read, and the results not stored yet."""

    def __init__(self, settings: Settings, run: Run, index: Path):
        self.settings = settings
        group_id = group_of(settings, REPLAY)
        forget_group(settings, group_id)
        self.readings = Offsets(settings, ("readings",), group_id, run)
        self.results = Offsets(settings, RESULTS, sink_group(settings, run), run)
        self.bounds = self.readings.bounds()
        self.starts = (
            {place: begin for place, (begin, _) in self.bounds.items()}
            if run.archived
            else event_times.starts(settings, index, self.bounds, run.start_ms(settings.rules.limit_days))
        )
        self.messages = self.unread()
        self.made = self.results_made()
        self.begun = self.reading_since = time.monotonic()

    def begin(self) -> str:
        """The line that states what will be read, with a warning if Kafka has deleted messages that an exact repeat needs."""
        line = f"Reading {self.messages:,} messages of Kafka's log ..."
        if any(begin and self.starts[place] == begin for place, (begin, _) in self.bounds.items()):
            line += (
                "\nKafka has deleted earlier messages: if they belong to the days replayed or to the "
                f"{self.settings.rules.limit_days} before, results will differ from the old ones."
            )
        return line

    def unread(self) -> int:
        """Messages that the job had not read at its last checkpoint."""
        committed = self.readings.committed()
        return sum(max(end - max(committed[place], self.starts[place]), 0) for place, (_, end) in self.bounds.items())

    def unstored(self) -> int:
        """Messages in the result topics that the sink has not stored."""
        return self.results.lag()

    def results_made(self) -> int:
        """Messages that the result topics have had."""
        return sum(end for _, end in self.results.bounds().values())

    def has_made_results(self) -> bool:
        """Whether there are more results than at the last call. With many houses, those at the end take long after the last message."""
        before, self.made = self.made, self.results_made()
        return self.made > before

    def progress(self, ended: bool, left: int) -> Progress:
        """The progress of the job, which has `left` messages to read, or has ended and left so many results to be stored."""
        now = time.monotonic()
        progress = Progress("messages read", self.messages if ended else self.messages - left, self.messages, now - self.begun)
        if ended:
            return replace(progress, state=f"{left:,} results to be stored")
        if not progress.done:
            self.reading_since = now
            return replace(progress, state="Flink is starting")
        per_s = progress.done / max(now - self.reading_since, LINE_EVERY_S)
        return replace(progress, per_s=per_s, left_s=left / per_s)


def forget_group(settings: Settings, group_id: str) -> None:
    """Delete the offsets that an earlier replay committed, which would count as this one's. Raises UserError."""
    client = connection.admin(settings)  # its futures end with it
    deadline = time.monotonic() + PATIENCE_S
    while True:
        [deleted] = client.delete_consumer_groups([group_id], request_timeout=PATIENCE_S).values()
        try:
            deleted.result()
            return
        except KafkaException as error:
            fault = error.args[0]
            if fault.code() == KafkaError.GROUP_ID_NOT_FOUND:
                return
            if fault.code() == KafkaError.NON_EMPTY_GROUP:
                raise UserError("another replay is running on the same Kafka: wait until it ends") from None
            if fault.code() not in connection.BROKER_STARTING or time.monotonic() > deadline:
                raise connection.failure(error, settings) from None
            time.sleep(POLL_S)
