"""What the picture of an alert shows beside the meter's power: what is usual for the meter, by the kind of the alert."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from smartmeter.messages.records import RuleRecord

KINDS = {
    "level": "readings over the meter's limit",
    "glitch": "a single reading far over the limit",
    "percentile": "readings far over the meter's percentile",
    "run": "on for longer than usual",
    "band": "at a power that the appliance seldom draws",
    "off": "off for longer than usual",
    "hour": "mains over what the house draws at this hour",
    "standby": "mains that do not fall to the house's standby",
    "dead": "mains under what the house always draws",
    "frozen": "the same reading for longer than usual",
    "silent": "no reading for longer than usual",
    "limit": "over the limit of its own rule for longer than that allows",
    "overrun": "on for longer than its own rule allows",
    "idle": "off for longer than its own rule allows",
    "schedule": "on when its own rule has it off",
}
"""Kind of alert -> what it means."""

OF_LEVEL = ("level", "glitch")
FIRST_LEVEL_WATTS = 30
"""Power of the first of a meter's levels; each has twice the power of the one before. See avro/threshold.avsc."""

BEFORE = {"hour": timedelta(hours=2), "standby": timedelta(hours=24), "dead": timedelta(hours=2)}
AROUND = timedelta(minutes=30)
"""How long before the start of an alert its picture begins at least, and how long after its end it ends."""

TIMES_USUAL = 3
"""A picture begins so many times the usual length before the start, since what lasts too long began before its alert."""

LASTS = {"run", "off", "frozen", "silent"}
ALLOWED = {"limit": "limit_minutes", "overrun": "longest_on_minutes", "idle": "longest_off_minutes"}
"""Kind of a user's own rule -> field of the rule (avro/rule.avsc) that states how long its condition may last, in minutes."""
OF_OWN_RULES = {*ALLOWED, "schedule"}
MARGIN_ABOVE = 1.1
EVER = pd.Timestamp("1970-01-01", tz="UTC"), pd.Timestamp("2200-01-01", tz="UTC")
NO_LIMITS, NO_BANDS, NO_BAR = (
    pd.DataFrame(columns=columns)
    for columns in (["valid_from", "valid_to", "watts"], ["low_watts", "high_watts", "usual"], ["start_s", "end_s", "watts"])
)


class Picture(NamedTuple):
    """What is drawn beside a power curve, and a sentence that states it."""

    limits: pd.DataFrame  # valid_from, valid_to, watts: lines
    bands: pd.DataFrame  # low_watts, high_watts, usual (bool): spans of power
    usual_bar: pd.DataFrame  # start_s, end_s (Unix times), watts: at most one bar, as long as is usual
    caption: str


def usual_minutes(alert: Any, usual: Any) -> float | None:
    """The longest that what an alert is about usually lasts, in minutes; None if the kind has none, or it is unknown.

    alert: a row of queries.alerts; usual: a row of queries.thresholds in force at its start, or None.
    """
    if usual is None or alert["alert_kind"] not in LASTS:
        return None
    if alert["alert_kind"] == "run":
        level = round(np.log2(alert["limit_watts"] / FIRST_LEVEL_WATTS)) if alert["limit_watts"] > 0 else -1
        runs = usual["longest_run_minutes"]
        return float(runs[level]) if 0 <= level < len(runs) else None
    silence = "longest_silence_minutes" if alert["meter_id"] == 0 else "longest_gap_minutes"
    minutes = usual[{"off": "longest_off_minutes", "frozen": "longest_same_minutes", "silent": silence}[alert["alert_kind"]]]
    return None if pd.isna(minutes) else float(minutes)


def allowed_minutes(alert: Any, rule: RuleRecord | None) -> float | None:
    """How long the rule of its meter (that in force at its start) allows what an alert is about, in minutes; None if it states no time."""
    minutes = rule[ALLOWED[alert["alert_kind"]]] if rule and alert["alert_kind"] in ALLOWED else None  # type: ignore[literal-required]
    return float(minutes) if minutes else None


