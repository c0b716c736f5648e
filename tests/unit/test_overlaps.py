"""Overlaps: which bursts travel whole, and how their sections are cut."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core.batches import alone, unpack
from jobs.core.house_days import AGAIN, FRESH, HouseDays, Rules
from jobs.core.jumps import NO_LIMIT_MS
from jobs.core.overlaps import LOOK_BACK_MS, Horizon, cut
from jobs.core.readings import BURST
from smartmeter.local_days import NEVER
from smartmeter.settings import Settings
from tests.oracle import witnessed
from tests.unit.driver import pipeline
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, burst, examples
from tests.unit.one_house import ALL, batch_of

RULES = Rules(max_sample_period_ms=1_000_000, allowed_lateness_ms=48 * HOUR_MS)


def passed(horizon: Horizon, *spans, first_offset=0, house_id=1) -> list[bool]:
    """Whether each burst of a call, (start, end) in hours, may overlap. Its newest reading is at its start."""
    bursts = np.zeros(len(spans), BURST)
    bursts["channels"] = 1
    bursts["message"], bursts["house_id"] = np.arange(len(spans)), house_id
    bursts["start_ms"], bursts["end_ms"] = (np.array(spans) * HOUR_MS).T
    bursts["newest_ms"] = bursts["start_ms"]
    return horizon.passed(bursts, np.zeros(len(spans), int), first_offset + np.arange(len(spans))).tolist()


def test_bursts_that_go_on_from_each_other_travel_light():
    horizon = Horizon(HOUR_MS, 10 * HOUR_MS)
    assert passed(horizon, (0, 1), (1, 2), (2, 3), (3, 4)) == [True, False, False, False]
    assert passed(horizon, (4, 5), (4, 6), (5, 7), (7, 8), (9, 10), (10, 11)) == [False, True, True, False, True, False]
    assert passed(horizon, (0, 1), house_id=2) == [True]
    assert passed(horizon, (11, 12), (1, 2), (12, 13)) == [False, True, False]


def test_a_worker_that_has_not_seen_the_beginning_is_careful_for_two_days():
    horizon = Horizon(HOUR_MS, 10 * HOUR_MS)
    assert passed(horizon, *((n, n + 1) for n in range(60)), first_offset=7) == [True] * 49 + [False] * 11
    assert LOOK_BACK_MS == 48 * HOUR_MS


def test_what_is_late_for_sure_travels_light():
    horizon = Horizon(HOUR_MS, 10 * HOUR_MS)
    passed(horizon, *((n, n + 1) for n in range(100)))  # the newest reading is of hour 99
    assert passed(horizon, *((n, n + 1) for n in range(100))) == [False] * 50 + [True] * 50


def test_bursts_far_ahead_make_nothing_late_until_another_confirms_them():
    horizon = Horizon(HOUR_MS, 10 * HOUR_MS)
    passed(horizon, *((n, n + 1) for n in range(10)))
    assert passed(horizon, (90, 95), (70, 75), (8, 11)) == [True, True, True], "a wrong clock, and another one that is not as far ahead"
    assert passed(horizon, (11, 12), (90, 95), (95, 96), (11, 12)) == [False, True, True, False], "the house has been there since hour 90"
    assert passed(horizon, (96, 97), (90, 91)) == [False, True]


def test_a_burst_that_goes_on_into_one_far_ahead_carries_its_readings():
    horizon = Horizon(HOUR_MS, 10 * HOUR_MS)
    assert passed(horizon, (0, 6), (30, 60), (6, 30), (30, 60)) == [True, True, False, True]
    horizon = Horizon(HOUR_MS, 10 * HOUR_MS)
    assert passed(horizon, (0, 6), (30, 60), (6, 36), (60, 61)) == [True, True, True, False]


def test_a_burst_of_no_meter_moves_nothing():
    horizon = Horizon(HOUR_MS, 10 * HOUR_MS)
    passed(horizon, (0, 6))
    empty = np.zeros(1, BURST)
    empty["house_id"], empty["start_ms"], empty["end_ms"] = 1, 6 * HOUR_MS, 7 * HOUR_MS
    assert horizon.passed(empty, np.zeros(1, int), np.ones(1, int)).tolist() == [False]
    assert passed(horizon, (6, 7), (7, 8)) == [False, False]


@settings(parent=examples, max_examples=10 * examples.max_examples)
@given(
    st.lists(st.tuples(st.integers(0, 90), st.sampled_from([1, 2, 5, 30]), st.sampled_from([(1,), (2,), (1, 2)])), max_size=12),
    st.sampled_from([1, 6, 24, math.inf]),
)
def test_what_travels_light_overlaps_with_nothing_or_is_late(spans, max_jump_hours):
    most_jump_ms = NO_LIMIT_MS if max_jump_hours == math.inf else max_jump_hours * HOUR_MS
    horizon = Horizon(HOUR_MS, most_jump_ms)
    found = [passed(horizon, (start, start + hours))[0] for start, hours, _ in spans]
    bursts = [
        SimpleNamespace(house_id=1, start_ms=s * HOUR_MS, end_ms=(s + hours) * HOUR_MS, meter_ids=meters) for s, hours, meters in spans
    ]
    for n, one in enumerate(bursts):
        counting, refuted, _ = witnessed(bursts[:n], max_jump_hours * HOUR_MS)
        newest_ms = max((b.start_ms for b in counting), default=NEVER)
        is_late = one.end_ms + HOUR_MS + LOOK_BACK_MS <= newest_ms
        is_apart = all(b.end_ms <= one.start_ms or one.end_ms <= b.start_ms for b in bursts[:n] if not any(b is r for r in refuted))
        assert found[n] or is_late or is_apart


def test_houses_that_share_a_place_are_never_taken_for_each_other():
    horizon = Horizon(HOUR_MS, 10 * HOUR_MS, houses=4)
    assert passed(horizon, (0, 1), (1, 2)) == [True, False]
    assert passed(horizon, (2, 3), house_id=5) == [True]
    assert passed(horizon, (2, 3), (3, 4)) == [True, True], "unseen bursts of house 1 may have come before"


def at(start_s, end_s, meters=(1, 2), step_s=10) -> object:
    """A burst with a reading of each meter every few seconds, whose power is its meter and time."""
    times = range(-(-start_s // step_s) * step_s, end_s, step_s)
    return burst(
        START_MS + start_s * 1000, START_MS + end_s * 1000, {m: [(START_MS + s * 1000, m + s % 977) for s in times] for m in meters}
    )


def test_a_section_is_cut_where_what_was_received_begins_and_ends():
    house = HouseDays.known(None, NEW_YORK)
    house.take(batch_of(at(100, 200), at(300, 400, meters=(1,))).sections, START_MS + 390_000, RULES)
    pieces = cut(batch_of(at(50, 450), at(440, 500)), house, RULES, ALL)
    found = [(s["meter_id"], (s["start_ms"] - START_MS) // 1000, (s["end_ms"] - START_MS) // 1000, s["readings"]) for s in pieces.sections]
    assert found == [
        (1, 50, 100, 5),
        (1, 100, 200, 10),
        (1, 200, 300, 10),
        (1, 300, 400, 10),
        (1, 400, 450, 5),
        (2, 50, 100, 5),
        (2, 100, 200, 10),
        (2, 200, 450, 25),
        (1, 440, 450, 1),
        (1, 450, 500, 5),
        (2, 440, 450, 1),
        (2, 450, 500, 5),
    ]
    assert pieces.sections["offset"].tolist() == [100] * 8 + [101] * 4 and pieces.sections["burst"].tolist() == [0] * 8 + [1] * 4
    assert pieces.sections["before_ms"].tolist() == [NEVER] * 8 + [START_MS + 440_000] * 4
    verdict, _, _ = house.take(pieces.sections, pieces.newest_ms, RULES)
    assert verdict.tolist() == [FRESH, AGAIN, FRESH, AGAIN, FRESH, FRESH, AGAIN, FRESH, AGAIN, FRESH, AGAIN, FRESH]


def test_without_readings_or_overlaps_nothing_is_cut():
    house = HouseDays.known(None, NEW_YORK)
    house.take(batch_of(at(100, 200)).sections, START_MS + 190_000, RULES)
    for batch in (batch_of(at(50, 150), whole=False), batch_of(at(200, 300)), batch_of(at(100, 200)), batch_of(at(120, 150))):
        assert cut(batch, house, RULES, ALL).sections.tobytes() == batch.sections.tobytes()


spans = st.lists(st.tuples(st.integers(-300, 300), st.integers(1, 400)), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(spans, spans, st.integers(0, 3))
def test_pieces_are_what_bursts_of_their_spans_are(received, arriving, shift_h):
    """However spans lie round a midnight: each piece is wholly new or wholly received, and is as if it had come by itself."""
    shift_s = 86_400 * (shift_h > 1)
    house = HouseDays.known(None, NEW_YORK)
    for start, length in received:
        some = cut(batch_of(at(shift_s + start, shift_s + start + length)), house, RULES, ALL)
        house.take(some.sections, some.newest_ms, RULES)
    bursts = [at(shift_s + start, shift_s + start + length, meters=(1,) if start % 3 else (2, 1)) for start, length in arriving]
    whole = batch_of(*bursts)
    [sent] = unpack(alone(whole).pack())
    pieces = cut(sent, house, RULES, ALL)
    assert pieces.sections["readings"].sum() == whole.sections["readings"].sum() and not len(pieces.whole.number)
    verdict, _, _ = house.take(pieces.sections, pieces.newest_ms, RULES)
    assert set(verdict.tolist()) <= {FRESH, AGAIN}
    alone_each = [
        batch_of(at((s["start_ms"] - START_MS) // 1000, (s["end_ms"] - START_MS) // 1000, meters=(int(s["meter_id"]),)))
        for s in pieces.sections
    ]
    same = [name for name in pieces.sections.dtype.names if name not in ("burst", "offset", "before_ms")]
    assert pieces.sections[same].tolist() == [row for one in alone_each for row in one.sections[same].tolist()]
    for name in ("bin", "count", "minutes", "gap_ms", "watts"):
        assert getattr(pieces, name).tolist() == [row for one in alone_each for row in getattr(one, name).tolist()]


def kettle(first_s, last_s, reach_s, step_s=300):
    """Bursts of 5 minutes that reach so far into the next: a kettle of 3 kW for 100 s in each 10 minutes, a reading each 10 s."""

    def at(s):
        return START_MS + s * 1000

    return [
        burst(
            at(s),
            at(s + step_s + reach_s),
            {1: [(at(t), 3000.0 if 400 <= t % 600 < 500 else 0.0) for t in range(s, s + step_s + reach_s, 10)]},
        )
        for s in range(first_s, last_s, step_s)
    ]


@pytest.fixture(scope="module")
def right():
    """The results of bursts that do not overlap."""
    _, right, _ = pipeline(kettle(0, 86_400 + 7200, 0), [7], Settings())
    return right


@pytest.mark.parametrize("reach_s", [10, 130, 600])
def test_bursts_that_reach_into_the_next_ones_lose_nothing(right, reach_s):
    _, ended, keyed = pipeline(kettle(0, 86_400 + 7200, reach_s), [7], Settings())
    first, *_ = ended.last("daily_energy").values()
    assert (first["kwh"], first["readings"], first["covered_s"], first["final"]) == (12, 8640, 86_400, True)
    assert {**first, "duplicates": 0} == next(iter(right.last("daily_energy").values()))
    assert keyed.counted["readings_late"] == 0 and keyed.counted["readings_duplicate"] > reach_s // 10 * 300
    assert list(right.last("thresholds").values())[:3] == list(ended.last("thresholds").values())[:3]


def test_a_burst_across_several_spans_fills_the_holes_between_them():
    # 100 W from minute 10 to 20 and from 30 to 40; then a burst of 200 W from 0 to 50, a reading each minute: three pieces of it are new.
    def minutes(first, end, watts):
        times = [START_MS + m * 60_000 for m in range(first, end)]
        return burst(times[0], START_MS + end * 60_000, {1: [(t, watts) for t in times]})

    bursts = [minutes(10, 20, 100.0), minutes(30, 40, 100.0), minutes(0, 50, 200.0), minutes(50, 51, 0.0)]
    for sizes in ([1], [3], [4]):
        results, ended, _ = pipeline(bursts, sizes, Settings())
        [day] = ended.last("daily_energy").values()
        assert day["kwh"] == pytest.approx((20 * 100 + 30 * 200) / 60_000) and (day["readings"], day["duplicates"]) == (51, 20)
        assert not results.readings_late()
        means = {key[2] - START_MS: row[2] for key, row in ended.minutes().items()}
        assert [means[m * 60_000] for m in (0, 10, 20, 30, 40)] == [200, 100, 200, 100, 200]
