"""What an alert states of itself: its kind, its severity, its reason with its figures, and what ends it.

A statement depends on the episode alone, so a replay, a restart and another order of arrival give the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from jobs.core.spells import KINDS
from smartmeter.settings import MINUTE_MS

Severity = Literal["info", "warning", "critical"]

CRITICAL_FACTOR = 2
"""From this multiple of the limit on, an alert is critical. A limit lies above what the meter reaches on ordinary days, so no ordinary load
comes near twice the limit."""

CRITICAL_MS = 3_600_000
"""From this time over the limit on, an alert is critical. A motor that starts is over it for seconds, and a heavy load for some minutes;
after an hour something stays on."""

MOST_DECIMALS = 3

SEVERITY: dict[str, Severity] = {
    "run": "warning",
    "band": "warning",
    "off": "warning",
    "hour": "warning",
    "standby": "info",
    "dead": "critical",
    "frozen": "warning",
    "silent": "warning",
    "limit": "warning",
    "overrun": "warning",
    "idle": "warning",
    "schedule": "warning",
}
"""Of alerts of duration."""


class Statement(TypedDict):
    """The fields of an alert that state what it is."""

    kind: str
    severity: Severity
    reason: str
    ends_when: str


@dataclass(frozen=True)
class Level:
    """States alerts of kinds level and glitch: readings over a limit, and one alone. hold_ms: how long an episode continues without one."""

    hold_ms: int

    def statement(self, episode: Any) -> Statement:
        """The statement of an episode (a row of jobs.core.episodes.EPISODE)."""
        peak_watts, limit_watts = float(episode["peak_watts"]), float(episode["limit_watts"])
        lasted_ms = int(episode["end_ms"]) - int(episode["start_ms"])
        peak, limit = apart(peak_watts, limit_watts)
        if episode["readings"] == 1:
            return {
                "kind": "glitch",
                "severity": "info",
                "reason": f"a single reading of {peak} W, over its limit of {limit} W; none beside it is",
                "ends_when": "the next reading is under the limit",
            }
        critical = peak_watts >= CRITICAL_FACTOR * limit_watts or lasted_ms >= CRITICAL_MS
        return {
            "kind": "level",
            "severity": "critical" if critical else "warning",
            "reason": f"{peak} W, over its limit of {limit} W{lasting(lasted_ms)}",
            "ends_when": f"it falls to {limit} W or less{holding(self.hold_ms)}",
        }


@dataclass(frozen=True)
class Percentile:
    """States alerts of kind percentile. hold_ms: as of Level."""

    hold_ms: int

    def statement(self, episode: Any) -> Statement:
        """The statement of an episode (a row of jobs.core.episodes.EPISODE)."""
        lasted_ms = int(episode["end_ms"]) - int(episode["start_ms"])
        peak, limit = apart(float(episode["peak_watts"]), float(episode["limit_watts"]))
        return {
            "kind": "percentile",
            "severity": "warning",
            "reason": f"{peak} W, over its limit of {limit} W{lasting(lasted_ms)}; its percentile is {episode['percentile_watts']:,.0f} W",
            "ends_when": f"it falls to {limit} W or less{holding(self.hold_ms)}",
        }


def lasting(lasted_ms: int) -> str:
    """How long an episode has lasted, after a reason; empty under a second."""
    return f", for {duration(lasted_ms)}" if lasted_ms >= 1000 else ""


def holding(hold_ms: int) -> str:
    """For how long an episode goes on without a reading over the limit, after what ends it; empty if it does not."""
    return f" for {hold_ms / 1000:g} s" if hold_ms else ""


def of_spell(spell: Any, limit_watts: float) -> Statement:
    """The statement of a spell (a row of jobs.core.spells.SPELL) over or under a limit."""
    kind, watts = KINDS[spell["kind"]], f"{limit_watts:,.0f} W"
    lasted = duration((int(spell["last"]) + 1 - int(spell["since"])) * MINUTE_MS)
    usually = duration(int(spell["usual"]) * MINUTE_MS)
    reason, ends_when = {
        "run": (f"over {watts} for {lasted}; it is seldom over it for longer than {usually}", f"it pauses, at {watts} or less"),
        "band": (f"at a power that it seldom draws, for {lasted}", "it draws a power that is usual, or pauses"),
        "off": (f"off for {lasted}; it is seldom off for longer than {usually}", f"it draws more than {watts}"),
        "hour": (
            f"over {watts} beside its other meters for {lasted}: not at this hour",
            f"what no other meter measures falls to {watts} or less",
        ),
        "standby": (f"over {watts} for {lasted}, without falling to its standby", f"it falls to {watts} or less"),
        "dead": (f"under {watts} for {lasted}: the house always draws more", f"it draws more than {watts}"),
        "silent": (f"no reading for {lasted}; it is seldom silent for longer than {usually}", "it sends a reading"),
        "frozen": (f"the same reading for {lasted}; that seldom lasts longer than {usually}", "a reading differs"),
        "limit": (f"over {watts} for {lasted}; its rule allows {usually}", f"it falls to {watts} or less"),
        "overrun": (f"on for {lasted} without a pause; its rule allows {usually}", f"it pauses, at {watts} or less"),
        "idle": (f"off for {lasted}; its rule allows {usually}", f"it draws more than {watts}"),
        "schedule": (f"on at a time when its rule has it off, for {lasted}", f"it falls to {watts} or less, or that time is over"),
    }[kind]
    return {"kind": kind, "severity": SEVERITY[kind], "reason": reason, "ends_when": ends_when}


def apart(high: float, low: float) -> tuple[str, str]:
    """Two numbers as text, with as few decimals as show that they differ.

    >>> apart(1431.4, 1310.2), apart(30.24, 30.18)
    (('1,431', '1,310'), ('30.24', '30.18'))
    """
    for decimals in range(MOST_DECIMALS + 1):
        texts = f"{high:,.{decimals}f}", f"{low:,.{decimals}f}"
        if texts[0] != texts[1]:
            break
    return texts


def duration(milliseconds: int) -> str:
    """A time in words, in its two largest units, cut off.

    >>> duration(45_999), duration(720_000), duration(4_320_000), duration(90_000_000)
    ('45 s', '12 min', '1 h 12 min', '25 h')
    """
    seconds = milliseconds // 1000
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min" + (f" {seconds} s" if seconds else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h" + (f" {minutes} min" if minutes else "")