def begins(alert: Any, minutes: float | None) -> datetime:
    """When the picture of an alert begins. minutes: of usual_minutes or allowed_minutes."""
    before: timedelta = max(BEFORE.get(alert["alert_kind"], AROUND), TIMES_USUAL * timedelta(minutes=minutes or 0) + AROUND)
    if alert["alert_kind"] in LASTS | OF_OWN_RULES:
        before += timedelta(hours=1)
    start: datetime = alert["start"] - before
    return start


def picture(alert: Any, power: pd.DataFrame, usual: Any, versions: pd.DataFrame, zone: ZoneInfo, rule: RuleRecord | None = None) -> Picture:
    """The picture of an alert of duration.

    power: of queries.power, that of the meter; versions: of queries.thresholds, those in the picture; usual: see usual_minutes;
    rule: see allowed_minutes.
    """
    kind, limits, bands, bar = alert["alert_kind"], NO_LIMITS, NO_BANDS, NO_BAR
    if kind == "hour":
        limits = hourly_limits(versions, zone)
    elif alert["limit_watts"] > 0:
        limits = pd.DataFrame({"valid_from": [EVER[0]], "valid_to": [EVER[1]], "watts": [float(alert["limit_watts"])]})
    if kind == "band" and usual is not None:
        bands = spans_of_power(usual["rare_watts"], MARGIN_ABOVE * max(power["max_watts"].max(), alert["peak_watts"]))
    minutes = allowed_minutes(alert, rule) if kind in OF_OWN_RULES else usual_minutes(alert, usual)
    if minutes is not None:
        begun_s, before = begun(alert, power), power[power["start_s"] <= alert["start"].timestamp()]
        watts = before["max_watts"].iloc[-1] if kind == "frozen" and len(before) else alert["limit_watts"]
        bar = pd.DataFrame({"start_s": [begun_s], "end_s": [begun_s + 60 * minutes], "watts": [float(watts)]})
    return Picture(limits, bands, bar, caption(alert, minutes, known=usual is not None))


def beside(power: pd.DataFrame, meter_id: int) -> pd.DataFrame:
    """The part of a meter's power that none of the others in queries.power draws, with the same columns; no step that lacks a meter. As in
    the rule of kind hour, what solar feeds counts as nothing.
    """
    by_step = power.pivot(index="start_s", columns="meter_id", values=["min_watts", "mean_watts", "max_watts"]).dropna()
    rest = {
        name: (by_step[name][meter_id] - by_step[of_others].drop(columns=meter_id).clip(lower=0).sum(axis=1)).clip(lower=0)
        for name, of_others in (("min_watts", "max_watts"), ("mean_watts", "mean_watts"), ("max_watts", "min_watts"))
    }
    return pd.DataFrame(rest).reset_index()


def of_house(power: pd.DataFrame) -> pd.DataFrame:
    """The power of several meters (queries.power) in sum."""
    return power.groupby("start_s", as_index=False)[["min_watts", "mean_watts", "max_watts"]].sum()


def hourly_limits(versions: pd.DataFrame, zone: ZoneInfo) -> pd.DataFrame:
    """The limit of each hour since midnight (valid_from, valid_to, watts) on the days in which the versions are in force: at most three each."""
    rows = []
    for version in versions.itertuples():
        if not len(version.hour_watts):
            continue
        day = version.valid_to.astimezone(zone).date()
        for midnight, following in ((day + timedelta(days=n), day + timedelta(days=n + 1)) for n in (-2, -1, 0)):
            at, end = (pd.Timestamp(datetime.combine(date, time(), zone)).tz_convert("UTC") for date in (midnight, following))
            starts = pd.date_range(at, end, freq="h", inclusive="left")
            for hour, start in enumerate(starts):
                valid_from, valid_to = max(start, version.valid_from), min(start + timedelta(hours=1), end, version.valid_to)
                if valid_from < valid_to:
                    rows.append((valid_from, valid_to, float(version.hour_watts[min(hour, len(version.hour_watts) - 1)])))
    return pd.DataFrame(rows, columns=NO_LIMITS.columns)


