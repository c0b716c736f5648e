"""Jobs that are driven by hand: messages in, decoded results and state out."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice

import numpy as np
from pyflink.common import Row, Types
from pyflink.datastream.state import MapStateDescriptor

from jobs import spikes
from jobs.core.batches import house_batches
from jobs.core.cells import SPAN_MINUTES, Block, Cells
from jobs.core.durations import Durations
from jobs.core.episodes import Runs, Versions
from jobs.core.house_days import HouseDays
from jobs.core.jumps import max_jump_ms
from jobs.core.kinds import NO_KINDS, MeterKinds
from jobs.core.minutes import Minutes
from jobs.core.overlaps import Horizon
from jobs.core.panes import Panes
from jobs.core.readings import read
from jobs.core.shapes import Shapes
from jobs.core.shard_houses import HOUSES, HouseList
from jobs.core.shards import shard_of
from jobs.core.state import LARGE, MOST_SMALL_BYTES, MOST_TOGETHER_BYTES, HouseState, Shard
from jobs.core.user_rules import NO_USER_RULES, UserRules
from jobs.core.usual import Usuals
from jobs.core.watch import Watch
from jobs.core.window import Window
from jobs.daily_energy import DailyEnergy
from jobs.flink.operator import BATCHES, BYTES, MESSAGE, Houses
from jobs.flink.outside import Outside
from jobs.flink.sources import ForAll
from jobs.power_profile import PowerProfile
from jobs.spikes import Spikes
from jobs.thresholds import Thresholds
from smartmeter.local_days import midnights
from smartmeter.messages.codec import decode, encode_burst
from smartmeter.run import LIVE
from smartmeter.settings import Settings
from tests.oracle import EPOCH
from tests.unit.flink_stand_in import FlinkStandIn, fitting
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, burst

CLASS_OF = {
    "days": HouseDays,
    "window": Window,
    "versions": Versions,
    "runs": Runs,
    "versions/percentile": Versions,
    "runs/percentile": Runs,
    "minutes": Minutes,
    "shapes": Shapes,
    "usuals": Usuals,
    "durations": Durations,
    "user_rules": UserRules,
}
"""Name of a house's state -> what its bytes are of."""
SHARDS = 2
"""Houses 1 and 3 share a shard, so they are processed together; house 2 is in the other."""


@dataclass
class Results:
    """The messages of a job, decoded."""

    messages: list = field(default_factory=list)  # (topic, record, payload)
    final: dict = field(default_factory=lambda: defaultdict(dict))  # topic -> key -> its last record

    def take(self, rows):
        for row in rows:
            topic, key, payload = fitting(row, MESSAGE)
            _, record = decode(payload)
            before = self.final[topic].get(key)
            if topic == "daily_energy" and record["hours"]:
                assert_hours_add_up(record)
            if "revision" in record and before:
                assert record["revision"] > before["revision"], (topic, record, before)
                assert not before.get("final"), "a result after the final one"
                assert topic != "thresholds" or record["valid_to"] > before["valid_to"], "a version that was sent before"
            self.messages.append((topic, record, payload))
            self.final[topic][key] = record

    def last(self, topic: str) -> dict:
        """key -> last record, without its revision; retracted alerts left out."""
        return {
            key: {name: value for name, value in record.items() if name != "revision"}
            for key, record in self.final[topic].items()
            if not record.get("retracted")
        }

    def minutes(self) -> dict:
        """(house, meter, start of the minute in ms, part) -> (readings, lowest, mean, highest); what comes again has more readings."""
        found = {}
        for topic, record, _ in self.messages:
            for key, row in minutes_in(record) if topic == "power_profile" else ():
                assert row[0] > found.get(key, (0,))[0], "sent twice"
                found[key] = row
        return found

    def readings_late(self) -> Counter:
        """(house, date) -> readings in `late`."""
        late = Counter()
        for topic, record, _ in self.messages:
            if topic == "late":
                late[record["house_id"], EPOCH + timedelta(days=record["date"])] += record["readings"]
        return +late


def minutes_in(record: dict):
    """Yield (key, row) as Results.minutes has them, of a record of power_profile."""
    rows = zip(record["deltas"], record["readings"], record["min_watts"], record["mean_watts"], record["max_watts"])
    for meter, count in zip(record["meter_ids"], record["counts"], strict=True):
        time_ms = record["start"]
        for delta, *row in islice(rows, count):
            time_ms += delta * 60_000
            yield (record["house_id"], meter, time_ms, record["part"]), tuple(row)
    assert next(rows, None) is None


