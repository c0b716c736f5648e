"""What an alert states of itself: its kind, its severity, its reason with its figures, and what ends it.

A statement depends on the episode alone, so a replay, a restart and another order of arrival give the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

Severity = Literal["info", "warning", "critical"]

CRITICAL_FACTOR = 2
"""From this multiple of the limit on, an alert is critical. A limit lies above what the meter reaches on ordinary days, so no ordinary load
comes near twice the limit."""

CRITICAL_MS = 3_600_000
"""From this time over the limit on, an alert is critical. A motor that starts is over it for seconds, and a heavy load for some minutes;
after an hour something stays on."""

MOST_DECIMALS = 3


class Statement(TypedDict):
    """The fields of an alert that state what it is."""

    kind: str
    severity: Severity
    reason: str
    ends_when: str


@dataclass(frozen=True)
class Level:
    """States alerts of kind level: readings over a limit. hold_ms: how long an episode continues without one."""

    hold_ms: int

    def statement(self, episode: Any) -> Statement:
        """The statement of an episode (a row of jobs.core.episodes.EPISODE)."""
        peak_watts, limit_watts = float(episode["peak_watts"]), float(episode["limit_watts"])
        lasted_ms = int(episode["end_ms"]) - int(episode["start_ms"])
        peak, limit = apart(peak_watts, limit_watts)
        lasted = f", for {duration(lasted_ms)}" if lasted_ms >= 1000 else ""
        held = f" for {self.hold_ms / 1000:g} s" if self.hold_ms else ""
        critical = peak_watts >= CRITICAL_FACTOR * limit_watts or lasted_ms >= CRITICAL_MS
        return {
            "kind": "level",
            "severity": "critical" if critical else "warning",
            "reason": f"{peak} W, over its limit of {limit} W{lasted}",
            "ends_when": f"it falls to {limit} W or less{held}",
        }


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
