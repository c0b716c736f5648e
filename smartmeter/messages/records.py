"""The records of the schemas in avro/, field by field; docs there state each field's meaning and unit.

Times (ms) and dates (days), both since 1970-01-01, are plain ints. A test compares each class with its schema.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from smartmeter.arrays import Float32s, Int32s, Ints

IntColumn = list[int] | Int32s
LongColumn = list[int] | Ints
FloatColumn = list[float] | Float32s
"""Columns of the schemas that are nearly all arrays: smartmeter.messages.codec writes NumPy arrays and reads lists."""

MeterKind = Literal["mains", "appliance", "solar", "battery", "ev"]

AnyRecord = dict[str, Any]
"""A record whose schema is only known at run time."""


class ReadingBurstRecord(TypedDict):
    """A record of topic readings; see also smartmeter.messages.codec.Burst."""

    house_id: int
    timezone: str
    start: int
    end: int
    tick_ms: int
    meter_ids: IntColumn
    counts: IntColumn
    deltas: IntColumn
    watts: FloatColumn
    quantities: IntColumn
    holds_s: IntColumn
    energies: LongColumn


class MeterRecord(TypedDict):
    """A meter in a record of topic houses."""

    meter_id: int
    label: str
    kind: MeterKind
    parent: int


class HouseRecord(TypedDict):
    """A record of topic houses."""

    house_id: int
    timezone: str
    source: str
    zip: str
    city: str
    state: str
    latitude: float | None
    longitude: float | None
    population: int | None
    meters: list[MeterRecord]
    updated: int


class DailyEnergyRecord(TypedDict):
    """A record of topic daily_energy."""

    house_id: int
    meter_id: int
    date: int
    kwh: float
    readings: int
    duplicates: int
    covered_s: float
    max_gap_s: float
    day_s: int
    final: bool
    revision: int
    refused: int
    hour_starts: list[int]
    hours: list[int]
    hour_kwh: list[float]
    hour_covered_s: list[float]
    exported_kwh: float
    hour_exported_kwh: list[float]
    gaps: int
    power_kwh: float | None
    power_exported_kwh: float | None
    register_kwh: float | None
    register_exported_kwh: float | None
    register_faults: int


class MeterUsualRecord(TypedDict):
    """What is usual for a meter, in a record of topic thresholds."""

    mains: bool
    longest_run_minutes: list[int]
    longest_off_minutes: int
    longest_same_minutes: int
    longest_gap_minutes: int
    hour_watts: list[float]
    standby_watts: float | None
    dead_watts: float | None
    rare_watts: list[float]


class MeterThresholdRecord(TypedDict):
    """The threshold of a meter in a record of topic thresholds."""

    meter_id: int
    percentile_watts: float
    readings: int
    covered_s: float
    warming_up: bool
    limit_watts: float | None
    usual: MeterUsualRecord | None


class ThresholdRecord(TypedDict):
    """A record of topic thresholds: one version of a house's thresholds."""

    house_id: int
    date: int
    valid_from: int
    valid_to: int
    quantile: float
    window_days: int
    meters: list[MeterThresholdRecord]
    revision: int
    longest_silence_minutes: int | None


class AlertRecord(TypedDict):
    """A record of topic alerts."""

    alert_id: str
    house_id: int
    meter_id: int
    date: int
    start: int
    end: int
    open: bool
    retracted: bool
    readings: int
    peak_watts: float
    percentile_watts: float
    limit_watts: float
    excess_kwh: float
    revision: int
    kind: str
    severity: str
    reason: str
    ends_when: str


class PowerProfileRecord(TypedDict):
    """A record of topic power_profile; see also smartmeter.messages.codec.Profile."""

    house_id: int
    date: int
    part: int
    start: int
    meter_ids: IntColumn
    counts: IntColumn
    deltas: IntColumn
    readings: IntColumn
    min_watts: FloatColumn
    mean_watts: FloatColumn
    max_watts: FloatColumn


class AcknowledgementRecord(TypedDict):
    """A record of topic acknowledgements."""

    alert_id: str
    house_id: int
    note: str
    author: str
    withdrawn: bool
    acknowledged: int


class NormalRecord(TypedDict):
    """What was an alert and is normal, in a record of topic rules."""

    kind: str
    minutes: int
    watts: float


class RuleRecord(TypedDict):
    """A record of topic rules: what a user has set for a meter."""

    house_id: int
    meter_id: int
    valid_from: int
    withdrawn: bool
    sensitivity: str
    limit_watts: float | None
    limit_minutes: int
    longest_on_minutes: int | None
    longest_off_minutes: int | None
    off_from: int | None
    off_to: int | None
    muted_until: int | None
    normal: list[NormalRecord]
    author: str
    written: int


class NotificationRecord(TypedDict):
    """A record of topic notifications."""

    route: str
    alert_id: str
    alert: bytes
    delivered: str
    severity: str
    count: int
    delivered_at: int
    pending_since: int


class LateRecord(TypedDict):
    """A record of topic late."""

    partition: int
    offset: int
    house_id: int
    date: int
    start: int
    end: int
    readings: int
    kwh: float
    house_time: int
    reason: str


class DeadLetterRecord(TypedDict):
    """A record of topic dead_letter."""

    partition: int
    offset: int
    received: int
    reason: str
    payload: bytes


ResultRecord = DailyEnergyRecord | ThresholdRecord | AlertRecord | PowerProfileRecord | LateRecord | DeadLetterRecord
Result = tuple[str, ResultRecord]
"""(topic, record) of a result of the jobs."""