def assert_hours_add_up(record: dict):
    assert abs(sum(record["hour_kwh"]) - record["kwh"]) <= max(1e-12 * abs(record["kwh"]), 1e-18)
    assert abs(sum(record["hour_exported_kwh"]) - record["exported_kwh"]) <= max(1e-12 * record["exported_kwh"], 1e-18)
    assert abs(sum(record["hour_covered_s"]) - record["covered_s"]) <= 1e-6


STAGES = (Thresholds, Spikes, Watch, DailyEnergy, lambda _: PowerProfile())


def made_of(stages_of, setting: Settings) -> list:
    """A stage of each kind; of Spikes, each that the settings ask for."""
    return [stage for kind in stages_of for stage in (spikes.stages(setting) if kind is Spikes else [kind(setting)])]


def rows_of(bursts, sizes, setting: Settings, wanted, restarts=(), begin=0):
    """Yield lists of (shard, BATCHES), as the batches of these many messages give them, from message `begin` on; the last size repeats.

    bursts: some may be messages already. restarts: messages with which a new worker begins.
    """
    horizon_of = round(setting.rules.allowed_lateness_s * 1000), max_jump_ms(setting), 16
    horizon, restarts = Horizon(*horizon_of), sorted(restarts)
    for size in [*sizes, *[sizes[-1]] * len(bursts)]:
        batch = bursts[begin : begin + size]
        if not batch:
            return
        readings, reasons = read([b if isinstance(b, bytes) else encode_burst(b) for b in batch], 2**60, SHARDS)
        assert not reasons
        if restarts and restarts[0] <= begin:
            horizon, restarts = Horizon(*horizon_of), [r for r in restarts if r > begin]
        may_overlap = horizon.passed(readings.bursts, np.zeros(len(batch), int), np.arange(begin, begin + len(batch)))
        places = np.zeros(len(batch), int), begin + readings.bursts["message"]
        found = house_batches(readings, *places, round(setting.rules.max_gap_s * 1000), wanted, may_overlap)
        yield [(shard, fitting(Row(body, None), BATCHES)) for shard, body in found.by_shard(SHARDS)]
        begin += size


class Given(ForAll):
    """A source of a value for each of some houses and one for all others, in place of a topic."""

    def __init__(self, of_house: dict, others):
        super().__init__(others)
        self.of_house = of_house

    def of(self, house_id: int):
        return self.of_house.get(house_id, self.value)


def given_rules(records) -> Given:
    """The rules of users in these records."""
    houses = {record["house_id"] for record in records}
    return Given({house: UserRules.of(r for r in records if r["house_id"] == house) for house in houses}, NO_USER_RULES)


def given_kinds(houses) -> Given:
    """The kinds of meters in these descriptions."""
    return Given({house["house_id"]: MeterKinds.of(house["meters"]) for house in houses}, NO_KINDS)