def spans_of_power(rare_watts: Any, top_watts: float) -> pd.DataFrame:
    """The spans of power (low_watts, high_watts, usual) from 0 to top_watts: those that are rare (from, to, from, to), and those between."""
    edges = np.clip([0.0, *rare_watts, top_watts], 0, top_watts)
    spans = pd.DataFrame({"low_watts": edges[:-1], "high_watts": edges[1:], "usual": np.arange(len(edges) - 1) % 2 == 0})
    return spans[spans["low_watts"] < spans["high_watts"]].reset_index(drop=True)


def begun(alert: Any, power: pd.DataFrame) -> float:
    """The Unix time at which what lasts too long began, as the power (queries.power) before the start of the alert shows it."""
    start_s = alert["start"].timestamp()
    before = power[power["start_s"] <= start_s]
    if before.empty:
        return float(start_s)
    if alert["alert_kind"] == "silent":
        return float(min(before["start_s"].iloc[-1] + 60, start_s))
    if alert["alert_kind"] == "frozen":
        holds = (before["min_watts"] == before["max_watts"]) & (before["max_watts"] == before["max_watts"].iloc[-1])
    elif alert["alert_kind"] in ("off", "idle"):
        holds = before["max_watts"] <= alert["limit_watts"]
    else:
        holds = before["min_watts"] > alert["limit_watts"]
    since = before["start_s"][::-1][holds[::-1].cummin()]
    return float(since.iloc[-1]) if len(since) else float(start_s)


def caption(alert: Any, minutes: float | None, known: bool) -> str:
    """What the picture of an alert shows, in sentences. known: whether what is usual for the meter at that time is stored."""
    watts, bar = f"{alert['limit_watts']:,.0f} W", ""
    if minutes is not None:
        length = "its rule allows" if alert["alert_kind"] in OF_OWN_RULES else "that usually lasts at most"
        bar = f" The green bar is as long as {length}, {lasts(minutes)}, from the time when it began."
    shown = {
        "percentile": f"The dashed line is {watts}: the meter's percentile, and SMW_PERCENTILE_WATTS.",
        "run": f"The dashed line is the power, {watts}, that the meter stays over.{bar}",
        "off": f"The dashed line is the power, {watts}, up to which the meter is off.{bar}",
        "frozen": f"All readings of the alert are equal.{bar}",
        "silent": f"There is no reading during the alert.{bar}",
        "band": "Green: powers that the meter usually draws. Grey with a dashed outline: those that it seldom draws.",
        "hour": "The curve is what no other meter of the house measures. The dashed line is the most that it usually is, hour by hour.",
        "standby": f"The dashed line is the power, {watts}, that the house usually falls to within a day.",
        "dead": f"The dashed line is the power, {watts}, that the house always draws more than.",
        "limit": f"The dashed line is the limit of its own rule, {watts}.{bar}",
        "overrun": f"The dashed line is the power, {watts}, over which the meter is on.{bar}",
        "idle": f"The dashed line is the power, {watts}, up to which the meter is off.{bar}",
        "schedule": f"The dashed line is the power, {watts}, over which the meter is on.",
    }.get(alert["alert_kind"], "")
    if alert["alert_kind"] in OF_LEVEL:
        shown = "Yellow band: from the percentile to the limit (dashed), over which a reading is a spike."
    elif not known and alert["alert_kind"] in LASTS | {"band", "hour"}:
        shown += " What is usual for the meter at that time is not stored."
    return f"Blue: mean power, from the lowest to the highest reading. {shown} Red: the alert."


def lasts(minutes: float) -> str:
    """A number of minutes in words.

    >>> lasts(8), lasts(60), lasts(114)
    ('8 min', '1 h', '1 h 54 min')
    """
    hours, left = divmod(round(minutes), 60)
    return " ".join(filter(None, (f"{hours} h" if hours else "", f"{left} min" if left or not hours else "")))
