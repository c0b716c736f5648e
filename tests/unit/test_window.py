"""The limit of a meter and the window of days that it is made from: hand-worked values."""

import doctest
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from jobs.core.kinds import MeterKinds
from jobs.core.shapes import SHAPE
from jobs.core.sketch import VALUES, Sketches, bin_of
from jobs.core.totals import RESULT
from jobs.core.window import METER_DAY, Limits, Window, limit_of, meter_days
from smartmeter.settings import Settings
from tests.unit.logs import description

HOUR_MS = 3_600_000
NO_SHAPES = np.empty(0, SHAPE)
LIMITS = Limits(quantile=0.9, on_watts=30.0, margin=0.5, mains_watts=1000.0, added_watts=20.0, window_days=2, limit_days=5, usual_days=7)


def days(*rows) -> np.ndarray:
    """METER_DAY of meter 1, a row a day: (hours covered, readings, readings when on, the highest of them)."""
    return np.array([(n, 1, round(hours * HOUR_MS), *rest) for n, (hours, *rest) in enumerate(rows)], METER_DAY)


def limit(days: np.ndarray) -> float | None:
    """The limit of meter 1, next to a meter with no known days."""
    date = len(days)
    covered_ms, [none, limit_watts], _ = LIMITS.of_meters(np.array([0, 1], np.int32), days, date)
    assert covered_ms.tolist() == [0, days["covered_ms"][-LIMITS.window_days :].sum()] and np.isnan(none)
    return None if np.isnan(limit_watts) else limit_watts


def sketched(watts) -> float:
    """What stands for a power in a sketch."""
    return float(VALUES[bin_of(np.array([watts], np.float32))[0]])


# The limit of a meter


def test_the_settings_give_the_rule():
    assert Limits.of(Settings()) == Limits(
        quantile=0.97, on_watts=30.0, margin=0.15, mains_watts=3000.0, added_watts=30.0, window_days=7, limit_days=28, usual_days=7
    )


ALWAYS, SELDOM = (24, 100, 100, 400.0), (24, 100, 2, 100.0)
NEVER = (24, 100, 0, 0.0)
NEARLY_20_HOURS = 20 - 1 / HOUR_MS


@pytest.mark.parametrize(
    "rows, limit_watts",
    [
        # On in 95 of a day's 100 readings is on all day: 400 W * (1 + 0.5) + 1 kW. With 94 it is an appliance: 20 W in place of 1 kW.
        ([(24, 100, 95, 400.0)], 1600),
        ([(24, 100, 94, 400.0)], 620),
        # Always on is on all day on at least half of the days, whatever happens on the others, such as an outage over midnight.
        ([ALWAYS, ALWAYS, (24, 100, 80, 400.0), (24, 100, 0, 0.0)], 1600),
        ([ALWAYS, (24, 100, 80, 400.0), (24, 100, 74, 400.0)], 620),
        ([ALWAYS, (24, 0, 0, 0.0)], 1600),
        # Of up to three days with use the highest peak; of more the second-highest, which may occur twice.
        ([(24, 100, 3, 2000.0)], 3020),
        ([NEVER, (24, 100, 2, 300.0), SELDOM, (24, 100, 1, 200.0), NEVER], 470),
        ([(24, 100, 2, 900.0), (24, 100, 9, 100.0), NEVER, (24, 100, 1, 200.0), SELDOM], 320),
        ([(24, 100, 2, 100.0), (24, 100, 9, 900.0), SELDOM, (24, 100, 1, 900.0)], 1370),
        # On on up to three days, and no more than half of those with readings, it has a limit of 1 kW at least.
        ([NEVER, (24, 100, 2, 300.0), SELDOM, NEVER], 1000),
        ([NEVER, (24, 100, 2, 300.0), SELDOM], 470),
        ([NEVER, (24, 100, 2, 2000.0)], 3020),
        ([(24, 0, 0, 0.0), SELDOM], 170),
        ([*[NEVER] * 4, *[SELDOM] * 4], 170),
        # It is warming up until it was covered for 20 hours, and has no limit if it was never on.
        ([(11.5, 100, 2, 100.0), (8.5, 100, 2, 100.0)], 170),
        ([(11.5, 100, 2, 100.0), (NEARLY_20_HOURS - 11.5, 100, 2, 100.0)], None),
        ([], None),
        ([NEVER, NEVER], None),
    ],
)
def test_the_limit_of_a_meter(rows, limit_watts):
    assert limit(days(*rows)) == limit_watts


@pytest.mark.parametrize(
    "rows, kind, limit_watts, is_mains",
    [
        ([(24, 100, 100, 400.0)], "appliance", 620, False),  # a meter that is always on
        ([(24, 100, 2, 400.0)], "mains", 1600, True),  # a meter that is seldom on
        ([NEVER], "mains", None, True),
    ],
)
def test_a_meter_of_known_kind_has_the_limit_of_its_kind(rows, kind, limit_watts, is_mains):
    kinds = MeterKinds.of(description(1, m1=kind)["meters"])
    _, [found], [mains] = LIMITS.of_meters(np.array([1], np.int32), days(*rows), 1, kinds)
    assert (None if np.isnan(found) else found, mains) == (limit_watts, is_mains)


