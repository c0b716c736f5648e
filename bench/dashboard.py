"""Measures the dashboard's queries and the load times of its pages, with many houses.

SQL creates a data set of houses in an endpoint of its own: every table as the jobs fill it, including the power profile. Houses have 20
meters that are read all the time, or as many as you like, for example one that is read each half-hour:

    ./smw bench dashboard --houses 1e6 --meters 1 --days 7 --reading-s 1800

Then each query of dashboard/queries.py runs five times. Each page is opened in Chromium three times, each time in a new browser with an
empty cache. "heading" is the time until the page's heading is visible; "first figure", until its first figure, chart or table is (on
SQL and Replay, the button that starts them; where there is nothing to show, the message); "whole", until nothing is loading any more. Finally alerts are inserted, and the time
until the open page Alerts shows them is measured.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from bench import measure
from bench.measure import Target, shown
from commands import status
from dashboard import queries
from dashboard.controls import MOST_LISTED
from generator.places import places
from smartmeter.settings import Settings
from stack import services
from store import schema, sink
from store.client import reader, writer
from tests.browser import CHROMIUM, PAGES

LAST = date(2026, 11, 23)
QUERY_RUNS, PAGE_RUNS, ALERTS = 5, 3, 30
NO_HOUSE = 999_999
LIMIT_S = 2.0
"""Longest time in which a page must show its first figure."""

LABELS = [
    "mains",
    "mains",
    "refrigerator",
    "freezer",
    "oven",
    "stove",
    "microwave",
    "dishwasher",
    "washer_dryer",
    "furnace",
    "air_conditioning",
    "lighting",
    "lighting",
    "kitchen_outlets",
    "kitchen_outlets",
    "outlets_unknown",
    "bathroom_gfi",
    "electronics",
    "electric_heat",
    "subpanel",
]

ROWS_AN_INSERT = 250_000
METER = """(SELECT {house_id:UInt64} + intDiv(number, {meters:UInt64}) AS house_id, 1 + number % {meters:UInt64} AS meter_id
            FROM numbers({houses:UInt64} * {meters:UInt64}))"""
METER_DAY = f"(SELECT *, {{day:Date32}} AS date FROM {METER})"
FILL = {
    "houses": """
        SELECT {house_id:UInt64} + number, 'America/New_York', 'bench', p.1, p.2, p.3, p.4, p.5, p.6, now64(3)
        FROM (SELECT number, {places:Array(Tuple(String, String, String, Float64, Float64, Int64))}[1 + ({house_id:UInt64} + number) % length({places:Array(Tuple(String, String, String, Float64, Float64, Int64))})] AS p
              FROM numbers({houses:UInt64}))""",
    "meters": f"""
        SELECT house_id, meter_id, {{labels:Array(String)}}[meter_id], if(meter_id <= 2, 'mains', 'appliance'), now64(3), 0,
               if(meter_id <= 2, 'grid', 'load')
        FROM {METER}""",
    "daily_energy": f"""
        SELECT house_id, meter_id, date, (cityHash64(house_id, meter_id, date) % 3000) / if(meter_id <= 2, 200, 2000) AS kwh,
               intDiv(86400, {{reading_s:UInt64}}), 0, if(cityHash64(house_id, meter_id, date, 2) % 500 = 0, 43200, 86400), 3, 86400, true,
               toUnixTimestamp64Milli(now64(3)), 0,
               arrayMap(hour -> toDateTime64(date, 3, 'America/New_York') + toIntervalHour(hour), range(24)), range(24),
               arrayMap(hour -> kwh * (1 + cityHash64(house_id, meter_id, hour) % 3) / 48, range(24)), arrayWithConstant(24, 3600),
               0, [], 0, NULL, NULL, if(meter_id = 1, kwh, NULL), NULL, 0
        FROM {METER_DAY}""",
    "thresholds": f"""
        SELECT house_id, meter_id, date, toDateTime64(date, 3, 'America/New_York') + INTERVAL 1 HOUR,
               toDateTime64(date, 3, 'America/New_York') + INTERVAL 25 HOUR, 0.97, 7, 100 + cityHash64(house_id, meter_id, date) % 1000,
               100000, 600000, false, 8000 + cityHash64(house_id, meter_id) % 1000, toUnixTimestamp64Milli(now64(3))
        FROM {METER_DAY}""",
    "alerts": f"""
        SELECT format('{{0}}/{{1}}/{{2}}', toString(house_id), toString(meter_id), toString(toUnixTimestamp64Milli(at))), house_id, meter_id, date,
               at, at + INTERVAL 10 MINUTE, date = {{last:Date32}} AND cityHash64(house_id) % 10 = 0, 0, 600, 9000, 1000, 8000, 0.2, toUnixTimestamp64Milli(now64(3))
        FROM (SELECT *, toDateTime64(date, 3, 'UTC') + toIntervalSecond(5 * 3600 + cityHash64(house_id, date) % 80000) AS at
              FROM {METER_DAY} WHERE cityHash64(house_id, meter_id, date, 1) % 60 = 0)""",
    "power_profile": """
        SELECT house_id, meter_id, minute, 0, greatest(1, intDiv(if(meter_id <= 2, 60, 20), {reading_s:UInt64})), watts * 0.98, watts, watts * 1.03
        FROM (
            SELECT {house_id:UInt64} + intDiv(meter, {meters:UInt64}) AS house_id, 1 + meter % {meters:UInt64} AS meter_id,
                   toDateTime({day:Date32}, 'UTC') + toIntervalMinute(300 + step * {every:UInt64}) AS minute,
                   if(cityHash64(house_id, meter_id, intDiv(step, 25)) % 4 = 0,
                      80 * meter_id + cityHash64(house_id, meter_id) % 400 + cityHash64(house_id, number) % 5,
                      cityHash64(house_id, meter_id, 7) % 6) AS watts
            FROM (SELECT number, intDiv(number, {steps:UInt64}) AS meter, number % {steps:UInt64} AS step
                  FROM numbers({houses:UInt64} * {meters:UInt64} * {steps:UInt64})))""",
}
"""Table -> rows of `houses` houses from house_id on, of one day. The power profile has `steps` minutes of each meter, `every` minutes apart."""

FILLED = {"thresholds": 13, "alerts": 14}
"""Table -> how many of sink.COLUMNS its rows above have; the others keep their defaults."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench dashboard."""
    parser.add_argument("--houses", type=measure.quantity, default=1000, help="how many houses (default 1000)")
    parser.add_argument("--meters", type=measure.quantity, default=20, help="meters of each house (default 20)")
    parser.add_argument("--days", type=measure.quantity, default=30, help="local days of each house (default 30)")
    parser.add_argument("--reading-s", type=measure.quantity, default=1, help="seconds from a meter's reading to its next (default 1)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for the JSON (default: SMW_HOME/bench)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Create the data set, measure, print and save."""
    first = LAST - timedelta(days=args.days - 1)
    with measure.workplace(settings) as (here, processes):
        services.start_endpoint(processes, here)
        sizes = fill(here, args.houses, args.meters, args.days, args.reading_s)
        queries_s = time_queries(here, max(1, args.houses // 2), args.meters, first)
        services.start_dashboard(processes, here)
        pages_s, alerts_s = time_pages(here), time_alerts(here)
    slowest = max(pages_s, key=lambda name: pages_s[name]["first_figure"])
    reached = [Target(f"first figure of the slowest page ({slowest}), s", pages_s[slowest]["first_figure"], most=LIMIT_S)]
    path = measure.save(
        args.out or settings.stack.home / "bench",
        "dashboard",
        settings,
        houses=args.houses,
        meters=args.meters,
        days=args.days,
        reading_s=args.reading_s,
        tables=sizes,
        queries_s=queries_s,
        pages_s=pages_s,
        alerts_s=alerts_s,
        targets=[target.record() for target in reached],
    )
    print(
        "\n"
        + measure.table(["table", "rows", "MB"], [[name, shown(of["rows"]), shown(of["bytes"], 1, 1e-6)] for name, of in sizes.items()], 1)
    )
    print("\n" + measure.table(["query", "ms"], [[name, shown(taken_s, 0, 1000)] for name, taken_s in queries_s.items()], 1))
    print(
        "\n"
        + measure.table(
            ["page", "heading, s", "first figure, s", "whole, s"],
            [[name, *(shown(taken_s, 2) for taken_s in of.values())] for name, of in pages_s.items()],
            1,
        )
    )
    print(
        f"\nfrom ClickHouse to the open page, {ALERTS} alerts: p50 {1000 * statistics.median(alerts_s):.0f} ms, max {1000 * max(alerts_s):.0f} ms\n"
    )
    print(*reached, f"\nSaved as {path}", sep="\n")
    return 0


def fill(settings: Settings, houses: int, meters: int, days: int, reading_s: int) -> dict[str, dict[str, int]]:
    """Create the data set. Returns the rows and bytes of each table."""
    client = writer(settings)
    schema.create(client, settings)
    known = [(p.zip, p.city, p.state, p.latitude, p.longitude, p.population) for p in places().values()]
    every = max(1, reading_s // 60)
    steps = 1440 // every
    values = dict(meters=meters, last=LAST, labels=LABELS, places=known, reading_s=reading_s, every=every, steps=steps)
    rows_of = {"houses": 1, "power_profile": meters * steps}  # of a house and day
    for table, select in FILL.items():
        columns, begun = ", ".join(sink.COLUMNS[table][: FILLED.get(table)]), time.monotonic()
        at_once = max(1, ROWS_AN_INSERT // rows_of.get(table, meters))
        for day in range(days if "{day:" in select else 1):
            for done in range(0, houses, at_once):
                here = values | dict(day=LAST - timedelta(days=day), house_id=1 + done, houses=min(at_once, houses - done))
                named = {name: value for name, value in here.items() if f"{{{name}:" in select}
                client.command(f"INSERT INTO {table} ({columns}) {select}", parameters=named)
        print(f"{table}: {houses:,} houses in {time.monotonic() - begun:.1f} s", file=sys.stderr)
    while client.query("SELECT count() FROM system.merges").first_row[0]:
        time.sleep(1)
    return {
        table: {"rows": rows, "bytes": size}
        for table, rows, size in client.query(
            "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() "
            "GROUP BY table ORDER BY table"
        ).result_rows
    }


def time_queries(settings: Settings, house_id: int, meters: int, first: date) -> dict[str, float]:
    """Seconds that each query takes, as a page sends it when opened; the median of QUERY_RUNS."""
    db = reader(settings)
    midnight_s = int(datetime(LAST.year, LAST.month, LAST.day, 5, tzinfo=UTC).timestamp())
    meter_ids, day = list(range(1, meters + 1)), (datetime.fromtimestamp(midnight_s, UTC), datetime.fromtimestamp(midnight_s + 86_400, UTC))
    calls = [
        (queries.houses, MOST_LISTED + 1),
        (queries.house, house_id),
        (queries.days,),
        (queries.meters, house_id),
        (queries.totals,),
        (queries.health,),
        (queries.dead_letters, 20),
        (queries.energy_of_all, first, LAST),
        (queries.energy_of_house, house_id, first, LAST),
        (queries.zip_median, "60614", first, LAST),
        (queries.balance, house_id, first, LAST),
        (queries.power, house_id, meter_ids, midnight_s, midnight_s + 86_400, 120),
        (queries.energy_by_hour, house_id, first, LAST),
        (queries.appliance_energy, house_id, first, LAST),
        (queries.thresholds, house_id, meter_ids, *day),
        (queries.energy_by_zip, first, LAST),
        (queries.alerts, 200),
        (queries.alert, "no such alert"),
        (queries.alerts_between, house_id, meter_ids, *day),
        (queries.alert_counts,),
        (queries.alert_labels,),
        (queries.sparse_meters, 0, 1000),
        (queries.register_faults, first, LAST, 0, 1000),
        (queries.register_differences, first, LAST, 0, 1000),
        (queries.doubtful_days, first, LAST, 0, 1000),
        (queries.replayed, first, LAST, 0),
        (queries.made_since, first, LAST, 0, 0),
    ]
    named = {query.__name__: partial(query, db, *arguments) for query, *arguments in calls} | {"status": partial(status.results, settings)}
    return {name: statistics.median(measure.seconds(query) for _ in range(QUERY_RUNS)) for name, query in named.items()}


def time_pages(settings: Settings) -> dict[str, dict[str, float]]:
    """Seconds until each page shows its heading, its first figure, and everything; the median of PAGE_RUNS."""
    found = {}
    with sync_playwright() as playwright:
        for name in PAGES:
            url = f"{services.dashboard_url(settings)}/{'' if name == 'overview' else name}"
            runs = [open_page(playwright.chromium.launch(**CHROMIUM), url) for _ in range(PAGE_RUNS)]
            found[name] = dict(zip(("heading", "first_figure", "whole"), map(statistics.median, zip(*runs))))
    return found


def open_page(browser: Browser, url: str) -> tuple[float, float, float]:
    """Seconds until a page shows its heading, its first figure, and everything."""
    page = browser.new_page()
    begun = time.monotonic()
    page.goto(url, wait_until="commit")
    page.get_by_role("heading", level=1).wait_for()
    heading_s = time.monotonic() - begun
    page.locator(
        "[data-testid=stMetricValue], [data-testid=stVegaLiteChart] svg, [data-testid=stDataFrame] canvas, [data-testid^=stBaseButton-primary], [data-testid=stAlertContentInfo]"
    ).first.wait_for()
    figure_s = time.monotonic() - begun
    page.locator("[data-testid=stStatusWidget], [data-testid=stSkeleton]").first.wait_for(state="hidden")
    page.wait_for_load_state("networkidle")
    whole_s = time.monotonic() - begun
    browser.close()
    return heading_s, figure_s, whole_s


def time_alerts(settings: Settings) -> list[float]:
    """Seconds from the insert of each alert into ClickHouse until the open page Alerts shows it."""
    client, taken_s = writer(settings, settings.clickhouse.database), []
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(**CHROMIUM).new_page()
        page.goto(f"{services.dashboard_url(settings)}/alerts?of_house={NO_HOUSE}")
        page.get_by_text("No matching alerts.").wait_for()
        for n in range(1, ALERTS + 1):
            time.sleep(random.uniform(0.5, 1.5))
            start_ms = 1_700_000_000_000 + 60_000 * n
            client.insert(
                "alerts",
                [[f"{NO_HOUSE}/1/{start_ms}", NO_HOUSE, 1, LAST, start_ms, start_ms + 9000, True, 0, 3, 9e3, 1e3, 8e3, 0.1, n]],
                column_names=sink.COLUMNS["alerts"][:14],
            )
            begun = time.monotonic()
            page.wait_for_function("text => document.body.innerText.includes(text)", arg=f"{n} alert{'s' * (n > 1)}, newest first")
            taken_s.append(time.monotonic() - begun)
    return taken_s
