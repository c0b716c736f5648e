"""The jobs' own operator and stages over the days of a house, with a dictionary in place of Flink's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pyflink.common import Row

from bench.watching.scores import Alert
from generator.bursts import bursts_of_day
from generator.houses import House, HouseDay
from jobs import spikes
from jobs.core.batches import house_batches
from jobs.core.kinds import NO_KINDS, MeterKinds
from jobs.core.readings import read
from jobs.core.user_rules import UserRules
from jobs.core.watch import Watch
from jobs.flink.operator import Houses
from jobs.flink.outside import Outside
from jobs.flink.sources import ForAll
from jobs.thresholds import Thresholds
from jobs.warm_up import Flink
from smartmeter.messages.codec import decode_as, encode_burst
from smartmeter.messages.records import AlertRecord
from smartmeter.messages.rules import HOUSE, no_rule
from smartmeter.settings import Settings

BURST_S = 25 * 3600
"""The longest local day."""

ONE_SHARD = 1
ANY_TIME_MS = 2**60
State = Mapping[str, bytes]
"""All that the jobs know of a house."""

UNSEEN: State = {}
"""That of an unseen house."""


def alert_of(record: AlertRecord) -> Alert:
    """An alert as it is scored. The first reading over the limit opens it."""
    return Alert(record["kind"], record["meter_id"], record["start"], record["end"], record["start"])


def rules_with(sensitivity: str) -> UserRules:
    """The rules of a house that has had a sensitivity from the beginning of time."""
    rule = no_rule(0, HOUSE, 0, 0)
    rule["sensitivity"] = sensitivity
    return UserRules.of([rule])


class Core:
    """The operator. One serves all houses."""

    def __init__(self, settings: Settings, burst_s: int = BURST_S, sensitivity: str = "normal"):
        rules = Settings(rules=settings.rules)  # without the user's registry and prefix of topics
        stages = [Thresholds(rules), *spikes.stages(rules), Watch(rules)]
        self._kinds = ForAll(NO_KINDS)
        self._houses = Houses(rules, stages, outside=Outside(ForAll(rules_with(sensitivity)), self._kinds))
        self._burst_s = burst_s

    def take(self, house: House, day: HouseDay, state: State) -> tuple[list[AlertRecord], State]:
        """Process a day of a house in one batch. Returns (alerts in the order in which they were sent, the new state)."""
        self._kinds.value = MeterKinds.of(house.record()["meters"])
        flink: Any = Flink(state)
        self._houses.open(flink)
        messages = [encode_burst(burst) for burst in bursts_of_day(house, day, self._burst_s)]
        readings, reasons = read(messages, ANY_TIME_MS, ONE_SHARD)
        if reasons:
            raise RuntimeError(f"{house.source}, {day.date}: {next(iter(reasons.values()))}")
        places = np.zeros(len(messages), np.int64), np.arange(len(messages))
        batches = house_batches(readings, *places, self._houses.rules.max_sample_period_ms, self._houses.wanted)
        alerts = []
        for _, body in batches.by_shard(ONE_SHARD):
            for topic, _, value in self._houses.process_element(Row(body, None), flink):
                if topic == "dead_letter":
                    raise RuntimeError(f"{house.source}, {day.date}: {decode_as('dead_letter', value)['reason']}")
                if topic == "alerts":
                    alerts.append(decode_as("alert", value))
        return alerts, flink
