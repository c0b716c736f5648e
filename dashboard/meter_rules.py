"""The rules of users in words, which of them holds, and how "This is normal" changes one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dashboard.pictures import lasts
from smartmeter.messages.records import NormalRecord, RuleRecord
from smartmeter.messages.rules import HOUSE, LONGEST_MINUTES, OF_DURATION, OF_LEVEL, no_rule
from smartmeter.power import MOST_WATTS
from smartmeter.settings import MINUTE_MS

AHEAD_MS = 2 * MINUTE_MS
"""A rule begins so long after it was set at least, so the jobs know it before they judge its first minute."""
LIVE_MS = 15 * MINUTE_MS
"""A house whose newest reading is older is not live: it has paused, sends history, or sends seldom."""

SENSITIVE = {
    "low": "Low sensitivity: limits are 1.5 times as high, and times twice as long.",
    "high": "High sensitivity: limits are 0.9 times as high, and times 0.75 times as long.",
}
FAULTS = {
    "muted_until": "Give a time after “valid from”.",
    "limit_watts": f"Give W, more than 0 and at most {MOST_WATTS:,.0f}.",
    "limit_minutes": f"Give 0 to {LONGEST_MINUTES:,} minutes.",
    "longest_on_minutes": f"Give 1 to {LONGEST_MINUTES:,} minutes.",
    "longest_off_minutes": f"Give 1 to {LONGEST_MINUTES:,} minutes.",
    "off_from and off_to": "Give both times, or none.",
}
"""Field, as smartmeter.messages.rules.fault_of names it -> what a user is to enter."""


def is_live(newest_ms: int | None, now_ms: int) -> bool:
    """Whether a house sends readings. newest_ms: the end of the minute of its newest reading; None: it has none."""
    return newest_ms is None or now_ms - newest_ms <= LIVE_MS


def proposed(newest_ms: int | None, now_ms: int) -> int:
    """From when on a new rule is to hold: two full minutes after now; of a house that is not live, from the minute after its newest reading."""
    if newest_ms is None or is_live(newest_ms, now_ms):
        return -(-(now_ms + AHEAD_MS) // MINUTE_MS) * MINUTE_MS
    return -(-newest_ms // MINUTE_MS) * MINUTE_MS


def own_rule(records: Iterable[RuleRecord], meter_id: int, at_ms: int) -> RuleRecord | None:
    """The rule that a meter itself has at a time; None: none, or it was withdrawn. Of records with the same valid_from, the last counts."""
    found = None
    for record in records:
        if record["meter_id"] == meter_id and record["valid_from"] <= at_ms and (not found or record["valid_from"] >= found["valid_from"]):
            found = record
    return None if found is None or found["withdrawn"] else found


def next_from(records: Iterable[RuleRecord], meter_id: int, at_ms: int) -> int | None:
    """When the rule that a meter itself has at a time is replaced or withdrawn; None: never."""
    return min(
        (record["valid_from"] for record in records if record["meter_id"] == meter_id and record["valid_from"] > at_ms), default=None
    )


def in_force(records: Iterable[RuleRecord], meter_id: int, at_ms: int) -> RuleRecord | None:
    """The rule that holds for a meter of a house at a time: its own, else one with the sensitivity of the house's rule; None: neither.

    While the house's rule mutes all of its meters, that holds as well.
    """
    records = list(records)
    if own := own_rule(records, meter_id, at_ms):
        return own
    if meter_id == HOUSE or not (of_house := own_rule(records, HOUSE, at_ms)):
        return None
    rule = no_rule(of_house["house_id"], meter_id, of_house["valid_from"], of_house["written"])
    rule["sensitivity"] = of_house["sensitivity"]
    return rule


def from_then(rule: RuleRecord, valid_from: int, author: str, written: int) -> RuleRecord:
    """A rule that holds from valid_from on with what another one sets. Times before then for which it mutes have no meaning any more."""
    muted_until = rule["muted_until"]
    return {
        **rule,
        "valid_from": valid_from,
        "muted_until": muted_until if muted_until and muted_until > valid_from else None,
        "author": author,
        "written": written,
    }


def can_be_normal(alert: Any) -> bool:
    """Whether a rule of the alert's meter can state that it was normal. alert: a row of queries.alerts."""
    return bool(alert["meter_id"] != HOUSE and alert["alert_kind"] in OF_LEVEL + OF_DURATION)


