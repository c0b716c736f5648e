"""The rules that users have set for the meters of a house (topic rules, docs/rules.md), and what they change.

Which rule judges a minute or a reading depends only on its time, as with versions of thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from jobs.core.cells import HOUSE, code_of
from jobs.core.state_version import require_version
from smartmeter.arrays import Floats, Int32s, Ints, Rows
from smartmeter.messages.records import NormalRecord, RuleRecord
from smartmeter.messages.rules import OF_DURATION
from smartmeter.settings import MINUTE_MS

TIMES = {"low": 2.0, "normal": 1.0, "high": 0.75}
"""Sensitivity -> how many times as long a condition may hold."""
LIMITS = {"low": 1.5, "normal": 1.0, "high": 0.9}
"""Sensitivity -> how many times as high a limit is."""
LEAST_LIMITS = min(LIMITS.values())

RAISED_BY = (("level", "glitch"), ("percentile",))
"""The kinds of alerts of each limit: that of a spike, and that over the percentile."""
SPIKE, PERCENTILE = range(len(RAISED_BY))

NONE = -1
USER_RULE = np.dtype(
    [
        ("meter_id", "i4"),
        ("from_minute", "i4"),
        ("withdrawn", "?"),
        ("times", "f8"),
        ("limits", "f8"),
        ("raised_watts", "f8", len(RAISED_BY)),  # no limit is lower
        ("extra", "i4", len(OF_DURATION)),  # by how many minutes longer each condition may hold
        ("limit", "u1"),  # code of limit_watts; 0: none
        ("limit_watts", "f8"),
        ("limit_minutes", "i4"),
        ("on_minutes", "i4"),  # longest time on, or NONE
        ("off_minutes", "i4"),  # longest time off, or NONE
        ("off_from", "i4"),  # minutes of the house's clock, or NONE
        ("off_to", "i4"),
        ("muted_until", "i4"),  # the first minute that is not muted
    ]
)
"""106 bytes."""

STATE_VERSION = 1


def _row(rule: RuleRecord) -> Rows:
    """USER_RULE (1,) of a record that fault_of finds nothing wrong with."""
    row = no_rules(np.array([rule["meter_id"]], np.int32))
    row["from_minute"], row["withdrawn"] = rule["valid_from"] // MINUTE_MS, rule["withdrawn"]
    row["times"], row["limits"] = TIMES[rule["sensitivity"]], LIMITS[rule["sensitivity"]]
    row["raised_watts"] = [_largest(rule["normal"], kinds, "watts") for kinds in RAISED_BY]
    row["extra"] = [_largest(rule["normal"], (kind,), "minutes") for kind in OF_DURATION]
    if rule["limit_watts"] is not None:
        row["limit"], row["limit_watts"] = code_of(np.array(rule["limit_watts"])), rule["limit_watts"]
    row["limit_minutes"] = rule["limit_minutes"]
    for column, minutes in (
        ("on_minutes", rule["longest_on_minutes"]),
        ("off_minutes", rule["longest_off_minutes"]),
        ("off_from", rule["off_from"]),
        ("off_to", rule["off_to"]),
    ):
        row[column] = NONE if minutes is None else minutes
    if rule["muted_until"] is not None:
        row["muted_until"] = -(-rule["muted_until"] // MINUTE_MS)
    return row


def _largest(normal: list[NormalRecord], kinds: tuple[str, ...], figure: str) -> float:
    return max((float(one[figure]) for one in normal if one["kind"] in kinds), default=0.0)  # type: ignore[literal-required]


def no_rules(meter_ids: Int32s) -> Rows:
    """USER_RULE (m,) that change nothing."""
    rows = NO_RULE.repeat(len(meter_ids))
    rows["meter_id"] = meter_ids
    return rows


def _no_rule() -> Rows:
    row = np.zeros(1, USER_RULE)
    row["times"], row["limits"] = 1, 1
    row["on_minutes"] = row["off_minutes"] = row["off_from"] = row["off_to"] = NONE
    row["muted_until"] = np.iinfo(np.int32).min
    return row


NO_RULE = _no_rule()


@dataclass(frozen=True, eq=False)
class UserRules:
    """All rules of a house, those that have been replaced included."""

    rows: Rows = field(default_factory=lambda: np.empty(0, USER_RULE))  # by from_minute and meter

    @classmethod
    def of(cls, rules: Iterable[RuleRecord]) -> UserRules:
        """Those of some records, of which no two have the same meter and time. fault_of must find nothing wrong with them."""
        rows = np.concatenate([np.empty(0, USER_RULE), *map(_row, rules)])
        return cls(rows[np.lexsort((rows["meter_id"], rows["from_minute"]))])

    def at(self, meter_ids: Int32s, minute: int) -> Rows:
        """USER_RULE (m,): what holds for each meter in a minute, and for the house in the row of HOUSE."""
        found = no_rules(meter_ids)
        if not len(self.rows):
            return found
        newest = {int(row["meter_id"]): row for row in self.rows[self.rows["from_minute"] <= minute]}
        of = {meter_id: row for meter_id, row in newest.items() if not row["withdrawn"]}
        for i, meter_id in enumerate(meter_ids.tolist()):
            if meter_id in of:
                found[i] = of[meter_id]
            elif HOUSE in of:
                found[i]["times"], found[i]["limits"] = of[HOUSE]["times"], of[HOUSE]["limits"]
        if HOUSE in of:
            found["muted_until"] = np.maximum(found["muted_until"], of[HOUSE]["muted_until"])
        return found

    def spans(self, begin_minute: int, end_minute: int) -> Iterator[tuple[int, int]]:
        """Yield the spans (first minute, last minute + 1) within which the same rules hold."""
        within = {minute for minute in self.rows["from_minute"].tolist() if begin_minute < minute < end_minute}
        yield from pairwise([begin_minute, *sorted(within), end_minute])

    def limits(self, raised_by: int, limit_watts: Floats, meter_ids: Int32s, times_ms: Ints) -> Floats:
        """float64 (r,): the limits of readings, by what they are without a rule; infinite while muted. raised_by: SPIKE or PERCENTILE."""
        if not len(self.rows) or not len(times_ms):
            return limit_watts
        minutes, changed = times_ms // MINUTE_MS, limit_watts.copy()
        known = np.unique(meter_ids)
        for begin, end in self.spans(int(minutes.min()), int(minutes.max()) + 1):
            within = (begin <= minutes) & (minutes < end)
            rule = self.at(known, begin)[np.searchsorted(known, meter_ids[within])]
            watts = np.maximum(changed[within] * rule["limits"], rule["raised_watts"][:, raised_by])
            changed[within] = np.where(minutes[within] < rule["muted_until"], np.inf, watts)
        return changed

    @property
    def least_limits(self) -> float:
        """The factor by which a limit may be lower than without a rule: 1 at most, that of meters without one."""
        limits: list[float] = self.rows["limits"].tolist()
        return min([1.0, *limits])

    def first_difference(self, other: UserRules) -> int | None:
        """The first minute that these and other rules may judge differently; None if they are the same."""
        own, others = ({row.tobytes(): int(row["from_minute"]) for row in rules.rows} for rules in (self, other))
        return min((minute for row, minute in (own | others).items() if row not in own or row not in others), default=None)

    def to_bytes(self) -> bytes:
        """These rules in a stable form, as kept in checkpoints; empty without any."""
        return bytes([STATE_VERSION]) + self.rows.tobytes() if len(self.rows) else b""

    @classmethod
    def from_bytes(cls, state: bytes | None) -> UserRules:
        """Inverse of to_bytes; no rules for None."""
        if not state:
            return cls()
        require_version(state[0], STATE_VERSION)
        return cls(np.frombuffer(state, USER_RULE, offset=1))


NO_USER_RULES = UserRules()
