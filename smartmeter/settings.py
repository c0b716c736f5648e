"""Settings of every part, in groups. Each is an environment variable that begins with SMW_."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

from smartmeter.folders import private_folder
from smartmeter.variables import IN_FILE, Check, Group, Item, above, at_least, secret, setting, within

MINUTE_MS = 60_000
DAY_MS = 86_400_000
LONGEST_BURST_DAYS = 7
LONGEST_HOLD_S = 90_000
"""Longest time that a reading may hold, whatever its burst has: the longest day."""
"""The longest span of a burst. It limits the cost of one message, and how far back a replay reads."""
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

DAYS_KEPT = within(0, 36_500)


def is_date(text: str) -> bool:
    """Whether a text is a date such as 2026-11-01."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def days_since_1970(text: str) -> int:
    """The number of a date, such as 2026-11-01."""
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


def without_password(instead: str) -> Check:
    """The check of an address that messages show, so it must not contain a password. instead: what to set."""
    return Check(lambda url, _: not re.search("@|(password|token)=", url), f"no user and no password: set {instead}", shown=False)


@dataclass(frozen=True)
class Kafka(Group):
    """The Kafka cluster, its topics, and the local broker."""

    address: str = setting("SMW_KAFKA", "127.0.0.1:9092", "bootstrap servers of the Kafka cluster")
    tls: bool = setting("SMW_KAFKA_TLS", False, "connect to Kafka with TLS")
    ca: str = setting(
        "SMW_KAFKA_CA",
        "",
        "PEM file of the certificate authorities trusted for Kafka; empty: the system's",
        Check(lambda ca, kafka: not ca or kafka.tls, "SMW_KAFKA_TLS=true beside it"),
    )
    user: str = setting(
        "SMW_KAFKA_USER",
        "",
        "user for Kafka, with SASL/SCRAM-SHA-512; empty: no user",
        Check(lambda user, kafka: not user or kafka.password, "SMW_KAFKA_PASSWORD beside it"),
    )
    password: str = secret(
        "SMW_KAFKA_PASSWORD", "password of that user", Check(lambda password, kafka: not password or kafka.user, "SMW_KAFKA_USER beside it")
    )
    controller_port: int = setting("SMW_KAFKA_CONTROLLER_PORT", 9093, "port of the local broker's KRaft controller")
    partitions: int = setting("SMW_PARTITIONS", 4, "partitions of a new topic", at_least(1))
    replication: int = setting(
        "SMW_REPLICATION",
        0,
        "copies of a new topic; with 3, one may be missing; 0: the cluster's default",
        Check(lambda copies, _: 0 <= copies < 2**15, "0 or more"),
    )
    readings_retention_days: int = setting(
        "SMW_READINGS_RETENTION_DAYS",
        0,
        "days after which readings leave Kafka, by their own time, so older history leaves as soon as it arrives; 0: never",
        DAYS_KEPT,
    )
    readings_retention_gb: float = setting(
        "SMW_READINGS_RETENTION_GB",
        0.0,
        "size, in GB, over which the oldest readings leave Kafka; 0: no limit",
        Check(lambda size, _: 0 <= size < 1e9, "0 or more"),
    )
    topic_prefix: str = setting("SMW_TOPIC_PREFIX", "", "prefix of every topic's name")


@dataclass(frozen=True)
class Registry(Group):
    """The schema registry."""

    url: str = setting(
        "SMW_SCHEMA_REGISTRY_URL",
        "",
        "address of a schema registry with an API like Confluent's; empty: none, messages use single-object framing",
        without_password("SMW_SCHEMA_REGISTRY_USER and SMW_SCHEMA_REGISTRY_PASSWORD"),
        Check(lambda url, _: re.match("https?://.|$", url), "an address that begins with http:// or https://"),
        also="SCHEMA_REGISTRY_URL",
    )
    user: str = setting("SMW_SCHEMA_REGISTRY_USER", "", "user for the schema registry; empty: no user")
    password: str = secret("SMW_SCHEMA_REGISTRY_PASSWORD", "password of that user")
    ca: str = setting("SMW_SCHEMA_REGISTRY_CA", "", "PEM file of the certificate authorities trusted for the registry; empty: the system's")


