"""The balance of houses, and the shares of their appliances, worked out by hand. Meters: what draws and what feeds, in kWh."""

from __future__ import annotations

from datetime import date

import pytest

from store.sink import COLUMNS, role, rows_by_table
from tests.store.test_schema import DAY, energy, insert, time_of

SUNDAY = date(2019, 4, 14)
FLOWS = "imported_kwh, exported_kwh, produced_kwh, charged_kwh, discharged_kwh, consumption_kwh"
RATES = "self_consumption_percent, self_sufficiency_percent"

SOLAR_HOME = {  # meter -> (label, kind, parent, kWh drawn, kWh fed)
    1: ("mains", "mains", 0, 4.0, 3.0),
    2: ("mains", "mains", 0, 1.0, 2.0),
    3: ("roof", "solar", 0, 0.1, 12.0),
    4: ("battery", "battery", 0, 4.0, 3.0),
    5: ("subpanel", "appliance", 1, 6.0, 0.0),
    6: ("oven", "appliance", 5, 2.0, 0.0),
    7: ("tv corner", "appliance", 5, 1.5, 0.0),
    8: ("tv", "appliance", 7, 0.5, 0.0),
    9: ("charger", "ev", 0, 2.0, 0.0),
}


def store_house(writer, house_id: int, meters: dict, day: int = DAY) -> None:
    """Store a house as the sink does, and its energy of a day. meters: as SOLAR_HOME."""
    described = [dict(meter_id=meter, label=label, kind=kind, parent=parent) for meter, (label, kind, parent, _, _) in meters.items()]
    found = rows_by_table("houses", {"house_id": house_id, "updated": 0, "meters": described})["meters"]
    insert(writer, "meters", *([row[column] for column in COLUMNS["meters"]] for row in found))
    insert(
        writer, "daily_energy", *(energy(house_id, meter, kwh, day=day, exported_kwh=fed) for meter, (_, _, _, kwh, fed) in meters.items())
    )


def balance(client, columns: str = f"{FLOWS}, {RATES}", view: str = "house_balance") -> list[tuple]:
    return client.query(f"SELECT {columns} FROM {view} ORDER BY ALL").result_rows


def test_a_solar_home(writer, reader):
    store_house(writer, 1, SOLAR_HOME)
    # consumption: 5 imported - 5 exported + 12 produced + 3 discharged - 4 charged
    [found] = balance(reader)
    assert found == (5, 5, 12, 4, 3, 11, pytest.approx(100 * 7 / 12), pytest.approx(100 * 6 / 11))
    assert balance(reader, "house_id, date, has_mains, has_sources, coverage_percent, final") == [(1, SUNDAY, True, True, 100, True)]


def test_shares_are_of_the_consumption_and_count_each_watt_once(writer, reader):
    store_house(writer, 1, SOLAR_HOME)
    share = [own and pytest.approx(100 * own / 11) for own in (2.5, 2.0, 1.0, 0.5, 2.0)]
    assert reader.query("SELECT * FROM appliance_share ORDER BY meter_id").result_rows == [
        (1, SUNDAY, 5, 1, "subpanel", 6.0, 2.5, 11.0, share[0]),  # 6 less oven and tv corner
        (1, SUNDAY, 6, 5, "oven", 2.0, 2.0, 11.0, share[1]),
        (1, SUNDAY, 7, 5, "tv corner", 1.5, 1.0, 11.0, share[2]),
        (1, SUNDAY, 8, 7, "tv", 0.5, 0.5, 11.0, share[3]),
        (1, SUNDAY, 9, 0, "charger", 2.0, 2.0, 11.0, share[4]),
    ]


