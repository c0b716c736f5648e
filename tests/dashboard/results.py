"""A small set of results whose every figure can be worked out by hand.

Six houses. 1 to 4 stand in the zip 10001, on New York's clock (UTC-4 in those days); 5 is in London, which has no coordinates here, has
no mains, and has a day of 23 and one of 25 hours; of 6 nothing is known but its readings. Energy in kWh:

    house meter            29 March  Fri 23  Sat 24  Sun 25  Mon 26 October
    1     1 mains                 -      10      12      14       3            Saturday covered by half; Monday still runs
          2 refrigerator          -       1       1       1       0.25
          3 oven                  -       2       3       4       0.5
    2     1 mains                 -      20      22      20       5            Monday still runs
          2 refrigerator          -       2       2       2       0.5
    3     1 mains                 -      11       -       -       4            Monday still runs
          2 heater                -      12       -       -       -            more than the mains
    4     1 mains                 -      99       -       -       -
    5     2 kettle              0.4       -     0.5       1       -
          4 washer              2.0       -     1.5       2       -            29 March covered by half
    6     7                       -       -       -     1.5       -

Each of these 31 rows has 100 readings, but for house 4's: 30 x 100 + 1,497,000 = 1,500,000.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta

from clickhouse_connect.driver.client import Client

from store import sink

SPRING = date(2026, 3, 29)
FRI, SAT, SUN, MON = (date(2026, 10, day) for day in (23, 24, 25, 26))
LONG_AGO = 1_000
NEWEST_MS = round(time.time() * 1000) - 3 * 86_400_000
"""The newest results were made three days before the tests began, which is three days ago for twelve hours."""

ENERGY = {
    (1, 1): {FRI: 10, SAT: 12, SUN: 14, MON: 3},
    (1, 2): {FRI: 1, SAT: 1, SUN: 1, MON: 0.25},
    (1, 3): {FRI: 2, SAT: 3, SUN: 4, MON: 0.5},
    (2, 1): {FRI: 20, SAT: 22, SUN: 20, MON: 5},
    (2, 2): {FRI: 2, SAT: 2, SUN: 2, MON: 0.5},
    (3, 1): {FRI: 11, MON: 4},
    (3, 2): {FRI: 12},
    (4, 1): {FRI: 99},
    (5, 2): {SPRING: 0.4, SAT: 0.5, SUN: 1},
    (5, 4): {SPRING: 2.0, SAT: 1.5, SUN: 2},
    (6, 7): {SUN: 1.5},
}
HOURS = {
    (1, 1, SAT): [(SUN, "03:00", 23, 12)],
    (1, 1, SUN): [(SUN, "14:00", 10, 7), (SUN, "16:00", 12, 7)],
    (5, 2, SUN): [(SUN, "00:00", 1, 0.25), (SUN, "01:00", 1, 0.25), (SUN, "12:00", 12, 0.5)],  # 1 o'clock, and once more
    (5, 4, SUN): [(SUN, "01:00", 1, 1.0), (SUN, "12:00", 12, 1.0)],
    (5, 2, SPRING): [(SPRING, "00:00", 0, 0.1), (SPRING, "01:00", 2, 0.3)],  # there was no 1 o'clock
    (5, 4, SPRING): [(SPRING, "00:00", 0, 0.5), (SPRING, "01:00", 2, 1.5)],
}
"""Start (UTC), local hour and kWh; the hours of other days are not known."""
NO_EXPORT = 0.0, []
NO_REGISTERS = None, None, None, None, 0
HALF_COVERED = {(1, 1, SAT), (5, 4, SPRING)}
LABELS = {
    (1, 1): "mains",
    (1, 2): "refrigerator",
    (1, 3): "oven",
    (2, 1): "mains",
    (2, 2): "refrigerator",
    (3, 1): "mains",
    (3, 2): "heater",
    (4, 1): "mains",
    (5, 2): "kettle",
    (5, 4): "washer",
}


def utc(day: date, clock: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}+00:00")


def alert_id(house_id: int, meter_id: int, start: datetime) -> str:
    return f"{house_id}/{meter_id}/{round(start.timestamp() * 1000)}"


KETTLE = alert_id(5, 2, utc(SUN, "01:30"))  # 01:30 for the second time on that day
OVEN = alert_id(1, 3, utc(SUN, "14:00"))
NO_ALERT = alert_id(1, 3, utc(SUN, "15:00"))
UNKNOWN = alert_id(6, 7, utc(SUN, "23:30"))
MAINS = alert_id(2, 1, utc(MON, "12:00"))
NEWEST_FIRST = [MAINS, UNKNOWN, OVEN, KETTLE]


def houses() -> list[tuple]:
    new_york = ("America/New_York", "synthetic", "10001", "New York", "NY", 40.75, -73.99, 21_000, utc(FRI, "00:00"))
    return [(house_id, *new_york) for house_id in (1, 2, 3, 4)] + [
        (5, "Europe/London", "ukdale", "SW1A", "London", "", None, None, None, utc(FRI, "00:00"))
    ]


def meters() -> list[tuple]:
    return [meter_row(*meter, label, "mains" if label == "mains" else "appliance") for meter, label in LABELS.items()]


def meter_row(house_id: int, meter_id: int, label: str, kind: str, parent: int = 0, parent_kind: str | None = None) -> tuple:
    return (house_id, meter_id, label, kind, utc(FRI, "00:00"), parent, sink.role(kind, parent_kind))


def daily_energy() -> list[tuple]:
    rows = [
        (1, 1, FRI, 9.0, 50, 0, 80_000.0, 0.0, 86_400, False, LONG_AGO - 1, 0, [], [], [], [], *NO_EXPORT, 0, *NO_REGISTERS)
    ]  # as it was known before
    for (house_id, meter_id), kwh_of in ENERGY.items():
        for day, kwh in kwh_of.items():
            day_s = {5: {SPRING: 23 * 3600, SUN: 25 * 3600}}.get(house_id, {}).get(day, 86_400)
            covered_s = day_s / 2 if (house_id, meter_id, day) in HALF_COVERED else day_s
            rows.append(
                (
                    house_id,
                    meter_id,
                    day,
                    kwh,
                    1_497_000 if house_id == 4 else 100,
                    0,
                    covered_s,
                    day_s - covered_s,
                    day_s,
                    day != MON,
                    NEWEST_MS if day == MON else LONG_AGO,
                    0,
                    *hours(house_id, meter_id, day),
                    *NO_EXPORT,
                    0,
                    *NO_REGISTERS,
                )
            )
    return rows


def hours(house_id: int, meter_id: int, day: date) -> tuple[list, list, list, list]:
    known = HOURS.get((house_id, meter_id, day), [])
    return (
        [utc(on, at) for on, at, _, _ in known],
        [hour for *_, hour, _ in known],
        [float(kwh) for *_, kwh in known],
        [3600.0] * len(known),
    )


def thresholds() -> list[tuple]:
    def version(house_id, meter_id, day, valid_from, percentile_watts, limit_watts):
        return (
            house_id,
            meter_id,
            day,
            valid_from,
            utc(day + timedelta(days=1), "05:00"),
            0.97,
            7,
            percentile_watts,
            100,
            86_400.0,
            limit_watts is None,
            limit_watts,
            LONG_AGO,
            *sink.USUAL.values(),
            None,
        )

    return [
        version(1, 1, SUN, utc(SUN, "05:00"), 2000, 9000),
        version(1, 3, FRI, datetime(1970, 1, 1, tzinfo=UTC), 0, None),
        version(1, 3, SAT, utc(SAT, "05:00"), 1400, 3250),
        version(1, 3, SUN, utc(SUN, "05:00"), 1500, 3480),
    ]


def alerts() -> list[tuple]:
    def alert(house_id, meter_id, day, start, seconds, peak_watts, limit_watts, excess_kwh, is_open=False, retracted=0):
        at = utc(day, start)
        return (
            alert_id(house_id, meter_id, at),
            house_id,
            meter_id,
            day,
            at,
            at + timedelta(seconds=seconds),
            is_open,
            retracted,
            seconds,
            peak_watts,
            1500.0,
            limit_watts,
            excess_kwh,
            LONG_AGO,
            "level",
            "warning",
            f"**{peak_watts:,} W**, over its limit of {limit_watts:,} W",
            f"it falls to {limit_watts:,} W or less",
            "",
        )

    return [
        alert(5, 2, SUN, "01:30", 60, 3000, 2500, 0.004),
        alert(1, 3, SUN, "14:00", 150, 4000, 3480, 0.01),
        alert(1, 3, SUN, "15:00", 10, 4000, 3480, 0.002, retracted=1),
        alert(6, 7, SUN, "23:30", 30, 800, 500, 0.03),
        alert(2, 1, MON, "12:00", 60, 9500, 9000, 0.02, is_open=True),
    ]


def acknowledgements() -> list[tuple]:
    return [
        (OVEN, 1, "the roast", "ann@example.org", 0, utc(SUN, "15:00")),
        (KETTLE, 5, "", "", 0, utc(SUN, "02:00")),
        (UNKNOWN, 6, "taken back", "", 0, utc(MON, "08:00")),
        (UNKNOWN, 6, "", "", 1, utc(MON, "09:00")),
    ]


def rules() -> list[tuple]:
    """Of house 1 and its oven, and one of the kettle that was withdrawn."""
    nothing = (None, 0, None, None, None, None, None, [], [], [])
    limit, normal = (2000.0, 10), (["run", "level"], [40, 0], [0.0, 3900.0])
    return [
        (1, 0, utc(SUN, "04:00"), False, "high", *nothing, "ann@example.org", utc(SAT, "10:00")),
        (1, 3, utc(SAT, "12:00"), False, "low", *nothing, "ann@example.org", utc(SAT, "11:00")),
        (1, 3, utc(SUN, "12:00"), False, "normal", *limit, 240, 720, 1320, 360, None, *normal, "", utc(SUN, "11:00")),
        (5, 2, utc(SAT, "12:00"), False, "low", *nothing, "", utc(SAT, "11:00")),
        (5, 2, utc(SUN, "12:00"), True, "normal", *nothing, "ann@example.org", utc(SUN, "11:00")),
    ]


def power_profile() -> list[tuple]:
    """House 1 on Friday, on Saturday's last minute and on Sunday; house 5 on its long and on its short day. Readings, then min, mean and max."""
    return [
        (1, 3, utc(SAT, "02:00"), 0, 60, 10, 20, 30),
        (1, 1, utc(SUN, "03:59"), 0, 10, 100, 100, 100),
        (1, 1, utc(SUN, "14:00"), 0, 60, 100, 200, 400),
        (1, 1, utc(SUN, "14:00"), 7, 20, 50, 600, 900),  # the part that came later
        (1, 1, utc(SUN, "14:01"), 0, 20, 500, 700, 800),
        (1, 1, utc(SUN, "16:00"), 0, 60, 300, 1000, 1500),
        (1, 3, utc(SUN, "14:00"), 0, 60, 0, 2000, 4000),
        (1, 3, utc(SUN, "14:01"), 0, 60, 3000, 3500, 4000),
        (5, 2, utc(SUN, "00:30"), 0, 60, 1000, 1000, 1000),  # 01:30
        (5, 2, utc(SUN, "01:30"), 0, 60, 1500, 1500, 1500),  # 01:30 once more
        (5, 4, utc(SUN, "01:30"), 0, 60, 500, 500, 500),
        (5, 2, utc(SUN, "12:00"), 0, 60, 3000, 3000, 3000),
        (5, 2, utc(SPRING, "00:30"), 0, 60, 1000, 1000, 1000),  # 00:30
        (5, 2, utc(SPRING, "01:30"), 0, 60, 3000, 3000, 3000),  # 02:30: there was no 01:30
    ]


def late() -> list[tuple]:
    return [
        (0, offset, 1, FRI, utc(FRI, "12:00"), utc(FRI, "12:01"), readings, 0.1, utc(SUN, "06:00"), "after the day was closed")
        for offset, readings in ((1, 3), (2, 4))
    ]


def dead_letter() -> list[tuple]:
    return [
        (0, 3, utc(FRI, "12:00"), "not Avro", b"x"),
        (0, 4, utc(FRI, "13:00"), "not Avro", b"y"),
        (1, 3, utc(SAT, "12:00"), "in the future", b"z"),
    ]


def insert(writer: Client, **tables: list[tuple]) -> None:
    """Insert rows, each with the values of sink.COLUMNS."""
    for table, rows in tables.items():
        writer.insert(table, rows, sink.COLUMNS[table])


def insert_all(writer: Client) -> None:
    insert(
        writer,
        **{
            table.__name__: table()
            for table in (houses, meters, daily_energy, thresholds, alerts, acknowledgements, rules, power_profile, late, dead_letter)
        },
    )
