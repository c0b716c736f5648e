"""The pages and queries on a solar home and on one that exports without a meter of its solar. Every figure is worked out by hand."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pytest

from dashboard import queries
from store import client
from tests.dashboard.conftest import database, metrics, texts
from tests.dashboard.results import SAT, SUN, insert, meter_row, utc
from tests.dashboard.test_pages import drawn
from tests.dashboard.test_queries import close, rows
from tests.store.test_schema import energy

METERS = {  # meter -> (label, kind, parent, kind of the parent, kWh drawn and fed on Saturday, on Sunday)
    1: ("mains", "mains", 0, None, (6.0, 0.0), (5.0, 5.0)),
    3: ("roof", "solar", 0, None, (0.1, 4.0), (0.1, 12.0)),
    4: ("battery", "battery", 0, None, (0.0, 0.0), (4.0, 3.0)),
    5: ("subpanel", "appliance", 1, "mains", (3.0, 0.0), (6.0, 0.0)),
    6: ("oven", "appliance", 5, "appliance", (2.0, 0.0), (2.0, 0.0)),
    7: ("tv corner", "appliance", 5, "appliance", (0.5, 0.0), (1.5, 0.0)),
    8: ("tv", "appliance", 7, "appliance", (0.5, 0.0), (0.5, 0.0)),
    9: ("charger", "ev", 0, None, (0.0, 0.0), (2.0, 0.0)),
}
WATTS = {1: -1000, 3: -3000, 4: 500, 5: 900, 6: 400, 7: 300, 8: 100, 9: 0}
"""At 14:00 on Sunday."""

SOLAR, EXPORTING = 11, 12
BOTH = {"from": str(SAT), "to": str(SUN)}


@pytest.fixture(scope="module")
def solar(clickhouse):
    settings = database(clickhouse, "dashboard_solar")

    insert(
        client.writer(settings, settings.clickhouse.database),
        houses=[(house, "UTC", "synthetic", "", "", "", None, None, None, utc(SAT, "00:00")) for house in (SOLAR, EXPORTING)],
        meters=[*(meter_row(SOLAR, meter, *about) for meter, (*about, _, _) in METERS.items()), meter_row(EXPORTING, 1, "mains", "mains")],
        daily_energy=[
            *(
                energy(SOLAR, meter, drawn, day=day, exported_kwh=fed)
                for meter, (*_, sat, sun) in METERS.items()
                for day, (drawn, fed) in ((SAT, sat), (SUN, sun))
            ),
            energy(EXPORTING, 1, 7.0, day=SAT, exported_kwh=0.04),
            energy(EXPORTING, 1, 9.0, day=SUN, exported_kwh=5.0),
        ],
        power_profile=[(SOLAR, meter, utc(SUN, "14:00"), 0, 60, watts, watts, watts) for meter, watts in WATTS.items()],
    )
    return settings


@pytest.fixture(scope="module")
def db(solar):
    return client.reader(solar)


@pytest.fixture
def visit(dashboard_on, solar):
    return dashboard_on(solar)


def test_the_balance_by_day(db):
    # Saturday: 6 imported + 4 produced. Sunday: 5 - 5 + 12 + 3 - 4
    assert rows(queries.balance(db, SOLAR, SAT, SUN)) == close(
        [(SAT, 6.0, 0.0, 4.0, 0.0, 0.0, 10.0, 100.0, 40.0), (SUN, 5.0, 5.0, 12.0, 4.0, 3.0, 11.0, 100 * 7 / 12, 100 * 6 / 11)]
    )
    assert rows(queries.balance(db, EXPORTING, SUN, SUN)) == [(SUN, 9, 5, 0, 0, 0, 9, None, None)]
    assert rows(queries.energy_of_house(db, SOLAR, SAT, SUN), "kwh") == [(10,), (11,)]
    assert rows(queries.energy_by_hour(db, SOLAR, SUN, SUN), "kwh")[:1] == close([(5 / 24,)]), "only what is imported costs"


def test_each_watt_of_meters_under_others_counts_once(db):
    found = rows(queries.appliance_energy(db, SOLAR, SUN, SUN), "meter_id", "parent", "kwh", "own_kwh")
    assert found == [(5, 1, 6, 2.5), (6, 5, 2, 2), (7, 5, 1.5, 1), (8, 7, 0.5, 0.5), (9, 0, 2, 2)]


def test_home_shows_what_flowed(visit):
    app = visit("home", house=str(SOLAR), date=str(SUN), meter="0", **BOTH)
    shown = metrics(app)
    # (16 - 5) of 16 produced, (21 - 11) of 21 consumed
    assert {name: value for name, value in shown.items() if name not in ("A day, kWh", "A day", "Covered")} == {
        "Energy, kWh": "21.0",
        "vs period before": "–",
        "vs zip median": "–",
        "Imported, kWh": "11.0",
        "Exported, kWh": "5.0",
        "Produced, kWh": "16.0",
        "Battery, kWh": "+4.0 -3.0",
        "Self-consumption": "69 %",
        "Self-sufficiency": "48 %",
        "Cost": "3.30",
    }
    assert drawn(app) == [["area", "line", "line", "line"], ["bar", "text"], ["bar", "rule"], ["line"], ["bar"]]
    assert "Line: consumption; dashed: production; dotted: the grid, below 0 for export." in texts(app.caption)[1]
    areas, *lines = (layer_rows(app, 0, layer) for layer in range(4))
    assert areas.groupby("label")["mean_watts"].sum().to_dict() == {"subpanel": 200, "oven": 400, "tv corner": 200, "tv": 100, "charger": 0}
    assert {line["line"].iloc[0]: line["mean_watts"].dropna().tolist() for line in lines} == {
        "consumption": [-1000 + 3000 - 500],
        "produced": [3000],
        "grid": [-1000],
    }
    flows = layer_rows(app, 2, 0).pivot_table("kwh", "date", "flow")
    assert flows[["own production", "imported", "exported"]].values.tolist() == [[4, 6, 0], [6, 5, -5]]


def layer_rows(app, chart: int, layer: int) -> pd.DataFrame:
    """The rows that a layer of a chart draws."""
    drawn_chart = app.get("vega_lite_chart")[chart]
    spec = json.loads(drawn_chart.proto.spec)
    name = spec["layer"][layer].get("data", spec.get("data"))["name"]
    [data] = [dataset.data.data for dataset in drawn_chart.proto.datasets if dataset.name == name]
    return pa.ipc.open_stream(data).read_pandas()


def test_home_of_one_that_exports_only(visit):
    app = visit("home", house=str(EXPORTING), **BOTH)
    shown = metrics(app)
    assert [shown[name] for name in ("Imported, kWh", "Exported, kWh", "Produced, kWh", "Self-consumption", "Self-sufficiency")] == [
        "16.0",
        "5.0",
        "0.0",
        "–",
        "–",
    ]
    assert "Battery, kWh" not in shown and shown["Energy, kWh"] == "16.0"
    assert ["bar", "rule"] in drawn(app) and drawn(app).count(["line"]) == 0


def test_the_noise_of_a_current_clamp_shows_nothing_new(visit):
    assert "Imported, kWh" not in metrics(visit("home", house=str(EXPORTING), **{"from": str(SAT), "to": str(SAT)}))


def test_appliances_by_what_they_lie_under(visit):
    app = visit("appliances", house=str(SOLAR), **{"from": str(SUN), "to": str(SUN)})
    assert metrics(app) == {"Appliances, kWh": "8.0", "Consumption, kWh": "11.0", "Share of the consumption": "73 %"}
    table = app.dataframe[0].value.fillna("")
    assert table[["label", "kwh", "under", "measured_kwh"]].values.tolist() == [
        ["unmetered", 3.0, "", ""],
        ["subpanel, rest", 2.5, "", 6.0],
        ["oven", 2.0, "subpanel", 2.0],
        ["charger", 2.0, "", 2.0],
        ["tv corner, rest", 1.0, "subpanel", 1.5],
        ["tv", 0.5, "tv corner", 0.5],
    ]
    assert table["share_percent"].sum() == pytest.approx(100)