@dataclass(frozen=True)
class ClickHouse(Group):
    """ClickHouse or the local endpoint, its users and tables, and the sink that fills them."""

    url: str = setting(
        "SMW_CLICKHOUSE_URL",
        "http://127.0.0.1:8123",
        "HTTP address of ClickHouse, or of the local endpoint",
        without_password("SMW_CLICKHOUSE_USER and SMW_CLICKHOUSE_PASSWORD, and SMW_CLICKHOUSE_READER and SMW_CLICKHOUSE_READER_PASSWORD"),
    )
    ca: str = setting(
        "SMW_CLICKHOUSE_CA",
        "",
        "PEM file of the certificate authorities trusted for ClickHouse; empty: the system's",
        Check(lambda ca, clickhouse: not ca or clickhouse.url.startswith("https:"), "an SMW_CLICKHOUSE_URL of https beside it"),
    )
    certificate: str = setting(
        "SMW_CLICKHOUSE_CERTIFICATE", "", "PEM file of the local endpoint's certificate, if SMW_CLICKHOUSE_URL is https"
    )
    key: str = setting("SMW_CLICKHOUSE_KEY", "", "PEM file of that certificate's key")
    database: str = setting("SMW_CLICKHOUSE_DATABASE", "smartmeter", "database of the tables")
    cluster: str = setting(
        "SMW_CLICKHOUSE_CLUSTER",
        "",
        "cluster of ClickHouse servers over which the tables are spread, by its name in remote_servers; empty: the tables are on one server",
    )
    user: str = setting("SMW_CLICKHOUSE_USER", "writer", "user that creates tables and inserts")
    password: str = secret("SMW_CLICKHOUSE_PASSWORD", "password of that user; the local endpoint generates one and keeps it in SMW_HOME")
    reader: str = setting("SMW_CLICKHOUSE_READER", "reader", "read-only user of the dashboard and of ./smw sql")
    reader_password: str = secret("SMW_CLICKHOUSE_READER_PASSWORD", "password of the read-only user")
    queries: int = setting(
        "SMW_CLICKHOUSE_QUERIES", 4, "queries of one user that the local endpoint runs at a time; others wait up to 10 s", within(1, 100)
    )
    memory_mb: int = setting(
        "SMW_CLICKHOUSE_MEMORY_MB",
        2000,
        "memory, in MB, of the read-only user's queries at the local endpoint, shared equally",
        at_least(100),
    )
    insert_mb: int = setting(
        "SMW_CLICKHOUSE_INSERT_MB", 512, "largest request of the writer at the local endpoint, in MB, unpacked", at_least(1)
    )
    retention_days: int = setting("SMW_RETENTION_DAYS", 0, "days after which results leave the tables; 0: never", DAYS_KEPT)
    profile_days: int = setting("SMW_PROFILE_DAYS", 0, "days after which the power profile leaves the tables; 0: never", DAYS_KEPT)
    batch_rows: int = setting("SMW_SINK_BATCH_ROWS", 100_000, "most rows in one insert of the sink")
    batch_s: float = setting("SMW_SINK_BATCH_S", 0.5, "longest time, in s, that a row waits for its batch in the sink")


@dataclass(frozen=True)
class Dashboard(Group):
    """The dashboard."""

    address: str = setting(
        "SMW_DASHBOARD_ADDRESS", "127.0.0.1", "address that the dashboard listens at; 0.0.0.0: other machines can reach it"
    )
    port: int = setting("SMW_DASHBOARD_PORT", 8501, "port of the dashboard")
    live_demo: str = setting(
        "SMW_LIVE_DEMO",
        "",
        "address of the MQTT broker of ./smw demo --live, which sets it; the page Alerts then has a button that makes a spike",
        Check(lambda address, _: re.fullmatch(r"|.+:\d+", address), "host:port"),
    )


@dataclass(frozen=True)
class Flink(Group):
    """How Flink runs the jobs."""

    ui_port: int = setting("SMW_FLINK_UI_PORT", 8081, "port of Flink's web page")
    parallelism: int = setting(
        "SMW_PARALLELISM",
        2,
        "parallelism of a job",
        Check(lambda parallelism, flink: 1 <= parallelism <= flink.max_parallelism, "1 or more, up to SMW_MAX_PARALLELISM"),
    )
    max_parallelism: int = setting("SMW_MAX_PARALLELISM", 32, "shards of houses, and thus the highest parallelism of a job")
    state_backend: str = setting(
        "SMW_STATE_BACKEND",
        "hashmap",
        "where Flink keeps state: hashmap (memory) or rocksdb (disk)",
        Check(lambda name, _: name in ("hashmap", "rocksdb"), "hashmap or rocksdb"),
    )
    checkpoint_every_s: float = setting("SMW_CHECKPOINT_EVERY_S", 10.0, "time between checkpoints, in s; 0: no checkpoints")
    checkpoint_dir: str = setting(
        "SMW_CHECKPOINT_DIR", "", "folder or address of checkpoints and savepoints; empty: folders under SMW_HOME"
    )
    stalled_s: float = setting(
        "SMW_STALLED_S",
        180.0,
        "time, in s, that a job may stand still (nothing read or written, no checkpoint) before it is restarted; 0: no limit",
        at_least(0),
    )
    state_memory_mb: float = setting(
        "SMW_STATE_MEMORY_MB", 256.0, "most memory, in MB, in which a Python worker keeps the state of houses", at_least(0)
    )
    bundle_ms: int = setting("SMW_BUNDLE_MS", 50, "longest time, in ms, that Flink collects messages for one Python call", above(0))
    emit_every_s: float = setting("SMW_EMIT_EVERY_S", 1.0, "time between the early results of a house, in s", above(0))

    @property
    def standstill_s(self) -> float:
        """Time without progress after which a job stands still. An idle job completes checkpoints in it. Infinite: not watched."""
        return self.stalled_s + self.checkpoint_every_s if self.stalled_s and self.checkpoint_every_s > 0 else math.inf


