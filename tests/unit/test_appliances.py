"""Appliances of synthetic houses: their programmes, and when they run."""

from datetime import date

import numpy as np
import pytest

from generator.appliances import CATALOGUE, Appliance, Phase, Stretch, demand, power, stretches

DAY = date(2024, 5, 7)
MIDNIGHT_S = 1_715_040_000


def named(label):
    return next(appliance for appliance in CATALOGUE if appliance.label == label)


def a_day_of(appliance, away=False):
    return stretches(np.random.default_rng(1), appliance, DAY, MIDNIGHT_S, 86_400, away)


def test_a_washing_machine_is_a_motor_with_pauses_most_of_its_time_on_and_a_heater_for_some_of_it():
    for programme in named("washing_machine").programmes:
        heater_s = sum(phase.seconds for phase in programme if phase.watts > 1500)
        motor = [phase for phase in programme if phase.on_s]
        assert 0 < heater_s < sum(phase.seconds for phase in motor) and all(0 < phase.pause_s <= phase.on_s for phase in motor)


def test_a_dishwasher_heats_twice():
    for programme in named("dishwasher").programmes:
        assert np.diff([0, *(phase.watts > 1500 for phase in programme)]).tolist().count(1) == 2


def test_a_fridge_cycles_all_day_and_defrosts():
    fridge = a_day_of(named("refrigerator"))
    compressor = [part.start_s for part in fridge if part.watts == 160]
    assert len(compressor) == pytest.approx(86_400 / 2700, abs=3) and np.diff(compressor).max() < 2 * 2700
    assert len([part for part in fridge if part.watts == 420]) >= 1


def test_pulses():
    pulsed = Appliance("iron", [(Phase(100, 50), Phase(100, 1000, 20, 10, 5))], period_s=86_400)
    parts = stretches(np.random.default_rng(1), pulsed, DAY, MIDNIGHT_S - MIDNIGHT_S % 86_400, 86_400, False)
    first, last, lengths = parts[0], parts[-1], [part.end_s - part.start_s for part in parts[1:-1]]
    assert first.watts == 50 and last.watts == 1000 and 0 < last.end_s - last.start_s <= 30
    assert [part.watts for part in parts[1:-1]] == [1000, 5] * (len(lengths) // 2) and lengths == pytest.approx(
        [20, 10] * (len(lengths) // 2)
    )
    assert [one.end_s for one in parts[:-1]] == [other.start_s for other in parts[1:]]
    assert last.end_s - first.start_s == pytest.approx(2 * (first.end_s - first.start_s))


def test_nobody_uses_anything_while_away():
    assert not a_day_of(named("kettle"), away=True) and a_day_of(named("refrigerator"), away=True)


def test_power_of_stretches():
    watts = power(np.random.default_rng(1), [Stretch(-30, 9, 100), Stretch(60, 120, 1000)], 10, 1.5, 300)
    level = np.where(np.arange(100) < 3, 160, np.where((np.arange(100) >= 20) & (np.arange(100) < 40), 1510, 10))
    assert watts.dtype == np.float32 and len(watts) == 100
    assert watts / level == pytest.approx(np.ones(100), abs=0.09)


def test_seasons():
    january, july = date(2024, 1, 20), date(2024, 7, 20)
    assert [demand(season, day) for season in ("any", "cold", "warm") for day in (january, july)] == pytest.approx(
        [1, 1, 1, 0, 0, 1], abs=0.01
    )