def with_normal(rule: RuleRecord, alert: Any) -> RuleRecord:
    """A rule by which such an alert (a row of queries.alerts) is normal as well.

    Alerts of its kind then open only for readings over its peak, or for a time that is longer by as long as it lasted.
    """
    kind = "level" if alert["alert_kind"] == "glitch" else str(alert["alert_kind"])
    normal: dict[str, NormalRecord] = {}
    for one in rule["normal"]:
        known = normal.get(one["kind"], one)
        normal[one["kind"]] = {
            "kind": one["kind"],
            "minutes": max(one["minutes"], known["minutes"]),
            "watts": max(one["watts"], known["watts"]),
        }
    before: NormalRecord = normal.get(kind, {"kind": kind, "minutes": 0, "watts": 0.0})
    if kind in OF_LEVEL:
        normal[kind] = {**before, "watts": min(max(before["watts"], float(alert["peak_watts"])), MOST_WATTS)}
    else:
        normal[kind] = {**before, "minutes": min(before["minutes"] + math.ceil(alert["duration_s"] / 60), LONGEST_MINUTES)}
    return {**rule, "normal": list(normal.values())}


def sentences(rule: RuleRecord | None, zone: ZoneInfo) -> list[str]:
    """What a rule does, with times in a time zone. rule None: there is none."""
    if rule is None or rule["withdrawn"]:
        return ["There is no rule."]
    found = [SENSITIVE[rule["sensitivity"]]] if rule["sensitivity"] in SENSITIVE else []
    if rule["limit_watts"] is not None:
        longer = f"longer than {lasts(rule['limit_minutes'])}" if rule["limit_minutes"] else "a minute"
        found.append(f"An alert when it is over {rule['limit_watts']:,.6g} W for {longer}.")
    if rule["longest_on_minutes"] is not None:
        found.append(f"An alert when it is on, over 30 W, for longer than {lasts(rule['longest_on_minutes'])} without a pause.")
    if rule["longest_off_minutes"] is not None:
        found.append(f"An alert when it is off for longer than {lasts(rule['longest_off_minutes'])}.")
    if rule["off_from"] is not None and rule["off_to"] is not None:
        found.append(f"An alert when it is on between {clock_of(rule['off_from']):%H:%M} and {clock_of(rule['off_to']):%H:%M}.")
    if rule["muted_until"] is not None:
        found.append(f"No alerts until {local(rule['muted_until'], zone)}.")
    return found + [normal_sentence(one) for one in rule["normal"]] or ["It changes nothing."]


def normal_sentence(one: NormalRecord) -> str:
    """What is normal, in words."""
    if one["kind"] in OF_LEVEL:
        return f"Normal: readings up to {one['watts']:,.6g} W ({one['kind']})."
    return f"Normal: {lasts(one['minutes'])} more than otherwise ({one['kind']})."


def holding(records: Iterable[RuleRecord], meter_id: int, at_ms: int, zone: ZoneInfo) -> list[str]:
    """What holds for a meter (0: the house) at a time, in sentences that also state what comes from the rule of its house."""
    records = list(records)
    own, rule, of_house = (find(records, meter, at_ms) for find, meter in ((own_rule, meter_id), (in_force, meter_id), (own_rule, HOUSE)))
    if meter_id == HOUSE or of_house is None:
        return sentences(rule, zone)
    found = sentences(own, zone)
    if own is None and rule is not None and rule["sensitivity"] in SENSITIVE:
        found.append(f"By the rule of the whole house: {SENSITIVE[rule['sensitivity']]}")
    if of_house["muted_until"] is not None and of_house["muted_until"] > at_ms:
        found.append(f"By the rule of the whole house: No alerts until {local(of_house['muted_until'], zone)}.")
    return found


def fault_in_words(fault: str) -> tuple[str, str]:
    """(field, or an empty text; what the user is to enter) of what fault_of returned."""
    field = fault.partition(":")[0]
    return (field, FAULTS[field]) if field in FAULTS else ("", fault)


def clock_of(minute: int) -> time:
    """The time of day, so many minutes after 00:00 by the clock."""
    return time(*divmod(minute, 60))


def minute_of(clock: time | None) -> int | None:
    """The minutes after 00:00 at a time of day."""
    return None if clock is None else 60 * clock.hour + clock.minute


def wall_clock(at_ms: int, zone: ZoneInfo) -> datetime:
    """What a zone's clock shows at a time, to the minute, without the zone."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    return at.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0, fold=0)


def entered(day: date, clock: time, shown_ms: int | None, zone: ZoneInfo) -> int:
    """The time (ms) that a zone's clock shows. It is shown_ms if that was offered and not changed, also when the clock shows it twice."""
    if shown_ms is not None and wall_clock(shown_ms, zone) == datetime.combine(day, clock):
        return shown_ms
    return round(datetime.combine(day, clock, zone).timestamp() * 1000)


def local(at_ms: int, zone: ZoneInfo) -> str:
    """A time as shown by a zone's clock, to the minute.

    >>> local(1_792_900_860_000, ZoneInfo("Europe/London"))
    '2026-10-25 04:41'
    """
    return f"{wall_clock(at_ms, zone):%Y-%m-%d %H:%M}"
