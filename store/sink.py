"""Stores topics in ClickHouse: `python -m store.sink`.

Guarantee: every message of a topic is in its table once, whatever fails in between. Offsets are committed only
after the insert, so a failure in between repeats rows, and a repeated row replaces the first one. While ClickHouse is away,
the sink holds its batch, stops reading, and retries; memory stays bounded.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from smartmeter import logs, reports
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.consumers import STORED, sink_group
from smartmeter.messages import codec, schemas
from smartmeter.messages.framing import framing
from smartmeter.messages.records import AnyRecord, MeterKind
from smartmeter.messages.single_object import RegistryFault
from smartmeter.messages.topics import SCHEMA_OF, topic
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings
from smartmeter.variables import SettingsError
from store import client as clickhouse
from store import limits, profile, schema
from store.metrics import SinkMetrics

AT_ONCE = ("alerts", "acknowledgements", "rules")
"""Tables whose rows do not wait for a full batch."""
RETRY_S = (0.5, 1, 2, 5)
POLL_S = 0.1
LONGEST_INSERT_S = 3600
"""Longest insert of one batch into all of its tables before Kafka considers the sink dead."""
MOST_BYTES = 64 << 20
"""Most bytes of messages in a batch."""
PROGRESS_EVERY_S = 10.0
MOST_LINES = 10
"""Most log lines about refused messages between two progress lines."""

USUAL: AnyRecord = {
    "mains": None,
    "longest_run_minutes": [],
    "longest_off_minutes": None,
    "longest_same_minutes": None,
    "longest_gap_minutes": None,
    "hour_watts": [],
    "standby_watts": None,
    "dead_watts": None,
    "rare_watts": [],
}
"""Columns of thresholds for what is usual for a meter, with their values while that is unknown."""

COLUMNS = {
    "houses": ("house_id", "timezone", "source", "zip", "city", "state", "latitude", "longitude", "population", "updated"),
    "meters": ("house_id", "meter_id", "label", "kind", "updated", "parent", "role"),
    "daily_energy": (
        "house_id",
        "meter_id",
        "date",
        "kwh",
        "readings",
        "duplicates",
        "covered_s",
        "max_gap_s",
        "day_s",
        "final",
        "revision",
        "refused",
        "hour_starts",
        "hours",
        "hour_kwh",
        "hour_covered_s",
        "exported_kwh",
        "hour_exported_kwh",
        "gaps",
        "power_kwh",
        "power_exported_kwh",
        "register_kwh",
        "register_exported_kwh",
        "register_faults",
    ),
    "thresholds": (
        "house_id",
        "meter_id",
        "date",
        "valid_from",
        "valid_to",
        "quantile",
        "window_days",
        "percentile_watts",
        "readings",
        "covered_s",
        "warming_up",
        "limit_watts",
        "revision",
        *USUAL,
        "longest_silence_minutes",
    ),
    "alerts": (
        "alert_id",
        "house_id",
        "meter_id",
        "date",
        "start",
        "end",
        "open",
        "retracted",
        "readings",
        "peak_watts",
        "percentile_watts",
        "limit_watts",
        "excess_kwh",
        "revision",
        "kind",
        "severity",
        "reason",
        "ends_when",
        "rule",
    ),
    "acknowledgements": ("alert_id", "house_id", "note", "author", "withdrawn", "acknowledged"),
    "rules": (
        "house_id",
        "meter_id",
        "valid_from",
        "withdrawn",
        "sensitivity",
        "limit_watts",
        "limit_minutes",
        "longest_on_minutes",
        "longest_off_minutes",
        "off_from",
        "off_to",
        "muted_until",
        "normal_kinds",
        "normal_minutes",
        "normal_watts",
        "author",
        "written",
    ),
    "power_profile": profile.COLUMNS,
    "late": ("partition", "offset", "house_id", "date", "start", "end", "readings", "kwh", "house_time", "reason"),
    "dead_letter": ("partition", "offset", "received", "reason", "payload"),
    "refused": ("topic", "partition", "offset", "received", "reason", "payload"),
}

SOURCES = ("solar", "battery")

log = logging.getLogger("sink")


def rows_by_table(name: str, record: AnyRecord) -> dict[str, list[AnyRecord]]:
    """Table -> rows of a record of the topic `name`. Mostly that is the record itself, but a house also yields its meters, each with
    its role, and thresholds one row for each meter. An alert of duration also has its rule: the last part of its id. What is normal by a
    user's rule becomes three lists. Rows may have more items than COLUMNS lists."""
    meters = [{**record, **meter} for meter in record.get("meters", ())]
    if name == "houses":
        kind_of = {meter["meter_id"]: meter["kind"] for meter in meters}
        return {"houses": [record], "meters": [meter | {"role": role(meter["kind"], kind_of.get(meter["parent"]))} for meter in meters]}
    if name == "thresholds":
        return {name: [USUAL | meter | (meter["usual"] or {}) for meter in meters]}
    if name == "rules":
        names = {"kind": "normal_kinds", "minutes": "normal_minutes", "watts": "normal_watts"}
        return {name: [record | {column: [one[field] for one in record["normal"]] for field, column in names.items()}]}
    return {name: [record | {"rule": "".join(record["alert_id"].split("/")[3:])} if name == "alerts" else record]}


