"""The stage that emits alerts of duration (jobs.core.durations)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from jobs.core.batches import Wanted
from jobs.core.cells import Cells, watts_of
from jobs.core.durations import Durations, Progress, Scan, Silence
from jobs.core.episodes import changes, openings
from jobs.core.house_days import HouseDays
from jobs.core.minutes import SETTLED_AFTER_MS, Minutes
from jobs.core.open_runs import Rule
from jobs.core.rows import stacked
from jobs.core.spells import KINDS, OWN_LIMIT
from jobs.core.stage import Change, Stage
from jobs.core.state import HouseState
from jobs.core.statements import of_spell
from jobs.core.user_rules import UserRules
from jobs.core.usual import USUAL, Usuals, silence_row, usual_row
from smartmeter.arrays import Rows
from smartmeter.local_days import NEVER, day_of, midnights
from smartmeter.messages.records import AlertRecord, Result, ThresholdRecord
from smartmeter.settings import MINUTE_MS, Settings

KEY = ("meter_id", "kind", "start")
"""The columns by which a spell is known."""


class Watch(Stage):
    """Emits an alert once a meter has done something for longer than is usual, again when it changes, and as retracted if it does not stand."""

    wanted = Wanted(minutes=True)
    judges = True

    def __init__(self, settings: Settings):
        self.rule = Rule.of(settings)

    def keep_new(self, state: HouseState, thresholds: Iterable[ThresholdRecord]) -> Usuals:
        """Store what is usual by new versions (records of schema threshold). Returns all that is stored."""
        usuals = stored = Usuals.from_bytes(state.get("usuals"))
        for threshold in thresholds:
            rows = [usual_row(meter["meter_id"], usual) for meter in threshold["meters"] if (usual := meter["usual"])]
            if (silence := threshold["longest_silence_minutes"]) is not None:
                rows.append(silence_row(silence))
            usuals = usuals.add(first_minute(threshold), stacked(np.empty(0, USUAL), *rows))
        if usuals is not stored:
            state.put("usuals", usuals.to_bytes())
        return usuals

    def take(self, change: Change) -> Iterator[Result]:
        """Yield the alerts that the minutes which a batch settles open or change, and those that end as time goes on."""
        state, house, user_rules = change.state, change.house, change.user_rules
        ruled_from = self.keep_rules(change)
        settles = len(change.settled) or change.thresholds or change.closes_a_day or ruled_from is not None
        if not settles and house.clock_ms // MINUTE_MS == change.clock_before_ms // MINUTE_MS:
            return
        usuals, durations = self.keep_new(state, change.thresholds), Durations.from_bytes(state.get("durations"))
        if house.clock_ms > NEVER and (change.thresholds or ruled_from is not None or len(durations.absent)):
            keep_silence(state, usuals, user_rules, house.clock_ms // MINUTE_MS)
        durations.changed_from(min(minute for minute in (self.first_changed(change), ruled_from) if minute is not None))
        before = durations.sent
        if not settles and not before["open"].any():
            return
        end_ms = change.open_from_ms if change.closes_a_day else midnights(house.timezone)[house.closed_day + 2]
        scan = Scan(change.cells, usuals, user_rules, house.timezone, self.rule)  # cells keep minutes while nothing is usual yet, too
        if len(usuals.rows) or len(before) or len(user_rules.rows):
            durations.go_on(scan, first_open(house.clock_ms), int(end_ms // MINUTE_MS))
            yield from self.alerts(house, state.house_id, durations, durations.ahead, user_rules, change.now_ms)
            opened, closed = openings(before, durations.sent, KEY)
            change.opened += opened
            change.closed += closed
        if change.closes_a_day:
            end_minute = change.open_from_ms // MINUTE_MS
            durations.close(scan, end_minute)
            state.put("usuals", usuals.forget_before(end_minute).to_bytes())
        state.put("durations", durations.to_bytes())

    def keep_rules(self, change: Change) -> int | None:
        """Store the rules of the house's users. Returns the first minute for which they have changed; None if they have not."""
        stored, rules = change.state.get("user_rules") or b"", change.user_rules.to_bytes()
        if rules == stored:
            return None
        change.state.put("user_rules", rules)
        return change.user_rules.first_difference(UserRules.from_bytes(stored))

    def first_changed(self, change: Change) -> int:
        """The first minute whose cells, or what is usual, a batch may have changed."""
        if change.house.timezone != change.zone_before:
            return 0
        minutes = [int(change.settled["minute"].min())] if len(change.settled) else []
        return min([first_open(change.house.clock_ms), *minutes, *map(first_minute, change.thresholds)])

    def alerts(
        self, house: HouseDays, house_id: int, durations: Durations, progress: Progress, user_rules: UserRules, now_ms: int
    ) -> Iterator[Result]:
        """Yield the alerts whose spells have changed since they were sent."""
        spells = durations.spells(progress, house.clock_ms // MINUTE_MS)
        changed, gone = changes(durations.sent, spells, KEY)
        durations.sent = spells
        if len(changed) or len(gone):
            revision = house.next_revision(now_ms)
            for spells, retracted in ((gone, True), (changed, False)):
                for spell in spells:
                    yield "alerts", alert(house_id, house.timezone, spell, limit_of(spell, user_rules), retracted, revision)

    def due_ms(self, state: HouseState, house: HouseDays) -> int | None:
        """See Stage."""
        silence = state.get("silence")
        return house.clock_ms + int.from_bytes(silence) * MINUTE_MS if silence else None

    def open_alerts(self, state: HouseState, house: HouseDays) -> int:
        """See Stage."""
        return int(Durations.from_bytes(state.get("durations")).sent["open"].sum())

    def absent(self, state: HouseState, house: HouseDays, now_ms: int) -> Iterator[Result]:
        """Yield the alert of a house that is silent. Its end is that of its readings, as soon as it sends again."""
        usuals, user_rules = self.keep_new(state, []), UserRules.from_bytes(state.get("user_rules"))
        durations, now_minute = Durations.from_bytes(state.get("durations")), now_ms // MINUTE_MS
        silence = Silence.at(now_minute, usuals, user_rules)
        if silence and not len(durations.absent) and durations.is_silent(silence, last_minute(state), now_minute):
            durations.sent = stacked(durations.sent, durations.absent)
            revision = house.next_revision(now_ms)
            for spell in durations.absent:
                yield "alerts", alert(state.house_id, house.timezone, spell, limit_of(spell, user_rules), False, revision)
            state.put("durations", durations.to_bytes())
            state.remove("silence")  # until the house sends again

    def wake(self, state: HouseState, house: HouseDays, now_ms: int, ended: bool) -> Iterator[Result]:
        """Yield the alerts of minutes that are not settled at the end of a bounded topic."""
        if not ended:
            return
        usuals, user_rules = self.keep_new(state, []), UserRules.from_bytes(state.get("user_rules"))
        cells, durations = Cells(state), Durations.from_bytes(state.get("durations"))
        if len(usuals.rows) or len(durations.sent) or len(user_rules.rows):
            cells.take(Minutes.from_bytes(state.get("minutes")).open)
            scan = Scan(cells, usuals, user_rules, house.timezone, self.rule)
            to_the_end = durations.ahead.go_on(scan, house.clock_ms // MINUTE_MS + 1)
            yield from self.alerts(house, state.house_id, durations, to_the_end, user_rules, now_ms)
            state.put("durations", durations.to_bytes())


def keep_silence(state: HouseState, usuals: Usuals, user_rules: UserRules, minute: int) -> None:
    """Store for how many minutes the house may be silent, as of a minute."""
    if silence := Silence.at(minute, usuals, user_rules):
        state.put("silence", silence.allowed.to_bytes(4))
    else:
        state.remove("silence")


def last_minute(state: HouseState) -> int:
    """The minute of a house's newest reading."""
    newest: int = max([Cells(state).last_minute, *Minutes.from_bytes(state.get("minutes")).open["minute"].tolist()])
    return newest


def first_open(clock_ms: int) -> int:
    """The first minute that is not settled at a time of the house's clock."""
    return (clock_ms - SETTLED_AFTER_MS) // MINUTE_MS


def first_minute(threshold: ThresholdRecord) -> int:
    """The first minute that a version of thresholds judges: one that has begun before is judged by the version before."""
    return -(-threshold["valid_from"] // MINUTE_MS)


def limit_of(spell: Rows, user_rules: UserRules) -> float:
    """The power, in W, that a spell (a row of SPELL) is over or under: that of the user's rule, or the end of a step."""
    if spell["kind"] == OWN_LIMIT:
        return float(user_rules.at(np.array([spell["meter_id"]]), int(spell["start"]))["limit_watts"][0])
    return watts_of(int(spell["limit"]))


def alert(house_id: int, timezone: str, spell: Rows, limit_watts: float, retracted: bool, revision: int) -> AlertRecord:
    """The alert of a spell (a row of SPELL)."""
    start_ms, kind = int(spell["start"]) * MINUTE_MS, KINDS[spell["kind"]]
    return {
        "alert_id": f"{house_id}/{spell['meter_id']}/{start_ms}/{kind}",
        "house_id": house_id,
        "meter_id": int(spell["meter_id"]),
        "date": int(day_of(timezone, start_ms)),
        "start": start_ms,
        "end": (int(spell["last"]) + 1) * MINUTE_MS,
        "open": bool(spell["open"]) and not retracted,
        "retracted": retracted,
        "readings": 0,
        "peak_watts": watts_of(int(spell["peak"])),
        "percentile_watts": 0.0,
        "limit_watts": limit_watts,
        "excess_kwh": 0.0,
        "revision": revision,
        **of_spell(spell, limit_watts),
    }