@dataclass(frozen=True)
class Rules(Group):
    """What the jobs compute."""

    max_gap_s: float = setting(
        "SMW_MAX_GAP_S",
        1000.0,
        "longest time that a reading holds, in s",
        Check(lambda gap_s, _: 0 < gap_s < 82_800, "more than 0 and less than 82800, the shortest day"),
    )
    allowed_lateness_s: float = setting(
        "SMW_ALLOWED_LATENESS_S", 3600.0, "time after local midnight, by the house's own clock, that a day stays open, in s", at_least(0)
    )
    window_days: int = setting("SMW_WINDOW_DAYS", 7, "local days of readings behind the percentile of a threshold", within(1, 366))
    limit_days: int = setting(
        "SMW_LIMIT_DAYS",
        28,
        "local days whose peaks make a meter's limit",
        Check(lambda days, rules: rules.window_days <= days <= 366, "a number from SMW_WINDOW_DAYS to 366"),
    )
    usual_days: int = setting(
        "SMW_USUAL_DAYS",
        7,
        "local days with readings, of those SMW_LIMIT_DAYS, that show how long a meter usually does something; with fewer, no alerts of it",
        at_least(2),
    )
    quantile: float = setting(
        "SMW_QUANTILE",
        0.97,
        "quantile of those readings that a threshold reports",
        Check(lambda quantile, _: 0 < quantile < 1, "more than 0 and less than 1"),
    )
    on_watts: float = setting("SMW_ON_WATTS", 30.0, "power over which an appliance counts as on, in W", at_least(0))
    margin: float = setting(
        "SMW_MARGIN", 0.15, "margin of a meter's limit: its second-highest daily peak x (1 + margin) + SMW_MIN_WATTS", at_least(0)
    )
    min_watts: float = setting("SMW_MIN_WATTS", 30.0, "constant added to a meter's limit, in W", above(0))
    mains_watts: float = setting(
        "SMW_MAINS_WATTS",
        3000.0,
        "constant added, in place of SMW_MIN_WATTS, to the limit of mains, in W; the lowest limit of an appliance that is seldom on",
        above(0),
    )
    percentile_watts: float = setting(
        "SMW_PERCENTILE_WATTS",
        0.0,
        "power over a meter's percentile from which readings are an alert of kind percentile, in W; 0: none",
        at_least(0),
    )
    glitch_energy: bool = setting(
        "SMW_GLITCH_ENERGY",
        True,
        "whether glitches (single readings of twice their meter's limit) count in energy; without them, the job is pipeline",
    )
    hold_s: float = setting("SMW_HOLD_S", 60.0, "how long an alert continues without a reading over the limit, in s", at_least(0))
    max_connection_kw: float = setting(
        "SMW_MAX_CONNECTION_KW",
        100.0,
        "power that a house's connection can deliver, in kW; the difference of a register that takes more does not count",
        Check(lambda power_kw, _: 0 < power_kw <= 100_000, "more than 0, up to 100000"),
    )
    max_ahead_s: float = setting("SMW_MAX_AHEAD_S", 86400.0, "how far in the future a burst may end, in s")
    max_jump_s: float = setting(
        "SMW_MAX_JUMP_S",
        3600.0,
        "how far ahead of its house's time a burst may start, in s, before a later one confirms it; 0: no limit",
        at_least(0),
    )
    oldest_date: str = setting(
        "SMW_OLDEST_DATE",
        "2001-01-01",
        "date (UTC) before which no burst may start: clocks that were never set show 1970 or 2000",
        Check(lambda text, _: is_date(text) and text >= "1970-01-03", "a date such as 2001-01-01, from 1970-01-03 on"),
    )

    @property
    def oldest_ms(self) -> int:
        """Event time before which no burst may start."""
        return days_since_1970(self.oldest_date) * DAY_MS


@dataclass(frozen=True)
class Notify(Group):
    """Who is notified of alerts."""

    routes: str = setting("SMW_NOTIFY_ROUTES", "", "file of the routes of ./smw notify (TOML); empty: nobody is notified")
    max_age_s: float = setting("SMW_NOTIFY_MAX_AGE_S", 86400.0, "time after its end for which an alert is news, in s", above(0))
    metrics_port: int = setting("SMW_NOTIFY_METRICS_PORT", 9251, "port of the metrics of ./smw notify; 0: none")