def role(kind: MeterKind, parent_kind: MeterKind | None) -> str:
    """As what a meter counts in the balance of its house, so that each watt counts once. parent_kind: None without a parent.

    A battery within solar, as with a hybrid inverter, is measured by the inverter's meter too.
    """
    if kind == "mains":
        return "grid" if parent_kind is None else "within"
    if kind in SOURCES:
        return "within" if parent_kind in SOURCES else kind
    return "load" if parent_kind in (None, "mains") else "within"


def refusal(message: Message, reason: str) -> AnyRecord:
    """The row of the table `refused` for a message that cannot be stored."""
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "received": limits.nearest_ms(message.timestamp()[1]),
        "reason": reason,
        "payload": message.value() or b"",
    }


@dataclass
class Batch:
    """Rows by table, undivided power profiles, and the offsets to commit once all are stored."""

    rows: dict[str, list[AnyRecord]] = field(default_factory=lambda: {table: [] for table in COLUMNS})
    profiles: list[codec.Profile] = field(default_factory=list)
    minutes: int = 0  # rows of the profiles
    message_bytes: int = 0
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def __len__(self) -> int:
        return sum(self.counts().values())

    def counts(self) -> dict[str, int]:
        """Table -> number of rows."""
        return {table: len(rows) for table, rows in self.rows.items()} | {"power_profile": self.minutes}

    def is_due(self, settings: Settings) -> bool:
        """Whether to store the batch now."""
        return (
            any(self.rows[table] for table in AT_ONCE)
            or len(self) >= settings.clickhouse.batch_rows
            or self.message_bytes >= MOST_BYTES
            or time.monotonic() - self.started >= settings.clickhouse.batch_s
        )

    def add(self, name: str, payload: bytes) -> None:
        """Add a message of the topic `name`. Raises CodecError if it is not one or cannot be stored, and then adds nothing."""
        if name == "power_profile":
            found = codec.decode_profile(payload)
            self.minutes += profile.minutes(found)
            self.profiles.append(found)
            return
        for table, rows in rows_by_table(name, limits.fit(name, codec.decode_as(SCHEMA_OF[name], payload))).items():
            self.rows[table].extend(rows)