GRID = ("mains", "mains", 0)
CASES = {
    # Clamps show some export where nothing feeds: the house consumed what it imported.
    "no solar": ({1: (*GRID, 10.0, 0.2), 2: ("fridge", "appliance", 0, 2.0, 0.0)}, (10, 0.2, 0, 0, 0, 10, None, None)),
    "no mains": (
        {2: ("roof", "solar", 0, 0.0, 5.0), 3: ("panel", "appliance", 0, 3.0, 0.0), 4: ("oven", "appliance", 3, 2.0, 0.0)},
        (0, 0, 5, 0, 0, 3, None, None),
    ),
    "more exported than produced": ({1: (*GRID, 3.0, 2.0), 2: ("roof", "solar", 0, 0.0, 1.0)}, (3, 2, 1, 0, 0, 2, 0, 0)),
    "a day without sun": ({1: (*GRID, 4.0, 0.0), 2: ("roof", "solar", 0, 0.1, 0.0)}, (4, 0, 0, 0, 0, 4, None, 0)),
    "nobody at home": ({1: (*GRID, 0.0, 5.0), 2: ("roof", "solar", 0, 0.0, 5.0)}, (0, 5, 5, 0, 0, 0, 0, None)),
    "a meter that misses some": ({1: (*GRID, 0.0, 5.0), 2: ("roof", "solar", 0, 0.0, 4.0)}, (0, 5, 4, 0, 0, 0, 0, None)),
    "a battery within an inverter": (
        {1: (*GRID, 1.0, 0.0), 2: ("hybrid", "solar", 0, 0.0, 6.0), 3: ("cells", "battery", 2, 0.0, 2.0)},
        (1, 0, 6, 0, 0, 7, 100, pytest.approx(100 * 6 / 7)),
    ),
    "strings of an inverter": (
        {1: (*GRID, 1.0, 1.0), 2: ("gen", "solar", 0, 0.0, 4.0), 3: ("solar 1", "solar", 2, 0.0, 3.0)},
        (1, 1, 4, 0, 0, 4, 75, 75),
    ),
    "mains within mains": ({1: (*GRID, 10.0, 0.0), 2: ("flat", "mains", 1, 4.0, 0.0)}, (10, 0, 0, 0, 0, 10, None, None)),
    "solar in the garage": (
        {1: (*GRID, 2.0, 1.0), 2: ("garage", "appliance", 0, 0.5, 2.5), 3: ("roof", "solar", 2, 0.0, 4.0)},
        (2, 1, 4, 0, 0, 5, 75, 60),
    ),
    "an unknown meter": ({9: ("", "", 0, 1.5, 0.0)}, (0, 0, 0, 0, 0, 1.5, None, None)),
}


def test_the_balance_of_other_houses(writer, reader):
    for house_id, (meters, _) in enumerate(CASES.values()):
        store_house(writer, house_id, meters)
    found = reader.query(f"SELECT {FLOWS}, {RATES} FROM house_balance ORDER BY house_id").result_rows
    assert dict(zip(CASES, found, strict=True)) == {case: expected for case, (_, expected) in CASES.items()}


def test_what_a_panel_with_solar_in_it_uses_itself(writer, reader):
    store_house(writer, 1, CASES["solar in the garage"][0])  # net -2 of which the roof's are -4: the garage itself used 2
    assert reader.query("SELECT label, kwh, own_kwh, share_percent FROM appliance_share").result_rows == [("garage", 0.5, 2.0, 40.0)]


def test_houses_and_days_have_a_balance_each(writer, reader):
    store_house(writer, 1, SOLAR_HOME)
    store_house(writer, 1, {1: (*GRID, 7.0, 0.0)}, DAY + 1)  # without a result of its solar
    store_house(writer, 2, {1: (*GRID, 9.0, 0.0)})
    found = balance(reader, "house_id, date, consumption_kwh, self_sufficiency_percent IS NULL")
    assert found == [(1, SUNDAY, 11, 0), (1, date(2019, 4, 15), 7, 1), (2, SUNDAY, 9, 1)]


def test_the_hours_of_a_day_add_up_to_it(writer, reader):
    store_house(writer, 1, {meter: (*about, 0.0, 0.0) for meter, (*about, _, _) in SOLAR_HOME.items()})
    hours = {1: ((3.0, 0.0), (1.0, 5.0)), 3: ((0.1, 0.0), (0.0, 12.0)), 4: ((0.0, 3.0), (4.0, 0.0)), 9: ((2.0, 0.0), (0.0, 0.0))}
    for meter, flows in hours.items():
        of_day = [(3600 * 12 * n, 12 * n, drawn, 3600.0) for n, (drawn, _) in enumerate(flows)]
        drawn, fed = map(sum, zip(*flows))
        row = energy(1, meter, drawn, hours=of_day, exported_kwh=fed, hour_exported_kwh=[fed for _, fed in flows], revision=2)
        insert(writer, "daily_energy", row)
    found = balance(reader, f"hour_start, hour, {FLOWS}, {RATES}", "house_balance_by_hour")
    assert found == [(time_of(0), 0, 3, 0, 0, 0, 3, 6, None, 50), (time_of(43_200), 12, 1, 5, 12, 4, 0, 4, pytest.approx(100 * 7 / 12), 75)]
    [day] = balance(reader, FLOWS)
    assert day == pytest.approx(tuple(sum(row[2:8][n] for row in found) for n in range(6)))


def test_roles():
    kinds = ("mains", "appliance", "solar", "battery", "ev")
    assert [role(kind, None) for kind in kinds] == ["grid", "load", "solar", "battery", "load"]
    assert [role(kind, "mains") for kind in kinds] == ["within", "load", "solar", "battery", "load"]
    assert [role(kind, "appliance") for kind in kinds] == ["within", "within", "solar", "battery", "within"]
    assert [role(kind, "solar") for kind in kinds] == ["within", "within", "within", "within", "within"]