def pipeline(
    bursts,
    sizes,
    setting: Settings,
    stages_of=STAGES,
    restarts=(),
    run=LIVE,
    rules=(),
    houses=(),
    known_after=0,
    begin=0,
    keyed=None,
    ends=True,
) -> tuple[Results, Results, FlinkStandIn]:
    """(results after the last row, results after the end of the topic, the state).

    sizes: messages of each batch; after a batch of an odd number, the timers fire. The function is made anew for every other one. known_after:
    how many batches come before the rules and the descriptions of houses. begin, keyed: the first message, and the state that those before it
    left. ends: whether the topic ends after the last one.
    """
    results, keyed = Results(), keyed or FlinkStandIn()
    check = check_state if not begin else lambda *_: None  # another release's bytes stay until they change
    known = Outside(given_rules(rules), given_kinds(houses))

    @functools.lru_cache
    def made(_, is_known):
        function = Houses(setting, made_of(stages_of, setting), run, known if is_known else Outside())
        function.open(keyed)
        return function

    wanted = functools.reduce(lambda a, b: a | b, (stage.wanted for stage in made_of(stages_of, setting)))
    for batch, rows in enumerate(rows_of(bursts, sizes, setting, wanted, restarts, begin)):
        keyed.now_ms += 100
        function = made(batch // 2, batch >= known_after)
        for keyed.key, row in rows:
            results.take(function.process_element(row, keyed))
        check(keyed, setting)
        if len(rows) % 2:
            for time_ms in keyed.due(keyed.processing_timers):
                results.take(function.on_timer(time_ms, keyed))
    ended = Results(list(results.messages), defaultdict(dict, {topic: dict(of) for topic, of in results.final.items()}))
    for time_ms in keyed.due(keyed.event_timers) if ends else ():
        ended.take(made(-1, True).on_timer(time_ms, keyed))
    check(keyed, setting)
    return results, ended, keyed


def check_state(keyed: FlinkStandIn, setting: Settings):
    """State is what its own bytes give again, and keeps no more days than the window needs."""
    for house_id in houses_of(keyed):
        state = state_of(keyed, house_id)
        large = {f"{house_id}/{name}" for name in state.large}
        assert large == {key for key in state.of_shard.map if key.startswith(f"{house_id}/")}
        assert sum(map(len, state.small.values())) <= MOST_TOGETHER_BYTES or all(
            len(value) <= MOST_SMALL_BYTES for name, value in state.small.items() if name.split("/")[0] in LARGE
        )
        for name, kind in CLASS_OF.items():
            if body := state.get(name):
                assert_gives_itself(kind.from_bytes, kind.to_bytes, body)
        assert_cells_kept(state)
        if body := state.get("window"):
            window, panes = Window.from_bytes(body), Panes(state)
            assert min(panes.days, default=window.date) >= window.date - setting.rules.window_days
            assert len(set(window.days["day"].tolist())) <= setting.rules.limit_days
            assert {name for name in {*state.small, *state.large} if name.startswith("pane/")} <= {f"pane/{day}" for day in panes.days}
            gathered = {int(name.split("/")[1]) for name in state.small if name.startswith("gathered/")}
            assert gathered <= set(panes.days) and all(day >= window.date for day in gathered), "a day that is over is one value"


@functools.lru_cache(1000)
def assert_gives_itself(read, write, body: bytes):
    """Fail when what is read from bytes is written as others. Most values stay the same over many batches, so each is looked at once."""
    assert write(read(body)) == body


def assert_cells_kept(state: HouseState):
    """Fail when a block of cells differs from what its own bytes give, or is of no day that is open."""
    spans = Cells(state).spans
    assert {f"cells/{span}" for span in spans} == {name for name in {*state.small, *state.large} if name.startswith("cells/")}
    for span in spans:
        assert_gives_itself(Block.unpack, Block.pack, state.get(f"cells/{span}"))
    if body := state.get("days"):
        house = HouseDays.from_bytes(body)
        first_open_minute = midnights(house.timezone)[house.closed_day + 1] // 60_000
        assert all((span + 1) * SPAN_MINUTES + 1440 > first_open_minute for span in spans), (
            "a day more, as a change of time zone moves midnights"
        )


def houses_of(keyed: FlinkStandIn) -> set[int]:
    return {house_id for of_shard in keyed.state.values() for house_id in HouseList(Shard(of_shard), HOUSES)}


def state_of(keyed: FlinkStandIn, house_id: int) -> HouseState:
    """The state of a house; its shard becomes the current key."""
    keyed.key = shard_of(house_id, SHARDS)
    return HouseState(keyed.get_map_state(MapStateDescriptor("houses", Types.STRING(), BYTES)), house_id)


def versions_of(results: Results):
    """(house_id, payload) of the messages of the topic thresholds."""
    return [(record["house_id"], payload) for topic, record, payload in results.messages if topic == "thresholds"]


SETTING = Settings().but(max_gap_s=22 * 3600.0, window_days=2, margin=0.5, min_watts=20.0, mains_watts=500.0)


def every_two_hours(first_hour, last_hour, zone=NEW_YORK, watts=100.0, house_id=1, **watts_at):
    """Bursts of 2 h, each with one reading at its start, in hours since START_MS; h50=3000 gives that of hour 50 3 kW."""
    at_ms = {h: START_MS + h * HOUR_MS for h in range(first_hour, last_hour, 2)}
    return [burst(ms, ms + 2 * HOUR_MS, {1: [(ms, watts_at.get(f"h{h}", watts))]}, zone, house_id) for h, ms in at_ms.items()]
