"""The consumers (each job, a replay, the sink), their consumer groups, and the topics that each reads.

The jobs, `./smw status` and the dashboard all use these lists, so a lag is the same figure everywhere.
"""

from __future__ import annotations

from smartmeter.kafka.offsets import Lags
from smartmeter.messages.topics import topic
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings

JOBS = {
    "pipeline": ("readings",),
    "daily_energy": ("readings",),
    "thresholds": ("readings",),
    "spikes": ("readings", "thresholds"),
    "power_profile": ("readings",),
}
"""Job, by its name in Flink -> the topics that it reads."""

REPLAY = "replay"
ARCHIVE = "archive"
SINK = "smw-sink"
STORED = ("houses", "daily_energy", "thresholds", "alerts", "acknowledgements", "rules", "power_profile", "late", "dead_letter")
"""The topics that the sink reads."""
NOTIFY = "smw-notify"
NOTIFIED_OF = ("houses", "notifications", "alerts")
"""The topics that ./smw notify reads: all of the first two at each start, and of the last what it has not read yet."""

HOME = "smw-home-assistant"
SHOWN_AT_HOME = ("houses", "daily_energy", "alerts")
"""The topics that ./smw notify reads for Home Assistant, from their beginning at each start."""


def group_of(settings: Settings, consumer: str) -> str:
    """The consumer group of a job, a replay or an archive run."""
    return settings.kafka.topic_prefix + consumer


def sink_group(settings: Settings, run: Run = LIVE) -> str:
    """The sink's consumer group; one for each set of results."""
    return topic(settings, f"{run.into}.{SINK}" if run.into else SINK)


def notify_group(settings: Settings) -> str:
    """The consumer group of ./smw notify."""
    return topic(settings, NOTIFY)


def home_group(settings: Settings) -> str:
    """The consumer group of ./smw notify for Home Assistant."""
    return topic(settings, HOME)


class ConsumerLags:
    """The lag of each job, a replay and the sink. Create it once and query it repeatedly."""

    def __init__(self, settings: Settings):
        topics_of = JOBS | {REPLAY: ("readings",)}
        self._names = {group_of(settings, consumer): consumer for consumer in topics_of} | {sink_group(settings): "sink"}
        full_names = {group_of(settings, consumer): tuple(topic(settings, name) for name in names) for consumer, names in topics_of.items()}
        self._lags = Lags(settings, full_names | {sink_group(settings): tuple(topic(settings, name) for name in STORED)})

    def by_name(self, timeout_s: float) -> dict[str, int | None]:
        """Messages that each consumer has not committed; None if it has committed nothing. Raises UserError if Kafka cannot be used."""
        return {self._names[group_id]: lag for group_id, lag in self._lags.by_group(timeout_s).items()}
