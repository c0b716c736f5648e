"""The charts: axes in local time also where the clocks change, gaps, colours, and that Vega-Lite takes them."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from dashboard import charts
from dashboard.charts import EXPORTED, IMPORTED, OTHERS, OWN, UNMETERED, Span
from tests.dashboard.results import SAT, SPRING, SUN, utc

LONDON = ZoneInfo("Europe/London")
HOUR = 3600


def span_of(day: date, hours: float | None = None, begin: float = 0, most: int = 720) -> Span:
    """Some hours of a day in London, from so many hours after its midnight; all of it without."""
    start_s, end_s = (round(datetime.combine(at, time(), LONDON).timestamp()) for at in (day, day + timedelta(days=1)))
    start_s += round(begin * HOUR)
    return Span(start_s, round(start_s + hours * HOUR) if hours else end_s, LONDON, most)


def labels(span: Span) -> dict[float, str]:
    """The labels of the axis by the hours after the span's start."""
    axis = span.axis().to_dict()["axis"]
    texts = json.loads(axis["labelExpr"].removeprefix("(").removesuffix(")[datum.value]"))
    assert axis["values"] == [int(at_s) for at_s in texts]
    return {(int(at_s) - span.start_s) / HOUR: text for at_s, text in texts.items()}


def test_axis_of_a_day_of_23_hours():
    # 01:00 did not come: 03:00 is two hours after midnight
    assert labels(span_of(SPRING)) == {
        0: ["Sun 29 Mar", "2026"],
        2: "03:00",
        5: "06:00",
        8: "09:00",
        11: "12:00",
        14: "15:00",
        17: "18:00",
        20: "21:00",
        23: ["Mon 30 Mar", "2026"],
    }


def test_axis_of_a_day_of_25_hours():
    # 01:00 came twice: 03:00 is four hours after midnight
    assert labels(span_of(SUN)) == {
        0: ["Sun 25 Oct", "2026"],
        4: "03:00",
        7: "06:00",
        10: "09:00",
        13: "12:00",
        16: "15:00",
        19: "18:00",
        22: "21:00",
        25: ["Mon 26 Oct", "2026"],
    }


def test_axis_of_the_hours_in_which_the_clocks_change():
    assert labels(span_of(SUN, hours=3)) == {
        0: ["Sun 25 Oct", "2026"],
        0.5: "00:30",
        1: "01:00",
        1.5: "01:30",
        2: "01:00",
        2.5: "01:30",
        3: "02:00",
    }
    assert labels(span_of(SPRING, hours=2)) == {
        0: ["Sun 29 Mar", "2026"],
        0.25: "00:15",
        0.5: "00:30",
        0.75: "00:45",
        1: "02:00",
        1.25: "02:15",
        1.5: "02:30",
        1.75: "02:45",
        2: "03:00",
    }


def test_axis_of_a_span_that_begins_in_the_middle():
    span = span_of(SUN, hours=1.05, begin=12.1)  # from 11:06, after the clocks were put back
    assert list(labels(span).values()) == ["11:10", "11:20", "11:30", "11:40", "11:50", "12:00"]
    assert span.axis().to_dict()["axis"]["title"] == "local time (Europe/London)"


@pytest.mark.parametrize(
    "hours, most, step_s",
    [
        (24, 720, 120),
        (23, 720, 60),  # 115 s, in whole minutes: 1380 steps
        (25, 720, 120),
        (1, 720, 60),  # never less than a minute
        (7 * 24, 720, 840),
        (24, 1000, 60),
    ],
)
def test_steps_are_whole_minutes(hours, most, step_s):
    span = Span(0, hours * HOUR, LONDON, most)
    assert span.step_s == step_s
    assert hours * 60 <= most or most <= hours * HOUR / step_s < 2 * most


def test_a_span_is_its_times():
    span = span_of(SUN)
    assert (span.start, span.end) == (utc(date(2026, 10, 24), "23:00"), utc(date(2026, 10, 26), "00:00"))
    assert [span.local(utc(SUN, clock).timestamp()) for clock in ("00:30", "01:30")] == ["2026-10-25 01:30"] * 2


def power(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["start_s", "min_watts", "mean_watts", "max_watts"])


def test_a_step_without_readings_is_a_gap():
    span = Span(600, 840, LONDON, 720)
    full = span.every_step(power((600, 1.0, 2.0, 3.0), (720, 4.0, 5.0, 6.0)))
    assert full["start_s"].tolist() == [600, 660, 720, 780]
    assert full["mean_watts"].fillna("-").tolist() == [2, "-", 5, "-"]
    assert full["local"].tolist() == [f"1970-01-01 01:1{minute}" for minute in (0, 1, 2, 3)]  # London had summer time then


def test_rows_are_cut_to_the_span():
    span = span_of(SUN, hours=1, begin=13)  # 12:00 to 13:00
    start_s = round(utc(SUN, "12:00").timestamp())
    rows = pd.DataFrame({"start": [utc(SUN, "11:30"), utc(SUN, "12:10:00.250")], "end": [utc(SUN, "12:10:00.250"), utc(SUN, "14:00")]})
    cut = span.cut(rows, "start", "end")
    assert (cut["start_s"] - start_s).tolist() == pytest.approx([0, 600.25])
    assert (cut["end_s"] - start_s).tolist() == pytest.approx([600.25, HOUR])


