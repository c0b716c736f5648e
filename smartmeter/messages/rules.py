"""The rules of users (topic rules): what a record may say, and the record of a meter without one. docs/rules.md states what each field does."""

from __future__ import annotations

from math import isfinite

from smartmeter.messages.records import RuleRecord
from smartmeter.power import MOST_WATTS
from smartmeter.settings import MINUTE_MS

SENSITIVITIES = ("low", "normal", "high")
OF_LEVEL = ("level", "glitch", "percentile")
OF_DURATION = ("run", "band", "off", "hour", "standby", "dead", "frozen", "silent")
"""The kinds of alerts that a user can call normal: a power, and a time."""

HOUSE = 0
"""The meter_id of a rule of a whole house."""

DAY_MINUTES = 1440
LONGEST_MINUTES = 28 * DAY_MINUTES
MOST_NORMAL = len(OF_LEVEL) + len(OF_DURATION)


def no_rule(house_id: int, meter_id: int, valid_from: int, written: int) -> RuleRecord:
    """A rule that changes nothing, from valid_from on; both times in ms."""
    return {
        "house_id": house_id,
        "meter_id": meter_id,
        "valid_from": valid_from,
        "withdrawn": False,
        "sensitivity": "normal",
        "limit_watts": None,
        "limit_minutes": 0,
        "longest_on_minutes": None,
        "longest_off_minutes": None,
        "off_from": None,
        "off_to": None,
        "muted_until": None,
        "normal": [],
        "author": "",
        "written": written,
    }


def fault_of(rule: RuleRecord) -> str | None:
    """What is wrong with a rule, in a sentence that states what it takes; None: it can be used."""
    if rule["house_id"] < 0 or rule["meter_id"] < 0:
        return "house and meter: give numbers from 0"
    if rule["valid_from"] % MINUTE_MS:
        return "valid_from: give the start of a minute"
    if rule["withdrawn"]:
        return None
    return _fault_of_fields(rule) or (_fault_of_house(rule) if rule["meter_id"] == HOUSE else None)


def _fault_of_fields(rule: RuleRecord) -> str | None:
    if rule["sensitivity"] not in SENSITIVITIES:
        return f"sensitivity: give {', '.join(SENSITIVITIES)}"
    if not _is_power(rule["limit_watts"]):
        return f"limit_watts: give W, more than 0 and at most {MOST_WATTS:,.0f}"
    if not 0 <= rule["limit_minutes"] <= LONGEST_MINUTES:
        return f"limit_minutes: give 0 to {LONGEST_MINUTES:,}"
    for name, minutes in (("longest_on_minutes", rule["longest_on_minutes"]), ("longest_off_minutes", rule["longest_off_minutes"])):
        if minutes is not None and not 1 <= minutes <= LONGEST_MINUTES:
            return f"{name}: give 1 to {LONGEST_MINUTES:,}"
    hours = rule["off_from"], rule["off_to"]
    if hours != (None, None) and not all(minute is not None and 0 <= minute < DAY_MINUTES for minute in hours):
        return "off_from and off_to: give both, in minutes of the day, 0 to 1439"
    if rule["muted_until"] is not None and rule["muted_until"] <= rule["valid_from"]:
        return "muted_until: give a time after valid_from"
    return _fault_of_normal(rule)


def _fault_of_normal(rule: RuleRecord) -> str | None:
    if len(rule["normal"]) > MOST_NORMAL:
        return f"normal: give {MOST_NORMAL} kinds at most"
    for one in rule["normal"]:
        if one["kind"] not in OF_LEVEL + OF_DURATION:
            return f"normal: give kinds of {', '.join(OF_LEVEL + OF_DURATION)}"
        if not 0 <= one["minutes"] <= LONGEST_MINUTES or not (one["watts"] == 0 or _is_power(one["watts"])):
            return f"normal: give 0 to {LONGEST_MINUTES:,} minutes, and W from 0 to {MOST_WATTS:,.0f}"
    return None


def _fault_of_house(rule: RuleRecord) -> str | None:
    plain = no_rule(rule["house_id"], HOUSE, rule["valid_from"], rule["written"])
    plain |= {"sensitivity": rule["sensitivity"], "muted_until": rule["muted_until"], "author": rule["author"]}
    return (
        None if plain | {"limit_minutes": rule["limit_minutes"]} == rule else "a rule of a house takes a sensitivity and muted_until alone"
    )


def _is_power(watts: float | None) -> bool:
    return watts is None or (isfinite(watts) and 0 < watts <= MOST_WATTS)
