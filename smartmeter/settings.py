"""Settings of every part, read from environment variables that begin with SMW_."""

from __future__ import annotations

import math
import os
import re
import ssl
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path

from smartmeter.folders import private_folder

DAY_MS = 86_400_000
LONGEST_BURST_DAYS = 7
"""The longest span of a burst. It limits the cost of one message, and how far back a replay reads."""
IN_FILE = "_FILE"
"""Suffix of a password's variable: the variable then names a file that holds the password."""
ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or the folder of all packages if pip installed the project."""
INSTALLED = Path(__file__).with_name("avro").is_dir()
"""Whether pip installed the project. The package smartmeter then holds what lies beside the packages in a checkout."""
RESOURCES = ROOT / "smartmeter" if INSTALLED else ROOT
"""The folder of avro/ and pom.xml."""
USER_FOLDER = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "smart-meter-watchdog"
JARS = (USER_FOLDER if INSTALLED else ROOT) / "jars"
"""Where Maven puts the jars of pom.xml."""
SMW = "smw" if INSTALLED else "./smw"
"""The command that the user types."""


class SettingsError(ValueError):
    """A setting has an invalid value. The message names the variable and the values that it takes."""


def _setting(default, meaning: str, also: str = ""):
    """also: another environment variable for it, which other programs use."""
    return field(default=default, metadata={"meaning": meaning, "also": also})


def _secret(meaning: str):
    return field(default="", metadata={"meaning": meaning, "also": ""}, repr=False)


@dataclass(frozen=True)
class Settings:
    """One field for each setting; SMW_MAX_GAP_S sets max_gap_s, and so on. SMW_..._PASSWORD_FILE names a file with a password."""

    home: Path = _setting(USER_FOLDER if INSTALLED else ROOT / ".smw", "folder for data, logs and pid files of the local stack")
    log_mb: float = _setting(10.0, "size, in MB, at which a log of the local stack continues in a new file")
    log_files: int = _setting(5, "files kept of each log, including the current one")
    metrics_address: str = _setting("127.0.0.1", "address at which metrics are served for Prometheus")
    flink_metrics_port: int = _setting(9249, "port of the metrics of the local stack's Flink; 0: none")
    sink_metrics_port: int = _setting(9250, "port of the sink's metrics; 0: none")

    allowed_hosts: str = _setting(
        "", "additional host names of endpoint, dashboard and metrics, such as a proxy's, separated by commas; others are refused")
    allowed_origins: str = _setting(
        "", "origins whose pages may send them requests from a browser, such as https://play.example, separated by commas; *: all")

    kafka: str = _setting("127.0.0.1:9092", "bootstrap servers of the Kafka cluster")
    kafka_tls: bool = _setting(False, "connect to Kafka with TLS")
    kafka_ca: str = _setting("", "PEM file of the certificate authorities trusted for Kafka; empty: the system's")
    kafka_user: str = _setting("", "user for Kafka, with SASL/SCRAM-SHA-512; empty: no user")
    kafka_password: str = _secret("password of that user")
    kafka_controller_port: int = _setting(9093, "port of the local broker's KRaft controller")
    partitions: int = _setting(4, "partitions of a new topic")
    replication: int = _setting(0, "copies of a new topic; with 3, one may be missing; 0: the cluster's default")
    readings_retention_days: int = _setting(
        0, "days after which readings leave Kafka, by their own time, so older history leaves as soon as it arrives; 0: never")
    readings_retention_gb: float = _setting(0.0, "size, in GB, over which the oldest readings leave Kafka; 0: no limit")
    topic_prefix: str = _setting("", "prefix of every topic's name")

    schema_registry_url: str = _setting(
        "", "address of a schema registry with an API like Confluent's; empty: none, messages use single-object framing",
        also="SCHEMA_REGISTRY_URL")
    schema_registry_user: str = _setting("", "user for the schema registry; empty: no user")
    schema_registry_password: str = _secret("password of that user")
    schema_registry_ca: str = _setting("", "PEM file of the certificate authorities trusted for the registry; empty: the system's")

    clickhouse_url: str = _setting("http://127.0.0.1:8123", "HTTP address of ClickHouse, or of the local endpoint")
    clickhouse_ca: str = _setting("", "PEM file of the certificate authorities trusted for ClickHouse; empty: the system's")
    clickhouse_certificate: str = _setting("", "PEM file of the local endpoint's certificate, if SMW_CLICKHOUSE_URL is https")
    clickhouse_key: str = _setting("", "PEM file of that certificate's key")
    clickhouse_database: str = _setting("smartmeter", "database of the tables")
    clickhouse_user: str = _setting("writer", "user that creates tables and inserts")
    clickhouse_password: str = _secret("password of that user; the local endpoint generates one and keeps it in SMW_HOME")
    clickhouse_reader: str = _setting("reader", "read-only user of the dashboard and of ./smw sql")
    clickhouse_reader_password: str = _secret("password of the read-only user")
    clickhouse_queries: int = _setting(4, "queries of one user that the local endpoint runs at a time; others wait up to 10 s")
    clickhouse_memory_mb: int = _setting(2000, "memory, in MB, of the read-only user's queries at the local endpoint, shared equally")
    clickhouse_insert_mb: int = _setting(512, "largest request of the writer at the local endpoint, in MB, unpacked")
    retention_days: int = _setting(0, "days after which results leave the tables; 0: never")
    profile_days: int = _setting(0, "days after which the power profile leaves the tables; 0: never")
    sink_batch_rows: int = _setting(100_000, "most rows in one insert of the sink")
    sink_batch_s: float = _setting(0.5, "longest time, in s, that a row waits for its batch in the sink")

    dashboard_address: str = _setting("127.0.0.1", "address that the dashboard listens at; 0.0.0.0: other machines can reach it")
    dashboard_port: int = _setting(8501, "port of the dashboard")

    flink_ui_port: int = _setting(8081, "port of Flink's web page")
    parallelism: int = _setting(2, "parallelism of a job")
    max_parallelism: int = _setting(32, "shards of houses, and thus the highest parallelism of a job")
    state_backend: str = _setting("hashmap", "where Flink keeps state: hashmap (memory) or rocksdb (disk)")
    checkpoint_every_s: float = _setting(10.0, "time between checkpoints, in s; 0: no checkpoints")
    checkpoint_dir: str = _setting("", "folder or address of checkpoints and savepoints; empty: folders under SMW_HOME")
    stalled_s: float = _setting(
        180.0, "time, in s, that a job may stand still (nothing read or written, no checkpoint) before it is restarted; 0: no limit")
    bundle_ms: int = _setting(50, "longest time, in ms, that Flink collects messages for one Python call")
    emit_every_s: float = _setting(1.0, "time between the early results of a house, in s")
    bounded: bool = _setting(False, "read the topic to its present end and stop")

    into: str = _setting("", "name of a separate set of results: prefix of its topics, suffix of its database")
    replay_from: str = _setting("", "first local day to replay, such as 2026-11-01; empty: no replay, the topic is read from its start")
    replay_to: str = _setting("", "last local day to replay")
    replay_offsets: str = _setting(
        "", "where a replay begins in each partition, such as partition:0,offset:42;partition:1,offset:300; empty: at the first message")
    replay_house: int = _setting(0, "the house to replay; 0: all")
    replay_with_late: bool = _setting(False, "a replay uses late readings and omits bursts that begin once its last day may be closed")
    replay_archived: bool = _setting(False, "a replay reads the topic archived.readings, which ./smw replay --archive fills from files")

    max_gap_s: float = _setting(1000.0, "longest time that a reading holds, in s")
    allowed_lateness_s: float = _setting(3600.0, "time after local midnight, by the house's own clock, that a day stays open, in s")
    window_days: int = _setting(7, "local days of readings behind a threshold")
    quantile: float = _setting(0.97, "quantile of those readings that a threshold reports")
    on_watts: float = _setting(30.0, "power over which an appliance counts as on, in W")
    margin: float = _setting(1.3, "margin of an appliance's limit: its usual power when on x (1 + margin) + SMW_MIN_WATTS")
    min_watts: float = _setting(30.0, "constant added to an appliance's limit, in W")
    mains_watts: float = _setting(7000.0, "constant added to the percentile for the limit of a meter that is always on, as mains are, in W")
    hold_s: float = _setting(60.0, "how long an alert continues without a reading over the limit, in s")
    max_ahead_s: float = _setting(86400.0, "how far in the future a burst may end, in s")
    oldest_date: str = _setting("2001-01-01", "date (UTC) before which no burst may start: clocks that were never set show 1970 or 2000")

    def __post_init__(self):
        for name, instead in (
            ("clickhouse_url", "SMW_CLICKHOUSE_USER and SMW_CLICKHOUSE_PASSWORD, and SMW_CLICKHOUSE_READER and SMW_CLICKHOUSE_READER_PASSWORD"),
            ("schema_registry_url", "SMW_SCHEMA_REGISTRY_USER and SMW_SCHEMA_REGISTRY_PASSWORD"),
        ):
            if re.search("@|(password|token)=", getattr(self, name)):  # messages show the URL, so this one must not
                raise SettingsError(f"{variable(name)} takes no user and no password: set {instead}")
        for name, fits, takes in (
            ("max_gap_s", 0 < self.max_gap_s < 82_800, "more than 0 and less than 82800, the shortest day"),
            ("allowed_lateness_s", self.allowed_lateness_s >= 0, "0 or more"),
            ("emit_every_s", self.emit_every_s > 0, "more than 0"),
            ("bundle_ms", self.bundle_ms > 0, "more than 0"), ("stalled_s", self.stalled_s >= 0, "0 or more"),
            ("parallelism", 1 <= self.parallelism <= self.max_parallelism, "1 or more, up to SMW_MAX_PARALLELISM"),
            ("window_days", 1 <= self.window_days <= 366, "1 to 366"),
            ("quantile", 0 < self.quantile < 1, "more than 0 and less than 1"),
            ("margin", self.margin >= 0, "0 or more"),
            ("on_watts", self.on_watts >= 0, "0 or more"),
            ("mains_watts", self.mains_watts > 0, "more than 0"),
            ("hold_s", self.hold_s >= 0, "0 or more"),
            ("min_watts", self.min_watts > 0, "more than 0"),
            ("retention_days", 0 <= self.retention_days <= 36_500, "0 to 36500"),
            ("profile_days", 0 <= self.profile_days <= 36_500, "0 to 36500"),
            ("state_backend", self.state_backend in ("hashmap", "rocksdb"), "hashmap or rocksdb"),
            ("into", re.fullmatch(r"\w*", self.into, re.ASCII), "letters, digits and underscores"),
            ("replay_from", not self.replay_from or _is_date(self.replay_from), "a date such as 2026-11-01"),
            ("replay_to", not self.replay_from or (_is_date(self.replay_to) and self.replay_from <= self.replay_to),
             "a date that is not before SMW_REPLAY_FROM"),
            ("oldest_date", _is_date(self.oldest_date) and self.oldest_date >= "1970-01-03", "a date such as 2001-01-01, from 1970-01-03 on"),
            ("partitions", self.partitions >= 1, "1 or more"),
            ("schema_registry_url", re.match("https?://.|$", self.schema_registry_url), "an address that begins with http:// or https://"),
            ("kafka_user", not self.kafka_user or self.kafka_password, "SMW_KAFKA_PASSWORD beside it"),
            ("kafka_ca", not self.kafka_ca or self.kafka_tls, "SMW_KAFKA_TLS=true beside it"),
            ("kafka_ca", _holds_certificates(self.kafka_ca), "a PEM file of certificates that can be read"),
            ("clickhouse_ca", not self.clickhouse_ca or self.clickhouse_url.startswith("https:"),
             "an SMW_CLICKHOUSE_URL of https beside it"),
            ("clickhouse_ca", _holds_certificates(self.clickhouse_ca), "a PEM file of certificates that can be read"),
            ("replication", 0 <= self.replication < 2**15, "0 or more"),
            ("readings_retention_days", 0 <= self.readings_retention_days <= 36_500, "0 to 36500"),
            ("readings_retention_gb", 0 <= self.readings_retention_gb < 1e9, "0 or more"),
            ("clickhouse_queries", 1 <= self.clickhouse_queries <= 100, "1 to 100"),
            ("clickhouse_memory_mb", self.clickhouse_memory_mb >= 100, "100 or more"),
            ("clickhouse_insert_mb", self.clickhouse_insert_mb >= 1, "1 or more"),
            ("log_mb", self.log_mb > 0, "more than 0"),
            ("log_files", self.log_files >= 2, "2 or more"),
        ):
            if not fits:
                raise SettingsError(f"{variable(name)}={getattr(self, name)}: it takes {takes}")
        if self.kafka_password and not self.kafka_user:
            raise SettingsError("SMW_KAFKA_PASSWORD is set: it takes SMW_KAFKA_USER beside it")

    @classmethod
    def load(cls, environ=os.environ, **overrides) -> Settings:
        """The settings of this process: overrides first, then environment variables, then defaults.

        Raises SettingsError for a value of the wrong kind.
        """
        values = {}
        for item in fields(cls):
            if item.name in overrides:
                values[item.name] = overrides[item.name]
            elif not item.repr and (file := environ.get(variable(item.name) + IN_FILE)) and not environ.get(variable(item.name)):
                values[item.name] = _read_secret(variable(item.name) + IN_FILE, file)
            elif (text := environ.get(variable(item.name), environ.get(item.metadata["also"]))) is not None:
                values[item.name] = _parse(item.name, text, type(item.default))
        return cls(**values)

    @property
    def database(self) -> str:
        """The database of the tables."""
        return f"{self.clickhouse_database}_{self.into}" if self.into else self.clickhouse_database

    @property
    def standstill_s(self) -> float:
        """Time without progress after which a job stands still. An idle job completes checkpoints in it. Infinite: not watched."""
        return self.stalled_s + self.checkpoint_every_s if self.stalled_s and self.checkpoint_every_s > 0 else math.inf

    @property
    def replayed_days(self) -> range | None:
        """The local days (days since 1970-01-01) to replay; None when there is no replay."""
        if not self.replay_from:
            return None
        return range(_days_since_1970(self.replay_from), _days_since_1970(self.replay_to) + 1)

    @property
    def oldest_ms(self) -> int:
        """Event time before which no burst may start."""
        return _days_since_1970(self.oldest_date) * DAY_MS

    @property
    def replay_start_ms(self) -> int:
        """Event time, in ms, from which a replay reads, early enough to reproduce the results of its first day.

        It covers all days behind the thresholds in force on that day, and the longest burst that reaches into them.
        """
        days = self.replayed_days
        assert days, "there is no replay"
        return max(0, days[0] - self.window_days - LONGEST_BURST_DAYS - 3) * DAY_MS

    def environ(self) -> dict[str, str]:
        """These settings as environment variables, for a child process."""
        return {variable(item.name): str(getattr(self, item.name)) for item in fields(self)}

    def environ_without_secrets(self, folder: Path) -> dict[str, str]:
        """The same, with each password in a file in `folder` that only this user can read."""
        environ = self.environ()
        private_folder(folder)
        for item in fields(self):
            if not item.repr and (secret := getattr(self, item.name)):
                write_private(folder / item.name, secret)
                environ |= {variable(item.name): "", variable(item.name) + IN_FILE: str((folder / item.name).resolve())}
        return environ


def variable(name: str) -> str:
    """Name of the environment variable of a setting."""
    return "SMW_" + name.upper()


def write_private(file: Path, text: str) -> None:
    """Write a file that only this user can read."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text + "\n")


def _read_secret(name: str, file: str) -> str:
    try:
        return Path(file).read_text().removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{name}={file}: it takes a file that can be read") from None


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _days_since_1970(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


def _holds_certificates(file: str) -> bool:
    """Whether a PEM file holds usable certificate authorities; true if no file is named."""
    try:
        if file:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        return True
    except OSError:  # includes ssl's own errors
        return False


def _parse(name: str, text: str, kind: type):
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        return kind(text)
    except (KeyError, ValueError):
        takes = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise SettingsError(f"{variable(name)}={text!r}: it takes {takes}") from None