def test_a_source_has_no_limit_and_is_not_warming_up_even_if_it_only_feeds():
    window = Window(date=3, days=days((24, 100, 100, 400.0), (24, 100, 0, 0.0), (24, 0, 0, 0.0)))

    def meters(kind, days):
        window.days = days
        kinds = MeterKinds.of(description(1, m1=kind)["meters"])
        return [(meter["meter_id"], meter["limit_watts"], meter["warming_up"]) for meter in window.meters(LIMITS, NO_SHAPES, kinds)]

    every, feeding, without = window.days, window.days[1:], window.days[2:]
    assert meters("solar", every) == meters("battery", feeding) == [(1, None, False)]
    assert meters("ev", every) == [(1, 1000.0, False)] and meters("ev", feeding) == meters("solar", without) == []


def test_the_examples_of_the_rule_are_right():
    [examples] = doctest.DocTestFinder().find(limit_of.py_func, "limit_of", globs={"limit_of": limit_of})
    assert doctest.DocTestRunner().run(examples) == (0, 3)


# What a day leaves behind


def totals(*rows) -> np.ndarray:
    """RESULT of some meters and one day: (meter, day, readings, hours covered)."""
    results = np.zeros(len(rows), RESULT)
    for row, (meter_id, day, readings, hours) in zip(results, rows):
        row["meter_id"], row["day"], row["readings"], row["covered_ms"] = meter_id, day, readings, round(hours * HOUR_MS)
    return results


def readings(**watts_of) -> Sketches:
    """Sketches of m1=[watts, ...] and so on."""
    return Sketches.empty().merge(*(Sketches.of(int(m[1:]), np.array(w, np.float32)) for m, w in watts_of.items()))


def test_a_day_leaves_how_often_each_meter_was_on_and_the_second_highest_of_its_readings_then():
    # Meter 1: on at 100, 200, 300 W; at 1 W and 0 W it is off. Meter 2: never on. Meter 3: no reading over 1e-5 W. Meter 5: on once.
    day = totals((1, 7, 6, 24), (2, 7, 2, 12), (3, 7, 4, 1), (4, 7, 0, 2), (5, 7, 2, 24))
    rows = meter_days(day, readings(m1=[1, 300, 100, 200, 1], m2=[5, 6], m5=[1, 9000]), 30)
    assert rows.dtype == METER_DAY and METER_DAY.itemsize == 40
    assert rows.tolist() == [
        (7, 1, 24 * HOUR_MS, 6, 3, sketched(200)),
        (7, 2, 12 * HOUR_MS, 2, 0, 0.0),
        (7, 3, HOUR_MS, 4, 0, 0.0),
        (7, 4, 2 * HOUR_MS, 0, 0, 0.0),
        (7, 5, 24 * HOUR_MS, 2, 1, 0.0),
    ]


def test_a_day_without_readings_leaves_nothing():
    assert len(meter_days(totals(), Sketches.empty(), 30)) == 0
    assert meter_days(totals((1, 7, 0, 2)), Sketches.empty(), 30).tolist() == [(7, 1, 2 * HOUR_MS, 0, 0, 0.0)]


# The window

EMPTY = Sketches.empty()
DAY_WATTS = [[100, 110, 0.5], [200, 210, 0.5], [5000, 300, 310], [100, 100, 2]]


def moved(window, days_of, limits=LIMITS):
    """The window after some days of meter 1, each of 12 hours; what leaves its sketches is what entered window_days before."""
    entered = {}
    for watts in days_of:
        entered[window.date] = readings(m1=watts)
        leaving = entered.get(window.date - limits.window_days, EMPTY)
        window.move(totals((1, window.date, len(watts), 12)), entered[window.date], leaving, limits)
    return window


def test_the_oldest_day_leaves_exactly_the_sketches_before_the_rows():
    window = moved(Window(10), [*DAY_WATTS, [50], [60]])
    assert window.date == 16
    assert window.sketches == readings(m1=[50, 60])
    assert window.days["day"].tolist() == [11, 12, 13, 14, 15]
    assert window.to_bytes() == moved(Window(11), [*DAY_WATTS[1:], [50], [60]]).to_bytes()


def test_a_window_of_one_day_is_the_day_before():
    window = moved(Window(10), DAY_WATTS, replace(LIMITS, window_days=1, limit_days=1))
    assert window.sketches == readings(m1=DAY_WATTS[3]) and window.days["day"].tolist() == [13]


def test_a_meter_that_was_on_keeps_its_limit_over_days_without_readings():
    # 100 and 110 W of 12 h, and 12 h more without readings; then nothing, until the day with use leaves the limit's five.
    window = moved(Window(10), [[100, 110, *[0] * 98], [], []])
    [meter] = window.meters(LIMITS, NO_SHAPES)
    assert window.sketches == EMPTY
    assert meter == {
        "meter_id": 1,
        "percentile_watts": 0.0,
        "readings": 0,
        "covered_s": 86_400.0,
        "warming_up": False,
        "limit_watts": sketched(100) * 1.5 + 20,
        "usual": None,
    }
    assert list(moved(window, [[], [], []]).meters(LIMITS, NO_SHAPES)) == []