class Sink:
    """Runs until stop() is called. Raises UserError when Kafka cannot be used, or ClickHouse refuses the user."""

    def __init__(self, settings: Settings, run: Run = LIVE):
        self._settings, self._run = settings, run
        self._name_of = {topic(settings, name, run): name for name in STORED}
        self._stopping = False
        self._stored: Counter[str] = Counter()
        self._refused = self._refused_before = 0  # messages; when progress was last reported
        self._errors = connection.ErrorLog(settings, log)
        self._metrics = SinkMetrics(tuple(COLUMNS))
        self._commits = True
        self._client: Client  # once _connect has been called

    def stop(self) -> None:
        """End run() after the present batch. A signal handler may call it."""
        self._stopping = True

    def run(self) -> None:
        """Store messages until stop() is called."""
        connection.require_broker(self._settings)
        group_id = sink_group(self._settings, self._run)
        self._framing = framing(self._settings, self._run)
        self._consumer = Consumer(
            {
                **connection.consumer(self._settings, group_id),
                "auto.offset.reset": "earliest",
                "queued.max.messages.kbytes": 16384,
                "topic.metadata.refresh.interval.ms": 5000,
                "max.poll.interval.ms": LONGEST_INSERT_S * 1000,
                "error_cb": self._errors.take,
            }
        )
        try:
            with self._metrics.served(self._settings, group_id, tuple(self._name_of)):
                if self._until_it_works(self._connect):
                    self._consume()
        except RegistryFault:  # stopped while it waited for the registry; the next run reads unstored messages again
            log.info("stopped while it waited")
        finally:
            self._consumer.close()

    def _consume(self) -> None:
        self._consumer.subscribe(list(self._name_of))
        batch, reported, stored_before = Batch(), time.monotonic(), 0
        log.info("storing %s from %s into %s", ", ".join(self._name_of), self._settings.kafka.address, self._settings.clickhouse.url)
        while not self._stopping:
            for message in self._read():
                self._take(message, batch)
            if not batch.offsets:
                batch.started = time.monotonic()
            elif batch.is_due(self._settings):
                batch = self._store(batch)
            now, stored = time.monotonic(), self._stored.total()
            if now - reported >= PROGRESS_EVERY_S:
                if stored > stored_before:
                    self._report((stored - stored_before) / (now - reported))
                reported, stored_before, self._refused_before = now, stored, self._refused
        if batch.offsets:
            self._store(batch)
        self._report()

    def _read(self) -> list[Message]:
        """The available messages, after a short wait for the first one: consume() alone would wait for all 10,000."""
        first = self._consumer.poll(min(POLL_S, self._settings.clickhouse.batch_s / 2))
        return [] if first is None else [first, *self._consumer.consume(10_000, timeout=0)]  # not `if first`: an empty message is falsy

    def _take(self, message: Message, batch: Batch) -> None:
        """Put a message into the batch. One that cannot be stored in its own table goes into the table `refused`."""
        if error := message.error():
            self._errors.take(error)
            return
        self._errors.is_away = False
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None and partition is not None and offset is not None  # only an error has none
        name, payload = self._name_of[topic], message.value() or b""
        batch.message_bytes += len(payload)
        try:
            limits.check_size(name, len(payload))
            batch.add(name, self._framing.received(payload, lambda: self._stopping))
        except RegistryFault:
            raise
        except Exception as error:  # no message may stop the sink
            self._refuse(message, batch, str(error) if isinstance(error, schemas.CodecError) else f"{type(error).__name__}: {error}")
        batch.offsets[topic, partition] = offset + 1

    def _refuse(self, message: Message, batch: Batch, reason: str) -> None:
        self._refused += 1
        self._metrics.refused.inc()
        batch.rows["refused"].append(refusal(message, reason))
        if self._refused - self._refused_before < MOST_LINES:
            place = message.topic(), message.partition(), message.offset()
            log.warning("%s partition %s offset %s cannot be stored: %s; the table refused has it", *place, reason)

    def _store(self, batch: Batch) -> Batch:
        """Insert a batch, then commit its offsets. Returns the next batch, which may already hold messages."""
        following = Batch()
        if self._until_it_works(lambda: self._insert(batch), following):
            if not self._commit(batch):
                following.offsets = batch.offsets | following.offsets
            self._stored.update(batch.counts())
            for table, rows in batch.counts().items():
                self._metrics.rows.labels(table).inc(rows)
            self._metrics.stored_at.set_to_current_time()
        return following

    def _insert(self, batch: Batch) -> None:
        for table, rows in batch.rows.items():
            if rows:
                columns = [[row[name] for row in rows] for name in COLUMNS[table]]
                self._client.insert(table, columns, column_names=COLUMNS[table], column_oriented=True)
        if batch.profiles:
            self._client.insert_arrow("power_profile", profile.table(batch.profiles))

    def _commit(self, batch: Batch) -> bool:
        """Commit a batch's offsets. False if Kafka refuses; the rows are stored, and the next batch has the offsets too."""
        offsets = [TopicPartition(*place, offset) for place, offset in batch.offsets.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if self._commits:
                log.warning("Kafka: offsets not committed, which is tried again: %s", error.args[0].str())
            self._commits = False
        else:
            self._commits = True
        return self._commits

    def _connect(self) -> None:
        self._client = clickhouse.writer(self._settings)
        schema.create(self._client, self._settings, self._run)

    def _until_it_works(self, action: Callable[[], None], following: Batch | None = None) -> bool:
        """Call `action` until it succeeds, however long ClickHouse is away. False if the sink is stopped before that.

        following: a batch for messages that Kafka's client still returns while reading is paused.
        """
        failures = 0
        while True:
            try:
                action()
            except ClickHouseError as error:
                if error.code == clickhouse.AUTHENTICATION_FAILED:
                    raise UserError(clickhouse.reason(error, self._settings)) from None
                self._metrics.clickhouse_up.set(0)
                if not failures:
                    log.warning("waiting: %s", clickhouse.reason(error, self._settings))
            else:
                break
            if self._stopping:
                return False
            self._wait(RETRY_S[min(failures, len(RETRY_S) - 1)], following)
            failures += 1
        self._metrics.clickhouse_up.set(1)
        if failures:
            log.info("ClickHouse at %s is back", self._settings.clickhouse.url)
            self._consumer.resume(self._consumer.assignment())
        return True

    def _wait(self, seconds: float, following: Batch | None) -> None:
        """Wait without reading on, but stay a member of the consumer group."""
        if following is None:
            time.sleep(seconds)
            return
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping:
            self._consumer.pause(self._consumer.assignment())
            if (message := self._consumer.poll(min(left, POLL_S))) is not None:
                self._take(message, following)

    def _report(self, rows_per_s: float | None = None) -> None:
        rate = "" if rows_per_s is None else f" ({rows_per_s:,.0f} rows/s)"
        tables = ", ".join(f"{table} {count:,}" for table, count in self._stored.items() if count)
        refused = f"; {self._refused:,} messages could not be stored" if self._refused else ""
        log.info("stored %s rows%s%s%s", f"{self._stored.total():,}", rate, f": {tables}" if tables else "", refused)


def main() -> int:
    """Run the sink until SIGINT or SIGTERM. Returns the exit code."""
    logs.configure("sink")
    try:
        sink = Sink(Settings.load(), Run.load())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: sink.stop())
        sink.run()
    except (UserError, SettingsError) as error:
        return reports.fail("sink", str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
