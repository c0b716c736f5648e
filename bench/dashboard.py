"""Measures the dashboard's queries and the load times of its pages, with many houses.

SQL creates a data set of houses with 20 meters in an endpoint of its own: every table as the jobs fill it, including the power profile.
Then each query of dashboard/queries.py runs five times. Each page is opened in Chromium three times, each time in a new browser with an
empty cache. "heading" is the time until the page's heading is visible; "first figure", until its first figure, chart or table is (on
SQL and Replay, the button that starts them); "whole", until nothing is loading any more. Finally alerts are inserted, and the time
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
from dashboard import queries
from generator.places import places
from smartmeter.settings import Settings
from stack import services
from store import schema, sink
from store.client import reader, writer
from tests.browser import CHROMIUM, PAGES

LAST = date(2026, 11, 23)
METERS = 20
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

HOUSE_METER = "(SELECT 1 + intDiv(number, 20) AS house_id, 1 + number % 20 AS meter_id FROM numbers({houses:UInt64} * 20)) AS m"
DAY = "(SELECT {first:Date32} + number AS date FROM numbers({days:UInt64})) AS d"
FILL = {
    "houses": """
        SELECT 1 + number, 'America/New_York', 'bench', p.1, p.2, p.3, p.4, p.5, p.6, now64(3)
        FROM (SELECT number, {places:Array(Tuple(String, String, String, Float64, Float64, Int64))}[1 + number % length({places:Array(Tuple(String, String, String, Float64, Float64, Int64))})] AS p
              FROM numbers({houses:UInt64}))""",
    "meters": f"""
        SELECT house_id, meter_id, {{labels:Array(String)}}[meter_id], if(meter_id <= 2, 'mains', 'appliance'), now64(3), 0,
               if(meter_id <= 2, 'grid', 'load')
        FROM {HOUSE_METER}""",
    "daily_energy": f"""
        SELECT house_id, meter_id, date, (cityHash64(house_id, meter_id, date) % 3000) / if(meter_id <= 2, 200, 2000) AS kwh, 86400, 0,
               86400, 3, 86400, true, toUnixTimestamp64Milli(now64(3)), 0,
               arrayMap(hour -> toDateTime64(date, 3, 'America/New_York') + toIntervalHour(hour), range(24)), range(24),
               arrayMap(hour -> kwh * (1 + cityHash64(house_id, meter_id, hour) % 3) / 48, range(24)), arrayWithConstant(24, 3600)
        FROM {HOUSE_METER} CROSS JOIN {DAY}""",
    "thresholds": f"""
        SELECT house_id, meter_id, date, toDateTime64(date, 3, 'America/New_York') + INTERVAL 1 HOUR,
               toDateTime64(date, 3, 'America/New_York') + INTERVAL 25 HOUR, 0.97, 7, 100 + cityHash64(house_id, meter_id, date) % 1000,
               100000, 600000, false, 8000 + cityHash64(house_id, meter_id) % 1000, toUnixTimestamp64Milli(now64(3))
        FROM {HOUSE_METER} CROSS JOIN {DAY}""",
    "alerts": f"""
        SELECT format('{{0}}/{{1}}/{{2}}', toString(house_id), toString(meter_id), toString(toUnixTimestamp64Milli(at))), house_id, meter_id, date,
               at, at + INTERVAL 10 MINUTE, false, 0, 600, 9000, 1000, 8000, 0.2, toUnixTimestamp64Milli(now64(3))
        FROM (SELECT *, toDateTime64(date, 3, 'UTC') + toIntervalSecond(5 * 3600 + cityHash64(house_id, date) % 80000) AS at
              FROM {HOUSE_METER} CROSS JOIN {DAY} WHERE cityHash64(house_id, meter_id, date, 1) % 60 = 0)""",
}
FILLED = {"daily_energy": 16, "thresholds": 13, "alerts": 14}
"""Table -> how many of sink.COLUMNS its rows above have; the others keep their defaults."""

PROFILE = """
    SELECT {house_id:Int64}, meter_id, minute, 0, if(meter_id <= 2, 60, 20), watts * 0.98, watts, watts * 1.03
    FROM (
        SELECT 1 + intDiv(number, 1440 * {days:UInt64}) AS meter_id,
               toDateTime({first:Date32}, 'UTC') + toIntervalMinute(300 + number % (1440 * {days:UInt64})) AS minute,
               if(cityHash64({house_id:Int64}, meter_id, intDiv(number, 25)) % 4 = 0,
                  80 * meter_id + cityHash64({house_id:Int64}, meter_id) % 400 + cityHash64({house_id:Int64}, number) % 5,
                  cityHash64({house_id:Int64}, meter_id, 7) % 6) AS watts
        FROM numbers({days:UInt64} * 1440 * 20))"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench dashboard."""
    parser.add_argument("--houses", type=measure.quantity, default=1000, help="how many houses (default 1000)")
    parser.add_argument("--days", type=measure.quantity, default=30, help="local days of each house (default 30)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for the JSON (default: SMW_HOME/bench)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Create the data set, measure, print and save."""
    first = LAST - timedelta(days=args.days - 1)
    with measure.workplace(settings) as (here, processes):
        services.start_endpoint(processes, here)
        sizes = fill(here, args.houses, args.days, first)
        queries_s = time_queries(here, max(1, args.houses // 2), first)
        services.start_dashboard(processes, here)
        pages_s, alerts_s = time_pages(here), time_alerts(here)
    slowest = max(pages_s, key=lambda name: pages_s[name]["first_figure"])
    reached = [Target(f"first figure of the slowest page ({slowest}), s", pages_s[slowest]["first_figure"], most=LIMIT_S)]
    path = measure.save(
        args.out or settings.stack.home / "bench",
        "dashboard",
        settings,
        houses=args.houses,
        days=args.days,
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


def fill(settings: Settings, houses: int, days: int, first: date) -> dict[str, dict[str, int]]:
    """Create the data set. Returns the rows and bytes of each table."""
    client = writer(settings)
    schema.create(client, settings)
    known = [(p.zip, p.city, p.state, p.latitude, p.longitude, p.population) for p in places().values()]
    values = dict(houses=houses, days=days, first=first, labels=LABELS, places=known)
    for table, select in FILL.items():
        columns = ", ".join(sink.COLUMNS[table][: FILLED.get(table)])
        client.command(f"INSERT INTO {table} ({columns}) {select}", parameters={k: v for k, v in values.items() if f"{{{k}:" in select})
    begun = time.monotonic()
    for house_id in range(1, houses + 1):
        client.command(f"INSERT INTO power_profile {PROFILE}", parameters=dict(house_id=house_id, days=days, first=first))
        if house_id % 50 == 0:
            spent = time.monotonic() - begun
            print(
                f"{house_id:,} of {houses:,} houses, {house_id * METERS * days * 1440 / spent / 1e6:.1f} M minutes/s, "
                f"about {spent / house_id * (houses - house_id):.0f} s left",
                file=sys.stderr,
            )
    while client.query("SELECT count() FROM system.merges").first_row[0]:
        time.sleep(1)
    return {
        table: {"rows": rows, "bytes": size}
        for table, rows, size in client.query(
            "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() "
            "GROUP BY table ORDER BY table"
        ).result_rows
    }


def time_queries(settings: Settings, house_id: int, first: date) -> dict[str, float]:
    """Seconds that each query takes, as a page sends it when opened; the median of QUERY_RUNS."""
    db = reader(settings)
    midnight_s = int(datetime(LAST.year, LAST.month, LAST.day, 5, tzinfo=UTC).timestamp())
    meters, day = list(range(1, METERS + 1)), (datetime.fromtimestamp(midnight_s, UTC), datetime.fromtimestamp(midnight_s + 86_400, UTC))
    calls = [
        (queries.houses,),
        (queries.meters, house_id),
        (queries.totals,),
        (queries.health,),
        (queries.dead_letters, 20),
        (queries.energy_of_all, first, LAST),
        (queries.energy_of_house, house_id, first, LAST),
        (queries.zip_median, "60614", first, LAST),
        (queries.balance, house_id, first, LAST),
        (queries.power, house_id, meters, midnight_s, midnight_s + 86_400, 120),
        (queries.energy_by_hour, house_id, first, LAST),
        (queries.appliance_energy, house_id, first, LAST),
        (queries.thresholds, house_id, meters, *day),
        (queries.energy_by_zip, first, LAST),
        (queries.alerts, 200),
        (queries.alert, "no such alert"),
        (queries.alerts_between, house_id, meters, *day),
        (queries.alert_labels,),
        (queries.replayed, first, LAST, 0),
        (queries.made_since, first, LAST, 0, 0),
    ]
    return {
        query.__name__: statistics.median(measure.seconds(partial(query, db, *arguments)) for _ in range(QUERY_RUNS))
        for query, *arguments in calls
    }


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
        "[data-testid=stMetricValue], [data-testid=stVegaLiteChart] svg, [data-testid=stDataFrame] canvas, [data-testid^=stBaseButton-primary]"
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
