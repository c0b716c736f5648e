"""A house's time that jumps ahead: which bursts count, and which are refuted."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.jumps import Jumps, max_jump_ms
from jobs.core.stage import Stage
from jobs.daily_energy import DailyEnergy
from jobs.flink.operator import STAYS
from jobs.thresholds import Thresholds
from smartmeter.settings import Settings
from tests.unit.driver import SETTING, pipeline, state_of
from tests.unit.logs import HOUR_MS, START_MS, burst, cuts, examples
from tests.unit.outcomes import assert_counts, assert_dead_letters, assert_energy, assert_profile, judged

MINUTE_MS = 60_000
STAGES = (Thresholds, DailyEnergy)


def at(hour, minutes=10, meter=1, watts=100.0, house_id=1):
    """A burst of so many minutes, with a reading at its start and one in its last minute. hour: since START_MS, a midnight."""
    start_ms = START_MS + round(hour * HOUR_MS)
    end_ms = start_ms + minutes * MINUTE_MS
    return burst(start_ms, end_ms, {meter: [(start_ms, watts), (max(start_ms + 1, end_ms - MINUTE_MS), watts)]}, house_id=house_id)


def found(bursts, sizes=(1,), setting=SETTING):
    """((readings, whether it is final) of each day before the end of the topic, {index of a burst: reason of its dead letter} at the end)."""
    results, ended, _ = pipeline(bursts, list(sizes), setting, STAGES)
    days = [(r["readings"], r["final"]) for _, r in sorted(results.last("daily_energy").items())]
    return days, {r["offset"]: r["reason"] for r in ended.last("dead_letter").values()}


def readings_before_the_end(bursts):
    results, _, _ = pipeline(bursts, [1], SETTING, STAGES)
    return sum(r["readings"] for r in results.last("daily_energy").values())


def readings_at_the_end(bursts, setting=SETTING):
    _, ended, _ = pipeline(bursts, [1], setting, STAGES)
    return sum(r["readings"] for r in ended.last("daily_energy").values())


@pytest.mark.parametrize("sizes", [(1,), (2,), (3,), (8,)])
def test_one_burst_twenty_hours_ahead_closes_nothing_and_is_refused_with_a_reason(sizes):
    hours = [6, 6.25, 6.5, 26.5, 6.75, 7]
    bursts = [at(hour) for hour in hours]
    _, ended, keyed = pipeline(bursts, list(sizes), SETTING, STAGES)
    [row] = ended.last("daily_energy").values()
    assert (row["readings"], row["final"]) == (10, False)
    [letter] = ended.last("dead_letter").values()
    assert (letter["partition"], letter["offset"], letter["received"], letter["payload"]) == (0, 3, bursts[3].end_ms, b"")
    assert letter["reason"] == (
        "a wrong clock: it starts 19.8 h after all that its house had sent, and the next one does not go on from it (SMW_MAX_JUMP_S)"
        + STAYS
    )
    assert keyed.counted["readings_late"] == 0


@pytest.mark.parametrize("sizes", [(1,), (2,), (3,), (8,)])
def test_a_house_that_returns_after_a_pause_goes_on_with_its_second_burst(sizes):
    assert readings_at_the_end([at(6), at(6.25), at(30)]) == 4
    bursts = [at(6), at(6.25), at(30), at(30.25)]
    _, ended, keyed = pipeline(bursts, list(sizes), SETTING, STAGES)
    assert [(r["readings"], r["final"]) for _, r in sorted(ended.last("daily_energy").items())] == [(4, True), (4, False)]
    assert not ended.last("dead_letter") and keyed.counted["readings_used"] == 8


def test_a_burst_of_another_meter_confirms_one_though_it_starts_earlier():
    assert found([at(6), at(6, meter=2), at(30.2), at(30.1, meter=2)])[1] == {}


def test_a_burst_that_fills_the_time_up_to_one_confirms_it():
    bursts = [at(6), at(9), at(6.2, minutes=120)]
    assert found(bursts)[1] == {} and readings_at_the_end(bursts) == 6


def test_a_burst_within_the_time_that_was_sent_decides_nothing():
    assert found([at(6), at(7), at(30), at(6.5), at(6), at(30.2)])[1] == {}


def test_a_smaller_jump_refutes_the_first():
    _, letters = found([at(6), at(50), at(30), at(30.2)])
    assert list(letters) == [1] and "43.8 h after" in letters[1] and "jumps ahead by less" in letters[1]


def test_each_burst_of_a_meter_that_seldom_sends_counts_with_the_next_one():
    hours = [6, 9, 12.1, 20, 27.5, 30]
    assert [readings_before_the_end([at(hour) for hour in hours[:n]]) for n in range(1, 7)] == [2, 2, 4, 6, 8, 10]
    assert list(found([at(hour) for hour in hours])[1]) == [5]


@pytest.mark.parametrize("hour, letters", [(7 + 1 / 6, []), (7.17, [1])])
def test_an_hour_is_no_jump(hour, letters):
    assert list(found([at(6), at(hour)])[1]) == letters


def test_a_message_that_is_sent_twice_is_no_second_witness():
    days, letters = found([at(6), at(30), at(30), at(6.2)])
    assert list(letters) == [2, 1] and "repeats" in letters[2] and len(days) == 1
    assert list(found([at(6), at(30), at(30), at(30, meter=2)])[1]) == [2]


def test_what_is_set_aside_when_the_topic_ends_is_refused():
    _, letters = found([at(6), at(30)])
    assert list(letters) == [1] and "none goes on from it before the topic ends" in letters[1]


def test_without_a_limit_one_burst_is_enough():
    assert found([at(6), at(30)], setting=SETTING.but(max_jump_s=0.0)) == ([(2, True), (2, False)], {})


def test_quiet_bursts_take_a_house_on():
    """Those without a reading, as of a meter that reports changes alone."""
    quiet = [burst(START_MS + h * HOUR_MS, START_MS + (h + 1) * HOUR_MS, {1: []}) for h in range(6, 40)]
    assert found([at(5.8), *quiet, at(40)])[1] == {}


def test_state_of_an_earlier_release_reaches_to_the_newest_reading():
    _, _, keyed = pipeline([at(6)], [1], SETTING, STAGES)
    state = state_of(keyed, 1)
    assert Jumps(state, HOUR_MS).reach_ms == START_MS + 6 * HOUR_MS + 10 * MINUTE_MS
    state.remove("reach")
    assert Jumps(state, HOUR_MS).reach_ms == START_MS + 6 * HOUR_MS + 9 * MINUTE_MS


class Fails(Stage):
    """Raises on a batch with a reading of 13 W."""

    def __init__(self, settings):
        pass

    def take(self, change):
        if (change.batch.sections["last_watts"] == 13).any():
            raise ValueError("13")
        yield from ()


@pytest.mark.parametrize("faulty, letters", [(2, [2]), (3, [3])])
def test_a_burst_on_which_the_job_fails_takes_no_other_with_it(faulty, letters):
    bursts = [at(6), at(6.2), at(30), at(30.2), at(30.4)]
    bursts[faulty] = at([6, 6.2, 30, 30.2, 30.4][faulty], watts=13.0)
    _, ended, keyed = pipeline(bursts, [1], SETTING, (*STAGES, Fails))
    assert [r["offset"] for r in ended.last("dead_letter").values()] == letters
    assert keyed.counted["readings_used"] == 8


def test_the_limit_in_ms():
    assert max_jump_ms(Settings()) == HOUR_MS
    assert max_jump_ms(Settings().but(max_jump_s=0.0)) > 10**15


@st.composite
def logs_with_jumps(draw):
    """Bursts of two houses: mostly one after the other, with pauses, wrong clocks, repeats and two senders."""
    bursts = []
    for house_id in (1, 2):
        hour, steps = 30.0, st.sampled_from([0.0, 0.2, 0.0, 0.9, 1.1, 3.0, 20.0, 26.0])
        for n in range(draw(st.integers(3, 14))):
            off = draw(st.sampled_from([0.0, 0.0, 0.0, 0.0, 20.0, 20.1, 1.3, -0.5, -3.0, -26.0, 45.0]))
            minutes = draw(st.sampled_from([10, 10, 1, 60, 240]))
            one = at(hour + off, minutes, draw(st.integers(1, 2)), 50.0 + n, house_id)
            bursts.append((4 * n + draw(st.sampled_from([0, 0, 0, 5, 10])), one))
            hour += minutes / 60 + draw(steps)
    return [one for _, one in sorted(bursts, key=lambda placed: placed[0])]


@examples
@given(logs_with_jumps(), cuts, cuts, st.sampled_from([3600.0, 600.0, 7200.0, 0.0]))
def test_any_jumps_give_what_the_oracle_finds_however_they_are_batched(bursts, sizes, other_sizes, max_jump_s):
    setting = SETTING.but(max_jump_s=max_jump_s)
    outcome = judged(bursts, setting)
    hypothesis.event(f"refuted {min(len(outcome.refuted), 2)}, aside {len(outcome.aside)}")
    results, ended, keyed = pipeline(bursts, sizes, setting)
    assert_energy(ended, outcome)
    assert_counts(ended, keyed, outcome)
    assert_profile(ended, outcome, ended=True)
    assert results.readings_late() == outcome.late
    assert_dead_letters(results, bursts, outcome.refuted)
    assert_dead_letters(ended, bursts, outcome.refuted + outcome.aside)
    _, other, _ = pipeline(bursts, other_sizes, setting)
    for topic in ("daily_energy", "thresholds", "alerts", "dead_letter"):
        assert other.last(topic) == ended.last(topic)