# What is drawn

THRESHOLDS = pd.DataFrame(
    {"valid_from": [utc(SUN, "01:00")], "valid_to": [utc(SUN, "14:00")], "percentile_watts": [1.0], "limit_watts": [2.0]}
)
ALERTS = pd.DataFrame({"start": [utc(SUN, "12:10")], "end": [utc(SUN, "12:11")], "peak_watts": [3.0], "limit_watts": [2.0]})


def layers(chart) -> list[str]:
    """The marks of a chart's layers; fails where Vega-Lite would not take it."""
    return [layer["mark"]["type"] for layer in chart.to_dict()["layer"]]


def test_a_power_curve_has_thresholds_and_alerts_where_there_are_some():
    span = span_of(SUN, hours=1, begin=13)
    curve = power((span.start_s, 1.0, 2.0, 3.0))
    assert layers(charts.power_curve(curve, THRESHOLDS, ALERTS, span)) == ["rect", "rule", "area", "line", "rect", "point"]
    assert layers(charts.power_curve(curve, THRESHOLDS.head(0), ALERTS.head(0), span)) == ["area", "line"]


def test_an_alert_is_shown_in_local_time():
    span = span_of(SUN, hours=2)
    at = utc(SUN, "00:30")
    [band, _] = charts.episodes(ALERTS.assign(start=[at], end=[at + timedelta(minutes=1)]), span)
    assert band.data[["began", "start_s", "end_s"]].iloc[0].tolist() == ["2026-10-25 01:30", at.timestamp(), at.timestamp() + 60]


def test_stacked_power_has_the_line_of_the_mains_where_there_is_one():
    span = span_of(SUN, hours=1, begin=13)
    appliances, order = charts.ranked(
        pd.DataFrame({"start_s": [span.start_s], "label": ["oven"], "mean_watts": [2.0]}), "start_s", "mean_watts"
    )
    mains = pd.DataFrame({"start_s": [span.start_s], "mean_watts": [3.0]})
    assert layers(charts.stacked_power(appliances, {"mains": mains}, ALERTS, span, order)) == ["area", "line", "rect", "point"]
    assert layers(charts.stacked_power(appliances, {}, ALERTS.head(0), span, order)) == ["area"]


def test_the_lines_of_a_solar_home_differ_in_their_dashes():
    span = span_of(SUN, hours=1, begin=13)
    power = pd.DataFrame({"start_s": [span.start_s], "mean_watts": [3.0]})
    appliances, order = charts.ranked(power.assign(label="oven"), "start_s", "mean_watts")
    lines = dict.fromkeys(("consumption", "produced", "grid"), power)
    drawn = charts.stacked_power(appliances, lines, ALERTS.head(0), span, order).to_dict()["layer"]
    assert [layer["mark"]["strokeDash"] for layer in drawn[1:]] == [[1, 0], [6, 3], [2, 2]]


BALANCE = pd.DataFrame(
    {
        "date": pd.to_datetime([SAT, SUN]),
        "imported_kwh": [6.0, 5.0],
        "exported_kwh": [0.0, 5.0],
        "produced_kwh": [0.0, 12.0],
        "charged_kwh": [0.0, 4.0],
        "discharged_kwh": [0.0, 3.0],
        "consumption_kwh": [5.9, 11.0],
        "self_consumption_percent": [None, 58.0],
        "self_sufficiency_percent": [0.0, 54.0],
    }
)


def test_the_balance_of_a_day_stacks_what_was_used_over_what_was_exported():
    chart = charts.balance(BALANCE)
    assert layers(chart) == ["bar", "rule"]
    flows = chart.layer[0].data.pivot_table("kwh", "date", "flow")
    assert flows[[OWN, IMPORTED, EXPORTED]].values.tolist() == [[0, 6, 0], [6, 5, -5]], "rounding is no production"


def test_rates_that_are_undefined_are_left_out():
    chart = charts.rates_by_day(BALANCE)
    assert chart.data[["rate", "percent"]].values.tolist() == [["self-consumption", 58], ["self-sufficiency", 0], ["self-sufficiency", 54]]
    assert chart.to_dict()["encoding"]["y"]["scale"]["domain"] == [0, 100]


def test_the_largest_six_have_a_colour_and_the_rest_is_added_up():
    kwh_of = dict(zip("abcdefgh", (1, 2, 3, 4, 5, 6, 7, 8))) | {UNMETERED: 100}
    rows = pd.DataFrame([(day, label, kwh / 2) for day in (1, 2) for label, kwh in kwh_of.items()], columns=["date", "label", "kwh"])
    summed, order = charts.ranked(rows, "date", "kwh")
    assert order == ["h", "g", "f", "e", "d", "c", OTHERS, UNMETERED]
    first = summed[summed["date"] == 1].set_index("label")
    assert first["kwh"].to_dict() == {"h": 4, "g": 3.5, "f": 3, "e": 2.5, "d": 2, "c": 1.5, OTHERS: (2 + 1) / 2, UNMETERED: 50}
    assert first["rank"].to_dict() == {label: rank for rank, label in enumerate(order)}
    assert charts.ranked(rows[rows["label"].isin(["a", "b"])], "date", "kwh")[1] == ["b", "a"]