@dataclass(frozen=True)
class Gateway(Group):
    """Readings that come by MQTT or HTTP."""

    config: str = setting("SMW_GATEWAY_CONFIG", "", "file of the meters of ./smw gateway (YAML); empty: no gateway")
    spool: str = setting("SMW_GATEWAY_SPOOL", "", "folder for readings that Kafka does not have yet; empty: SMW_HOME/gateway")
    spool_mb: float = setting("SMW_GATEWAY_SPOOL_MB", 256.0, "size of that folder, in MB (some 20,000 readings each)", above(0))
    http_port: int = setting("SMW_GATEWAY_HTTP_PORT", 8480, "port at which ./smw gateway takes readings by HTTP, if its file has http")
    metrics_port: int = setting("SMW_GATEWAY_METRICS_PORT", 9252, "port of the metrics of ./smw gateway; 0: none")


@dataclass(frozen=True)
class Stack(Group):
    """The processes on this machine: their data, logs and metrics, and who may reach what they serve."""

    home: Path = setting("SMW_HOME", USER_FOLDER if INSTALLED else ROOT / ".smw", "folder for data, logs and pid files of the local stack")
    log_mb: float = setting("SMW_LOG_MB", 10.0, "size, in MB, at which a log of the local stack continues in a new file", above(0))
    log_files: int = setting("SMW_LOG_FILES", 5, "files kept of each log, including the current one", at_least(2))
    metrics_address: str = setting("SMW_METRICS_ADDRESS", "127.0.0.1", "address at which metrics are served for Prometheus")
    flink_metrics_port: int = setting("SMW_FLINK_METRICS_PORT", 9249, "port of the metrics of the local stack's Flink; 0: none")
    sink_metrics_port: int = setting("SMW_SINK_METRICS_PORT", 9250, "port of the sink's metrics; 0: none")
    allowed_hosts: str = setting(
        "SMW_ALLOWED_HOSTS",
        "",
        "additional host names of endpoint, dashboard and metrics, such as a proxy's, separated by commas; others are refused",
    )
    allowed_origins: str = setting(
        "SMW_ALLOWED_ORIGINS",
        "",
        "origins whose pages may send them requests from a browser, such as https://play.example, separated by commas; *: all",
    )


@dataclass(frozen=True)
class Settings:
    """All settings: Settings.load() reads the environment, Settings() has the defaults, and `but` varies either."""

    kafka: Kafka = Kafka()
    registry: Registry = Registry()
    clickhouse: ClickHouse = ClickHouse()
    dashboard: Dashboard = Dashboard()
    flink: Flink = Flink()
    rules: Rules = Rules()
    notify: Notify = Notify()
    gateway: Gateway = Gateway()
    stack: Stack = Stack()

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """The settings of this process: environment variables, else defaults. Raises SettingsError."""
        return cls(
            Kafka.load(environ),
            Registry.load(environ),
            ClickHouse.load(environ),
            Dashboard.load(environ),
            Flink.load(environ),
            Rules.load(environ),
            Notify.load(environ),
            Gateway.load(environ),
            Stack.load(environ),
        )

    def but(self, **changes: Any) -> Settings:
        """These settings with some changed, each named like its variable: but(topic_prefix="x") for SMW_TOPIC_PREFIX.

        Raises SettingsError, and TypeError if there is no such setting.
        """
        changed: dict[str, Any] = {}
        for part in fields(self):
            group: Group = getattr(self, part.name)
            own = {item.field: changes.pop(item.variable.key) for item in group.items() if item.variable.key in changes}
            changed[part.name] = replace(group, **own)
        if changes:
            raise TypeError(f"there is no setting {', '.join(changes)}")
        return replace(self, **changed)

    def items(self) -> Iterator[Item]:
        """Every setting and its value."""
        for part in fields(self):
            yield from getattr(self, part.name).items()

    def environ(self) -> dict[str, str]:
        """These settings as environment variables, for a child process."""
        return {item.variable.name: str(item.value) for item in self.items()}

    def environ_without_secrets(self, folder: Path) -> dict[str, str]:
        """The same, with each password in a file in `folder` that only this user can read."""
        environ = self.environ()
        private_folder(folder)
        for variable in (item.variable for item in self.items() if item.is_secret and item.value):
            file = folder / variable.key
            write_private(file, environ[variable.name])
            environ |= {variable.name: "", variable.name + IN_FILE: str(file.resolve())}
        return environ


def write_private(file: Path, text: str) -> None:
    """Write a file that only this user can read."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text + "\n")
