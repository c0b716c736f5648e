"""Comparing a peer's results with ours, by hand-made frames."""

import pandas as pd
import pytest

from bench.answers import COLUMNS, Different, compare, theirs

DAY = 15082  # 2011-04-18
START_MS = 1_303_099_200_000


def frames(**changed) -> dict[str, pd.DataFrame]:
    """Results of one house; named arguments replace the defaults."""
    rows = {
        "daily_energy": [(1, 1, DAY, 12.5, 86_400), (1, 2, DAY, 0.0, 28_800), (1, 1, DAY + 1, 11.0, 86_400)],
        "thresholds": [(1, 1, DAY + 1, 900.0, 7900.0), (1, 2, DAY + 1, 60.0, None)],
        "alerts": [(1, 1, START_MS, 40, 9500.0, 7900.0), (1, 1, START_MS + 600_000, 1, 7950.0, 7900.0)],
    } | changed
    return {name: pd.DataFrame(rows[name], columns=COLUMNS[name]) for name in rows}


def test_equal_results_pass():
    found = compare(frames(), frames())
    assert (found.days, found.thresholds, found.alerts, found.marginal_alerts) == (3, 2, 2, 0)
    assert found.most_kwh_relative == found.most_watts_relative == 0


def test_a_peer_may_have_energy_alone():
    found = compare(frames(), {"daily_energy": frames()["daily_energy"]})
    assert (found.days, found.thresholds, found.alerts) == (3, None, None)


def test_differences_within_the_tolerances_are_reported():
    peer = frames(
        daily_energy=[(1, 1, DAY, 12.5 * (1 + 1e-9), 86_400), (1, 2, DAY, 0.0, 28_800), (1, 1, DAY + 1, 11.0, 86_400)],
        thresholds=[(1, 1, DAY + 1, 909.0, 7909.0), (1, 2, DAY + 1, 60.0, None)],
        alerts=[(1, 1, START_MS, 40, 9500.0, 7909.0)],
    )  # the other alert passes our limit by less than 1 %
    found = compare(frames(), peer)
    assert found.most_kwh_relative == pytest.approx(1e-9, rel=1e-3)
    assert found.most_watts_relative == pytest.approx(0.01)
    assert (found.alerts, found.marginal_alerts) == (2, 1)


@pytest.mark.parametrize(
    "name, rows, message",
    [
        (
            "daily_energy",
            [(1, 1, DAY, 12.6, 86_400), (1, 2, DAY, 0.0, 28_800), (1, 1, DAY + 1, 11.0, 86_400)],
            "daily_energy: house_id 1, meter_id 1, date 15082 has kwh 12.6, not 12.5",
        ),
        (
            "daily_energy",
            [(1, 1, DAY, 12.5, 86_400), (1, 2, DAY, 1e-9, 28_800), (1, 1, DAY + 1, 11.0, 86_400)],
            "meter_id 2, date 15082 has kwh 1e-09, not 0.0",
        ),
        (
            "daily_energy",
            [(1, 1, DAY, float("nan"), 86_400), (1, 2, DAY, 0.0, 28_800), (1, 1, DAY + 1, 11.0, 86_400)],
            "meter_id 1, date 15082 has kwh nan",
        ),
        (
            "daily_energy",
            [(1, 1, DAY, 12.5, 86_399), (1, 2, DAY, 0.0, 28_800), (1, 1, DAY + 1, 11.0, 86_400)],
            "meter_id 1, date 15082 has readings 86399, not 86400",
        ),
        ("daily_energy", [(1, 1, DAY, 12.5, 86_400), (1, 1, DAY + 1, 11.0, 86_400)], "meter_id 2, date 15082 is missing"),
        ("daily_energy", [(1, 1, DAY, 12.5, 86_400)] * 2, "house_id 1, meter_id 1, date 15082 more than once"),
        (
            "thresholds",
            [(1, 1, DAY + 1, 930.0, 7930.0), (1, 2, DAY + 1, 60.0, None)],
            "thresholds: house_id 1, meter_id 1, date 15083 has percentile_watts 930.0, not 900.0",
        ),
        ("thresholds", [(1, 1, DAY + 1, 900.0, 7900.0)], "thresholds: house_id 1, meter_id 2, date 15083 is missing"),
        ("alerts", [(1, 1, START_MS + 1000, 40, 9500.0, 7900.0)], f"alerts: house_id 1, meter_id 1, start {START_MS} is missing"),
        (
            "alerts",
            [(1, 1, START_MS, 40, 9500.0, 7900.0), (1, 2, START_MS, 9, 500.0, 168.0)],
            f"alerts: house_id 1, meter_id 2, start {START_MS} is not one of ours",
        ),
    ],
)
def test_what_is_wrong_is_named(name, rows, message):
    with pytest.raises(Different) as error:
        compare(frames(), frames(**{name: rows}))
    assert message in str(error.value)


def test_a_peer_without_daily_energy_is_refused():
    with pytest.raises(Different, match="no daily energy"):
        compare(frames(), {})


def test_a_folder_without_a_part_is_no_result(tmp_path):
    (tmp_path / "daily_energy.csv").mkdir()
    assert theirs(tmp_path) == {}


def test_files_of_either_kind_are_read(tmp_path):
    (tmp_path / "daily_energy.csv").mkdir()
    (tmp_path / "daily_energy.csv" / "part-0").write_text("1,1,2011-04-18,12.5,86400\n1,2,2011-04-18,0.0,28800\n")
    (tmp_path / "daily_energy.csv" / "part-1").write_text("1,1,2011-04-19,11.0,86400\n")
    ours = frames()
    ours["thresholds"].assign(date=pd.to_datetime(ours["thresholds"]["date"], unit="D").dt.date).to_parquet(tmp_path / "thresholds.parquet")
    ours["alerts"].to_parquet(tmp_path / "alerts.parquet")
    assert compare(ours, theirs(tmp_path)).days == 3