def test_a_colour_has_one_meaning_in_all_charts():
    scale = charts.appliance_colours(["oven", "kettle", OTHERS, UNMETERED]).to_dict()["scale"]
    assert dict(zip(scale["domain"], scale["range"])) == {
        "oven": charts.BLUE,
        "kettle": charts.ORANGE,
        OTHERS: charts.YELLOW,
        UNMETERED: charts.GREY,
    }
    all_of_them = charts.appliance_colours([*"abcdef", OTHERS, UNMETERED]).to_dict()["scale"]["range"]
    assert len(set(all_of_them)) == 8


def days(**columns) -> pd.DataFrame:
    return pd.DataFrame({"date": pd.to_datetime(["2026-10-23", "2026-10-24", "2026-10-26"]), "kwh": [10.0, 12.0, 3.0]} | columns)


def test_a_partial_day_is_pale_and_shows_its_coverage():
    energy = days(coverage_percent=[99.0, 98.6, 100.0], final=[True, True, False], before_kwh=[np.nan] * 3)
    none = pd.DataFrame({"date": [], "median_kwh": [], "houses": []})
    chart = charts.daily_energy(energy, none)
    assert layers(chart) == ["bar", "text"]
    assert chart.data["opacity"].tolist() == [0.9, 0.4, 0.4]
    assert chart.data["coverage"].tolist() == ["", "99 %", ""]
    median = pd.DataFrame({"date": energy["date"], "median_kwh": [1.0] * 3, "houses": [2] * 3})
    assert layers(charts.daily_energy(energy.assign(before_kwh=[9.0, np.nan, np.nan]), median)) == ["bar", "text", "tick", "line"]


ZIPS = pd.DataFrame(
    {
        "zip": ["10001", "99501"],
        "city": ["New York", "Anchorage"],
        "state": ["NY", "AK"],
        "latitude": [40.75, 61.2],
        "longitude": [-73.99, -149.9],
        "houses": [4, 1],
        "kwh": [216.0, 7.4],
        "kwh_per_house_day": [21.6, 2.5],
        "alerts": [2, 1],
    }
)


@pytest.mark.parametrize(
    "place, projection", [({}, "albersUsa"), ({"latitude": [40.75, 51.5], "longitude": [-73.99, -0.1]}, "naturalEarth1")]
)
def test_the_map_is_that_of_the_states_or_of_the_world(place, projection):
    drawn = charts.zip_map(ZIPS.assign(**place), "alerts", "alerts")
    assert drawn["layer"][0]["data"]["format"]["feature"] in drawn["layer"][0]["data"]["values"]["objects"]
    assert [layer["mark"]["type"] for layer in drawn["layer"]] == ["geoshape", "circle"]
    assert drawn["projection"]["type"] == projection


def test_labels_of_a_ranking_are_data_and_in_order():
    """In a list to sort by, Vega takes "constructor" for JavaScript's, and draws nothing."""
    drawn = charts.ranking(pd.DataFrame({"label": ["oven", "constructor"], "kwh": [2.0, 1.0], "share_percent": [None, None]})).to_dict()
    [rows] = drawn.pop("datasets").values()
    assert [row["label"] for row in rows] == ["oven", "constructor"]
    assert "constructor" not in json.dumps(drawn) and all(layer["encoding"]["y"]["sort"] is None for layer in drawn["layer"])


def test_a_ranking_leaves_room_for_a_figure_that_is_drawn_wider_than_it_was_measured():
    drawn = charts.ranking(pd.DataFrame({"label": ["oven"], "kwh": [1.0], "share_percent": [41.7]})).to_dict()
    assert drawn["padding"] == {"right": 2}


@pytest.mark.parametrize(
    "chart",
    [
        lambda: charts.columns_by_day(days(), "kwh", "energy, kWh"),
        lambda: charts.stacked_days(*charts.ranked(days(label=["oven", "kettle", "oven"]), "date", "kwh")),
        lambda: charts.ranking(pd.DataFrame({"label": ["oven"], "kwh": [1.0], "share_percent": [None]})),
        lambda: charts.percentiles(days(name="oven (3)", percentile_watts=[0.0, 5.0, 6.0], limit_watts=[None, 7.0, 8.0]), ["oven (3)"]),
    ],
)
def test_vega_lite_takes_it(chart):
    assert chart().to_dict()["$schema"].startswith("https://vega.github.io/schema/vega-lite/")


def test_a_percentile_of_0_has_no_place_on_a_logarithmic_scale():
    chart = charts.percentiles(days(name="oven (3)", percentile_watts=[0.0, 5.0, 6.0], limit_watts=[None, 7.0, 8.0]), ["oven (3)"])
    assert chart.data["percentile_watts"].tolist() == [5, 6]