def test_a_day_that_never_came_in_cannot_leave():
    window = moved(Window(10), DAY_WATTS[:1])
    with pytest.raises(ValueError, match="never merged in"):
        window.move(totals(), EMPTY, readings(m1=[999]), LIMITS)


def test_a_window_lists_the_limit_of_each_meter_with_readings():
    # Two days of 12 h, of 100, 110 and 0.5 W, then of 200, 210 and 0.5 W. The 0.9-quantile of 6 readings is that of rank 4;
    # the peak of few days is their highest: 200 W, the second-highest reading of its day.
    window = moved(Window(10), DAY_WATTS[:2])
    assert list(window.meters(LIMITS, NO_SHAPES)) == [
        {
            "meter_id": 1,
            "percentile_watts": sketched(200),
            "readings": 6,
            "covered_s": 86_400.0,
            "warming_up": False,
            "limit_watts": sketched(200) * 1.5 + 20,
            "usual": None,
        }
    ]


def test_meters_come_in_rising_order_and_those_without_power_not_at_all():
    window = Window(10)
    window.move(
        totals((-1, 10, 2, 24), (2, 10, 1, 22.9), (3, 10, 9, 24), (7, 10, 2, 24)),
        readings(m7=[50, 60], m2=[70]).merge(Sketches.of(-1, np.array([1, 1], np.float32))),
        EMPTY,
        LIMITS,
    )
    assert [
        (m["meter_id"], m["readings"], m["covered_s"], m["warming_up"], m["limit_watts"]) for m in window.meters(LIMITS, NO_SHAPES)
    ] == [(-1, 2, 86_400, True, None), (2, 1, 82_440, True, None), (7, 2, 86_400, False, sketched(50) * 1.5 + 1000)]


def test_a_meter_that_holds_into_the_window_without_a_reading_is_covered():
    # 12 h of the day with readings and 8 h of the next, which has none: 20 h.
    window = Window(10)
    window.move(totals((1, 10, 2, 12)), readings(m1=[100, 100]), EMPTY, LIMITS)
    window.move(totals((1, 11, 0, 8)), EMPTY, EMPTY, LIMITS)
    [meter] = window.meters(LIMITS, NO_SHAPES)
    assert (meter["covered_s"], meter["limit_watts"]) == (72_000, sketched(100) * 1.5 + 1000)


def test_a_window_is_restored_from_its_bytes():
    window = moved(Window(10), DAY_WATTS[:2])
    state = window.to_bytes()
    # 25 bytes, 40 a meter and day, 6 and 6 a meter and 6 a bin of the sketches; 0.5, 100, 110, 200 and 210 W are 5 bins.
    assert len(state) == 25 + 2 * 40 + 6 + 6 + 5 * 6
    again = Window.from_bytes(state)
    assert again.to_bytes() == state and again.date == 12
    for each in (window, again):
        each.move(totals((1, 12, 1, 24)), readings(m1=[50]), readings(m1=DAY_WATTS[0]), LIMITS)
    assert again.to_bytes() == window.to_bytes()
    with pytest.raises(ValueError, match="state version 5"):
        Window.from_bytes(b"\x05" + state[1:])


def test_state_of_the_release_with_medians_gives_the_limits_of_that_release():
    state = moved(Window(10), [[100] * 9, [50] * 9]).to_bytes()
    old = Window.from_bytes(b"\x01" + state[1:])
    old.days["on_readings"] = 1  # an appliance's
    [meter] = old.meters(Limits.of(Settings()), NO_SHAPES)
    assert meter["limit_watts"] == pytest.approx(sketched(100) * (1 + 1.3) + 30)
    assert old.to_bytes()[0] == state[0]


POWERS = st.just(0.0) | st.floats(0, 400, width=32) | st.floats(0, 20_000, width=32)


@given(
    st.lists(st.lists(POWERS, max_size=30), min_size=1, max_size=4),
    st.floats(0.01, 0.99),
    st.floats(0, 200),
    st.floats(0, 3),
    st.floats(1, 9000),
    st.floats(1, 100),
)
def test_no_limit_is_below_the_lowest(watts_of_days, quantile, on_watts, margin, mains_watts, added_watts):
    limits, window = Limits(quantile, on_watts, margin, mains_watts, added_watts, 7, 28, 7), Window(0)
    for day, watts in enumerate(watts_of_days):
        window.move(totals((1, day, len(watts), 24)), readings(m1=watts), Sketches.empty(), limits)
    found = [meter["limit_watts"] for meter in window.meters(limits, NO_SHAPES) if meter["limit_watts"] is not None]
    assert all(limit >= limits.lowest_watts for limit in found)
    event("with a limit" if found else "without one")


def test_the_lowest_limit_is_that_of_an_appliance_that_is_hardly_on():
    assert LIMITS.lowest_watts == 30 * 1.5 + 20
