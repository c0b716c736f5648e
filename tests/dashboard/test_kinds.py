"""Alerts of every kind on the page Alerts, with the picture of why. House 9 is in London; its meters: 1 mains, 2 heater, 3 fridge."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pyarrow as pa
import pytest

from commands import status
from dashboard import queries
from store import client
from tests.dashboard.conftest import database, metrics, ran, texts
from tests.dashboard.results import FRI, LONG_AGO, NO_EXPORT, NO_REGISTERS, alert_id, insert, meter_row, utc
from tests.dashboard.test_pages import drawn, labelled, labels, listed

DAY = date(2026, 11, 10)
NIGHT = timedelta(days=1)
RUNS = [90, 60, 30, 20, 10, 0, 0, 0, 0, 0, 0]
OF_MAINS = (True, RUNS, 0, 5, 20, [1000.0 + 10 * hour for hour in range(24)], 120.0, 30.0, [])
OF_HEATER = (False, RUNS, 120, 5, 20, [], None, None, [60.0, 100.0, 1500.0, 9e7])
STARTS = {
    "level": (2, "10:00", 1000.0, "critical"),
    "run": (2, "10:30", 120.0, "warning"),
    "band": (2, "10:30", 0.0, "warning"),
    "hour": (1, "11:00", 1110.0, "warning"),
    "standby": (1, "22:00", 120.0, "info"),
    "dead": (1, "14:00", 30.0, "critical"),
    "off": (3, "12:00", 30.0, "warning"),
    "frozen": (3, "15:00", 0.0, "warning"),
    "limit": (2, "12:30", 400.0, "warning"),
    "overrun": (2, "13:30", 30.0, "warning"),
    "schedule": (2, "15:30", 30.0, "warning"),
    "idle": (3, "12:30", 30.0, "warning"),
}
SILENT, HOUSE_SILENT = (alert_id(9, meter_id, utc(DAY, at)) + "/silent" for meter_id, at in ((3, "17:00"), (0, "18:00")))
IDS = {kind: alert_id(9, meter_id, utc(DAY, at)) + f"/{kind}" * (kind != "level") for kind, (meter_id, at, *_) in STARTS.items()}


def alert(kind: str, meter_id: int, at: str, limit_watts: float, severity: str) -> tuple:
    start, rule = utc(DAY, at), "" if kind == "level" else kind
    return (
        alert_id(9, meter_id, start) + f"/{rule}" * bool(rule),
        9,
        meter_id,
        DAY,
        start,
        start + timedelta(minutes=20),
        kind == "run",
        0,
        0,
        600.0,
        0.0,
        limit_watts,
        0.0,
        LONG_AGO,
        kind,
        severity,
        f"it is {kind}",
        f"it is no longer {kind}",
        rule,
    )


def threshold(meter_id: int, usual: tuple) -> tuple:
    at = utc(DAY, "01:00")
    return (9, meter_id, DAY, at, at + NIGHT, 0.97, 7, 200.0, 100, 86_400.0, False, 1000.0, LONG_AGO, *usual, 15)


def minutes(meter_id: int, first: str, last: str, watts: float) -> list[tuple]:
    count = int((utc(DAY, last) - utc(DAY, first)) / timedelta(minutes=1))
    return [(9, meter_id, utc(DAY, first) + timedelta(minutes=i), 0, 60, watts, watts, watts) for i in range(count)]


def rule(meter_id: int, *fields: float | None) -> tuple:
    """fields: limit_watts, limit_minutes, longest_on_minutes, longest_off_minutes, off_from, off_to."""
    return (9, meter_id, utc(DAY, "00:00"), False, "normal", *fields, None, [], [], [], "", utc(FRI, "00:00"))


@pytest.fixture(scope="module")
def with_kinds(clickhouse):
    """Settings with an alert of each kind, of the fridge and of the house even two of kind silent."""
    settings = database(clickhouse, "dashboard_kinds")
    insert(
        client.writer(settings, settings.clickhouse.database),
        houses=[(9, "Europe/London", "synthetic", "SW1A", "London", "", None, None, None, utc(FRI, "00:00"))],
        meters=[
            meter_row(9, meter_id, label, "mains" if meter_id == 1 else "appliance")
            for meter_id, label in ((1, "mains"), (2, "heater"), (3, "fridge"))
        ],
        daily_energy=[
            (9, meter_id, DAY, 1.0, 10, 0, 86_400.0, 0.0, 86_400, True, LONG_AGO, 0, [], [], [], [], *NO_EXPORT, 0, *NO_REGISTERS)
            for meter_id in (1, 2, 3)
        ],
        thresholds=[threshold(1, OF_MAINS), threshold(2, OF_HEATER), threshold(3, OF_HEATER)],
        alerts=[
            *(alert(kind, *of) for kind, of in STARTS.items()),
            alert("silent", 3, "17:00", 0.0, "warning"),
            alert("silent", 0, "18:00", 0.0, "warning"),
        ],
        rules=[rule(2, 400.0, 30, 240, None, 930, 960), rule(3, None, 0, None, 195, None, None)],
        power_profile=[
            *minutes(1, "08:00", "17:30", 700),
            *minutes(2, "08:00", "09:00", 10),
            *minutes(2, "09:00", "17:30", 500),
            *minutes(3, "08:00", "16:00", 20),
        ],
    )
    return settings


@pytest.fixture
def visit(dashboard_on, with_kinds):
    return dashboard_on(with_kinds)


@pytest.fixture(scope="module")
def db(with_kinds):
    return client.reader(with_kinds)


def test_alerts_are_counted_by_kind_and_severity(visit, db):
    app = visit("alerts")
    assert metrics(app) == {"Alerts": "14", "Open": "1", "Critical": "2", "Warning": "11", "Info": "1"}
    table = app.table[0].value
    assert table.index.tolist() == ["silent", *sorted(STARTS)]
    assert table.columns.tolist() == ["alerts", "open", "critical", "warning", "info"]
    assert [table.loc[kind].tolist() for kind in ("silent", "dead", "run")] == [[2, 0, 0, 2, 0], [1, 0, 1, 0, 0], [1, 1, 0, 1, 0]]
    assert "run: on for longer than usual" in app.selectbox(key="kind").options
    assert queries.alert_counts(db, show="open").values.tolist() == [["run", "warning", 1, 1]]


@pytest.mark.parametrize(
    "query, expected",
    [
        ({"kind": "silent"}, [HOUSE_SILENT, SILENT]),
        ({"severity": "critical"}, [IDS["dead"], IDS["level"]]),
        ({"severity": "critical", "kind": "dead"}, [IDS["dead"]]),
        ({"of_house": "9", "of_meter": "2"}, [IDS[kind] for kind in ("schedule", "overrun", "limit", "band", "run", "level")]),
        ({"of_house": "9", "of_meter": "0"}, [HOUSE_SILENT]),
        ({"appliance": "the house"}, [HOUSE_SILENT]),
    ],
)
def test_filters(visit, query, expected):
    app = visit("alerts", **query)
    assert listed(app) == expected and app.query_params == {"show": "all", **query}
    assert metrics(app)["Alerts"] == str(len(expected))


def test_filters_that_are_picked(visit):
    app = ran(visit("alerts").selectbox(key="kind").set_value("band"))
    assert (listed(app), app.query_params) == ([IDS["band"]], {"show": "all", "kind": "band"})
    app = ran(app.selectbox(key="kind").set_value(""))
    app = ran(app.selectbox(key="severity").set_value("info"))
    assert (listed(app), app.query_params) == ([IDS["standby"]], {"show": "all", "severity": "info"})
    app = ran(ran(app.selectbox(key="severity").set_value("")).number_input(key="of_house").set_value(9))
    assert app.selectbox(key="of_meter").options == ["all", "the house", "mains (1)", "heater (2)", "fridge (3)"]
    app = ran(app.selectbox(key="of_meter").set_value(0))
    assert (listed(app), app.query_params) == ([HOUSE_SILENT], {"show": "all", "of_house": "9", "of_meter": "0"})
    assert ran(app.number_input(key="of_house").set_value(0)).query_params == {"show": "all"}


def test_the_table_has_what_ends_an_alert_and_the_whole_house_has_its_name(visit):
    table = visit("alerts", kind="silent").dataframe[0].value
    assert table[["label", "alert_kind", "reason", "ends_when"]].values.tolist() == [
        ["the house", "silent", "it is silent", "it is no longer silent"],
        ["fridge", "silent", "it is silent", "it is no longer silent"],
    ]


LINES, ALERT = ["area", "line"], ["rect", "point"]


@pytest.mark.parametrize(
    "alert, marks, stated",
    [
        (IDS["level"], ["rect", "rule", *LINES, *ALERT], "Yellow band: from the percentile to the limit"),
        (IDS["run"], [*LINES, "rule", "rule", *ALERT], "120 W, that the meter stays over. The green bar is as long as that usually lasts at most, 30 min,"),
        (IDS["off"], [*LINES, "rule", "rule", *ALERT], "30 W, up to which the meter is off. The green bar is as long as that usually lasts at most, 2 h,"),
        (IDS["frozen"], [*LINES, "rule", *ALERT], "All readings of the alert are equal. The green bar is as long as that usually lasts at most, 5 min,"),
        (SILENT, [*LINES, "rule", *ALERT], "There is no reading during the alert. The green bar is as long as that usually lasts at most, 20 min,"),
        (HOUSE_SILENT, [*LINES, "rule", *ALERT], "usually lasts at most, 15 min,"),
        (IDS["band"], ["rect", "rect", *LINES, *ALERT], "Grey with a dashed outline: those that it seldom draws."),
        (IDS["hour"], [*LINES, "rule", *ALERT], "The curve is what no other meter of the house measures."),
        (IDS["standby"], [*LINES, "rule", *ALERT], "120 W, that the house usually falls to within a day."),
        (IDS["dead"], [*LINES, "rule", *ALERT], "30 W, that the house always draws more than."),
        (IDS["limit"], [*LINES, "rule", "rule", *ALERT], "the limit of its own rule, 400 W. The green bar is as long as its rule allows, 30 min,"),
        (IDS["overrun"], [*LINES, "rule", "rule", *ALERT], "30 W, over which the meter is on. The green bar is as long as its rule allows, 4 h,"),
        (IDS["idle"], [*LINES, "rule", "rule", *ALERT], "30 W, up to which the meter is off. The green bar is as long as its rule allows, 3 h 15 min,"),
        (IDS["schedule"], [*LINES, "rule", *ALERT], "The dashed line is the power, 30 W, over which the meter is on. Red"),
    ],
)  # fmt: skip
def test_the_picture_of_why(visit, alert, marks, stated):
    app = visit("alerts", alert=alert)
    assert drawn(app) == [marks]
    assert stated in texts(app.caption)[-1]
    assert texts(app.text)[0] == ("the house, London" if alert == HOUSE_SILENT else texts(app.text)[0])


def data_of(app, layer: int) -> list[dict]:
    """The rows of a layer of the picture."""
    [chart] = app.get("vega_lite_chart")
    name = json.loads(chart.proto.spec)["layer"][layer]["data"]["name"]
    [data] = [dataset.data.data for dataset in chart.proto.datasets if dataset.name == name]
    return pa.ipc.open_stream(data).read_all().to_pylist()


def test_the_bar_of_a_run_begins_with_it(visit):
    [bar] = data_of(visit("alerts", alert=IDS["run"]), 3)
    nine = utc(DAY, "09:00").timestamp()
    assert (bar["start_s"], bar["end_s"], bar["watts"]) == (nine, nine + 30 * 60, 120)


def test_the_bar_of_a_rule_begins_with_what_it_allows(visit):
    [bar] = data_of(visit("alerts", alert=IDS["overrun"]), 3)
    nine = utc(DAY, "09:00").timestamp()
    assert (bar["start_s"], bar["end_s"], bar["watts"]) == (nine, nine + 4 * 3600, 30)


@pytest.mark.parametrize("alert", ["limit", "overrun", "idle", "schedule"])
def test_an_alert_of_a_rule_leads_to_that_rule_and_is_never_normal(visit, alert):
    app = visit("alerts", alert=IDS[alert])
    assert "This is normal" not in " ".join(labels(app.button)) and "Its rule" not in labels(app.button)
    app = ran(labelled(app, "Change its rule").click())
    assert texts(app.title) == ["Rules"] and app.query_params == {"house": "9", "meter": str(STARTS[alert][0])}


def test_an_alert_of_the_whole_house_is_never_normal(visit):
    assert "This is normal" not in " ".join(labels(visit("alerts", alert=HOUSE_SILENT).button))
    assert any(label.startswith("This is normal") for label in labels(visit("alerts", alert=SILENT).button))


def test_the_limits_of_an_hour_are_those_of_its_hours_and_the_curve_is_what_no_other_meter_measures(visit):
    app = visit("alerts", alert=IDS["hour"])  # 11:00 to 11:20; the picture from 09:00 to 11:51
    assert [limit["watts"] for limit in data_of(app, 2)] == [1000 + 10 * hour for hour in (9, 10, 11)]
    assert {row["mean_watts"] for row in data_of(app, 1)} == {700 - 500 - 20}


def test_the_bands_of_a_heater(visit):
    app = visit("alerts", alert=IDS["band"])
    assert [(row["low_watts"], row["high_watts"]) for row in data_of(app, 0)] == [(0, 60), (100, pytest.approx(1.1 * 600))]
    assert [(row["low_watts"], row["high_watts"]) for row in data_of(app, 1)] == [(60, 100)]


def test_home_shows_alerts_of_the_whole_house_with_their_kinds(visit):
    app = visit("home", house="9", date=str(DAY), meter="3")
    assert any("Red, with a triangle: 5 alerts (frozen, idle, off, silent)." in text for text in texts(app.caption))


def test_status_counts_open_alerts_by_kind(db):
    [found] = db.query(status.RESULTS).named_results()
    assert (found["open_alerts"], found["open_alerts_by_kind"]) == (1, {"run": 1})


def test_overview_counts_open_alerts_by_kind(visit):
    [metric] = [metric for metric in visit("overview").metric if metric.label == "Open alerts"]
    assert (metric.value, metric.proto.help) == ("1", "14 alerts in all; open: 1 run")
