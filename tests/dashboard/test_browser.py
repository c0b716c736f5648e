"""The dashboard in a real browser, on what the live pipeline finds: what a user sees and picks, the notifications, and the waiting."""

from __future__ import annotations

import re
import threading
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from bench.copies import METERS, houses_of
from bench.live import caught_up, watched_meters
from generator.bursts import in_order
from generator.solar import SolarHouse
from smartmeter.kafka.producer import Producer
from smartmeter.local_days import day_bounds_ms
from smartmeter.settings import Settings
from stack import lifecycle, services
from stack.processes import Processes
from store.client import reader, writer
from tests.browser import CHROMIUM, PAGES, PATIENCE_MS
from tests.dashboard.results import insert
from tests.live import HISTORY_BURST_S, send_history, send_live
from tests.pipeline.conftest import all_stored
from tests.pipeline.flow import all_read, stored_readings
from tests.ports import on_free_ports
from tests.waiting import until

HOUSES = 3
SOLAR_HOUSE, SUMMER = 900, date(2026, 6, 20)
EXPECTED_404 = "/_stcore/"
"""Streamlit itself looks for its server under a page's own path first, and finds it one level up."""

CHECKBOX_X, ROW_HEIGHT = 16, 35
"""Of a table whose rows can be picked: where its checkboxes stand, and the height of the header and of each row, in pixels."""

CUT_OFF = """
    [...document.querySelectorAll("[data-testid=stVegaLiteChart] svg")].flatMap(chart => [...chart.querySelectorAll("text")].filter(
        text => text.getAttribute("opacity") != "0" && text.getBoundingClientRect().right > chart.getBoundingClientRect().right + 1
    ).map(text => text.textContent))"""
IS_WHOLE = """
    document.querySelector("[data-testid=stApp][data-test-script-state=notRunning]")
    && !document.querySelector("[data-testid=stSkeleton], [data-stale=true]")"""
IS_AT_REST = """
    [...document.querySelectorAll("[data-testid=stVegaLiteChart]")].every(chart => chart.querySelector("svg"))
    && document.getAnimations().every(one => one.playState != "running" || one.effect.getComputedTiming().iterations == Infinity)"""
TABLES_WITH_HIDDEN_COLUMNS = "[...document.querySelectorAll('.dvn-scroller')].filter(table => table.scrollWidth > table.clientWidth).length"

RECORD_NOTIFICATIONS = """
    window.notified = [];
    window.Notification = class { constructor(title) { window.notified.push(title); } };
    window.Notification.permission = "granted";"""


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    with Processes(tmp_path_factory.mktemp("dashboard")) as processes:
        yield processes


def has_tables(settings: Settings) -> bool:
    """Whether the sink, which makes them, has begun."""
    query = "SELECT count() FROM system.tables WHERE database = {name:String}"
    return writer(settings).query(query, parameters={"name": settings.clickhouse.database}).first_row[0] > 0


@pytest.fixture(scope="module")
def settings(processes):
    """A stack of its own that has processed two days and today's beginning of some houses, and its dashboard."""
    settings = on_free_ports(processes.run.parent, checkpoint_every_s=1.0)
    lifecycle.start(processes, settings)
    processes.wait_until(lambda: has_tables(settings), "the sink makes no tables")
    with Producer(settings) as producer:
        send_history(producer, houses_of(METERS, HOUSES))
    until(
        lambda: not processes.check() and caught_up(settings, HOUSES) and all_read(settings) and all_stored(settings),
        progress=lambda: stored_readings(reader(settings)),
    )
    services.start_dashboard(processes, settings)
    return settings


@pytest.fixture(scope="module")
def db(settings):
    return reader(settings)


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tabs(chromium):
    """A window whose tabs share what they have fetched and compiled of Streamlit."""
    with chromium.new_context() as context:
        yield context


@pytest.fixture
def new_page(tabs, settings):
    """Opens pages in tabs of their own; fails at the end when one has logged an error."""
    pages, errors = [], []

    def open_page(path: str = "", width: int = 1280, height: int = 900, color_scheme: str = "light") -> Page:
        pages.append(page := tabs.new_page())
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=color_scheme)
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda m: errors.append(f"{m.text} {m.location['url']}") if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "requestfailed",
            lambda request: errors.append(request.url) if not request.url.startswith(services.dashboard_url(settings)) else None,
        )
        page.goto(f"{services.dashboard_url(settings)}/{path}")
        page.get_by_role("heading", level=1).wait_for()
        return page

    yield open_page
    for page in pages:
        page.close()
    assert [error for error in errors if EXPECTED_404 not in error] == []


def metric(page: Page, label: str):
    """The value of the metric of that label."""
    return page.locator("[data-testid=stMetric]", has=page.get_by_text(label, exact=True)).locator("[data-testid=stMetricValue]")


def whole(page: Page) -> None:
    """Wait until the page has run, and nothing of it is loading or out of date: a page that runs twice a second is so for a moment."""
    page.wait_for_function(IS_WHOLE)
    assert page.locator("[data-testid=stException]").count() == 0


def downloaded(page: Page, n: int = 0) -> pd.DataFrame:
    """What the page's n-th button CSV saves."""
    with page.expect_download() as download:
        page.locator("[data-testid=stDownloadButton] button, [data-testid=stButton] button", has_text=re.compile("CSV$")).nth(n).click()
    return pd.read_csv(download.value.path(), float_precision="round_trip")


def query(page: Page) -> dict[str, str]:
    """The parameters of the page's URL."""
    return {key: value for key, [value] in parse_qs(urlsplit(page.url).query).items()}


def pick(page: Page, label: str, text: str) -> None:
    """Choose an option of a list by keyboard."""
    box = page.get_by_role("combobox", name=re.compile(label))
    box.fill(text)
    box.press("Enter")


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_there_in_light_and_dark_and_fits_a_phone(name, new_page, request, tmp_path):
    folder = Path(request.config.getoption("--screenshots") or tmp_path)
    page = opened(new_page, name, color_scheme="dark")
    judge_look(page, name, folder / f"{name}_dark.png")
    assert not is_bright(page)
    page.emulate_media(color_scheme="light")
    until(lambda: is_bright(page))
    judge_look(page, name, folder / f"{name}_light.png")
    page.close()
    judge_look(opened(new_page, name, width=390, height=844), name, folder / f"{name}_phone.png")


def opened(new_page, name: str, **options) -> Page:
    """A page of the dashboard, whole, with all that it shows by itself or at a click."""
    page = new_page("" if name == "overview" else name, **options)
    if name == "sql":
        page.get_by_role("button", name="Run").click()
        page.get_by_text(f"{HOUSES} rows").wait_for()
    return page


def judge_look(page: Page, name: str, screenshot: Path) -> None:
    """Fail when a page has another heading or something is cut off or out of sight. Takes a screenshot."""
    whole(page)
    width = page.viewport_size["width"]
    assert page.get_by_role("heading", level=1).inner_text().casefold() == name
    assert (
        page.evaluate("Math.max(document.documentElement.scrollWidth, document.querySelector('[data-testid=stMain]').scrollWidth)") <= width
    )
    page.wait_for_function(IS_AT_REST)  # charts fade in
    until(lambda: page.evaluate(CUT_OFF) == [], progress=lambda: page.evaluate(CUT_OFF), still_s=30)
    assert width < 1000 or page.evaluate(TABLES_WITH_HIDDEN_COLUMNS) == 0
    assert page.get_by_role("heading", level=1).bounding_box()["y"] < 100
    page.screenshot(path=screenshot)
    assert screenshot.stat().st_size > 10_000


def is_bright(page: Page) -> bool:
    """Whether the page's background is nearer to white than to black."""
    color = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    return sum(map(int, re.findall(r"\d+", color)[:3])) > 384


def test_the_overview_shows_the_figures_of_sql(new_page, db):
    page = new_page()
    houses, readings = db.query("SELECT uniqExact(house_id), sum(readings) FROM daily_energy FINAL").first_row
    kwh = db.query(
        "SELECT date, sum(kwh) FROM daily_energy_by_label WHERE kind = 'mains' GROUP BY date ORDER BY date DESC LIMIT 2"
    ).result_rows
    assert houses == HOUSES and readings > 4e6  # two days, and at most times of day more
    expect(metric(page, "Houses")).to_have_text(str(HOUSES))
    expect(metric(page, "Readings")).to_have_text(f"{readings / 1e6:.1f} M")
    expect(metric(page, "kWh the day before")).to_have_text(f"{kwh[1][1]:,.0f}")
    expect(metric(page, "Lag of pipeline")).to_have_text("0")
    expect(metric(page, "Lag of sink")).to_have_text("0")
    table = downloaded(page)
    assert table["kwh"].tolist() == pytest.approx(
        [
            row[1]
            for row in reversed(
                db.query(
                    "SELECT date, sum(kwh) FROM daily_energy_by_label WHERE kind = 'mains' GROUP BY date ORDER BY date DESC"
                ).result_rows
            )
        ]
    )


def test_a_home_can_be_shared_and_shows_the_figures_of_sql(new_page, db):
    house_id, day, meter_id = db.query(
        "SELECT house_id, min(date), max(meter_id) FROM power_by_minute CROSS JOIN (SELECT min(date) AS date FROM daily_energy FINAL) AS days "
        "WHERE house_id = (SELECT max(house_id) FROM houses FINAL) GROUP BY house_id"
    ).first_row
    page = new_page(f"home?house={house_id}&date={day}&meter={meter_id}&from={day}&to={day + timedelta(days=1)}")
    whole(page)
    kwh = db.query(
        "SELECT sum(kwh) FROM daily_energy_by_label WHERE kind = 'mains' AND house_id = {house:Int64} AND date BETWEEN {day:Date32} "
        "AND {day:Date32} + 1",
        parameters={"house": house_id, "day": day},
    ).first_row[0]
    expect(metric(page, "Energy, kWh")).to_have_text(f"{kwh:,.1f}")
    expect(metric(page, "Cost")).to_have_text(f"{0.3 * kwh:,.2f}")
    power = downloaded(page)
    minutes = db.query(
        "SELECT min(min_watts), sum(mean_watts * readings) / sum(readings), max(max_watts) FROM power_by_minute WHERE house_id = {house:Int64} "
        "AND meter_id = {meter:Int32} AND toDate(toTimeZone(minute, 'America/New_York')) = {day:Date}",
        parameters={"house": house_id, "meter": meter_id, "day": day},
    ).first_row
    assert (power["min_watts"].min(), power["max_watts"].max()) == pytest.approx((minutes[0], minutes[2]), rel=1e-6)
    begin_ms, end_ms = day_bounds_ms(day, "America/New_York")
    assert len(power) == {23: 1380, 24: 720, 25: 750}[(end_ms - begin_ms) // 3_600_000]  # of 1, 2 and 2 minutes
    assert power["mean_watts"].mean() == pytest.approx(minutes[1], rel=1e-3)
    shared = new_page(page.url.split("/", 3)[3])
    whole(shared)
    assert query(shared) == query(page)
    expect(metric(shared, "Energy, kWh")).to_have_text(f"{kwh:,.1f}")


def test_a_user_picks_by_keyboard_and_takes_the_house_along(new_page, db):
    page = new_page("home")
    whole(page)
    other = max(row[0] for row in db.query("SELECT house_id FROM houses FINAL").result_rows)
    pick(page, "House", f"House {other}")
    page.wait_for_url(re.compile(rf"house={other}\b"))
    link = page.get_by_role("link", name="Appliances")
    link.focus()
    link.press("Enter")
    page.wait_for_url(re.compile(rf"/appliances\?.*house={other}\b"))
    whole(page)
    table = downloaded(page)
    mains, appliances = (
        db.query(f"SELECT sum(kwh) FROM daily_energy_by_label WHERE house_id = {other} AND kind {op} 'mains'").first_row[0]
        for op in ("=", "!=")
    )
    assert table["kwh"].sum() == pytest.approx(mains, rel=1e-9)
    assert table.loc[table["label"] != "unmetered", "share_percent"].sum() == pytest.approx(100 * appliances / mains, rel=1e-9)
    page.reload()
    page.get_by_role("heading", level=1).wait_for()
    assert query(page)["house"] == str(other)


def test_the_map_shows_the_figures_of_sql(new_page, db):
    page = new_page("map")
    whole(page)
    table = downloaded(page)
    expected = db.query("SELECT zip, sum(kwh) FROM energy_by_zip GROUP BY zip ORDER BY zip").result_rows
    assert sorted(zip(table["zip"].astype(str).str.zfill(5), table["kwh"])) == [
        (zip_code, pytest.approx(kwh)) for zip_code, kwh in expected
    ]
    expect(page.locator("[data-testid=stVegaLiteChart] svg [aria-roledescription=circle]")).to_have_count(len(expected))


def test_sql_is_answered_and_a_write_is_refused(new_page):
    page = new_page("sql")
    box = page.get_by_role("textbox", name="Query")
    box.fill("SELECT 6 * 7 AS answer, house_id FROM houses ORDER BY house_id")
    box.press("Control+Enter")
    page.get_by_text(f"{HOUSES} rows").wait_for()
    assert downloaded(page)["answer"].tolist() == [42] * HOUSES
    box.fill("DROP TABLE houses")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-testid=stCode]")).to_contain_text("not allowed")


def test_an_alert_arrives_live_and_is_acknowledged(new_page, db, settings):
    page = new_page("alerts")
    page.add_init_script(RECORD_NOTIFICATIONS)
    page.reload()
    page.get_by_role("heading", level=1).wait_for()
    page.get_by_text("Desktop notifications").click()
    whole(page)
    counted = page.get_by_text(re.compile("alerts?, newest first"))
    before = counted.inner_text()
    sent: dict[str, float] = {}
    sender = threading.Thread(target=lambda: sent.update(send_spikes(settings)))
    sender.start()
    expect(counted).not_to_have_text(before)
    sender.join()
    page.wait_for_function(f"window.notified.length == {len(sent)}")
    alerts = downloaded(page)
    assert set(sent) == set(alerts["alert_id"].head(len(sent)))
    newest = alerts.iloc[0]
    assert (
        tuple(newest[["peak_watts", "limit_watts"]])
        == db.query(
            "SELECT peak_watts, limit_watts FROM alerts FINAL WHERE alert_id = {id:String}", parameters={"id": newest["alert_id"]}
        ).first_row
    )
    assert page.evaluate("window.notified")[0].startswith("House ")
    acknowledge(page, db, newest["alert_id"])


def send_spikes(settings) -> dict[str, float]:
    """Send live readings with some spikes among them. Returns the ids of their alerts."""
    with Producer(settings) as producer:
        return send_live(producer, houses_of(METERS, HOUSES), watched_meters(settings), seconds=2, spikes_per_s=2)


def acknowledge(page: Page, db, alert_id: str) -> None:
    """Open an alert by its URL, see its power, leave a note and take it back."""
    page.goto(f"{page.url.split('?')[0]}?alert={alert_id}")
    page.get_by_role("textbox", name="Note").fill("the oven; <b>fine</b>")
    page.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("Acknowledged at").wait_for()
    expect(page.locator("[data-testid=stText]").last).to_have_text("the oven; <b>fine</b>")
    expect(page.locator("[data-testid=stVegaLiteChart] svg")).to_have_count(1)
    assert db.query("SELECT alert_id, note FROM alert_list WHERE acknowledged IS NOT NULL").result_rows == [
        (alert_id, "the oven; <b>fine</b>")
    ]
    page.get_by_role("button", name="Take back").click()
    page.get_by_role("button", name="Acknowledge").wait_for()
    assert db.query("SELECT count() FROM alert_list WHERE acknowledged IS NOT NULL").first_row[0] == 0


def test_a_rule_is_set_shown_once_stored_changed_and_removed(new_page, db):
    rules = "SELECT meter_id, limit_watts, withdrawn FROM rules FINAL ORDER BY valid_from"
    house_id, meter_id = db.query("SELECT house_id, max(meter_id) FROM daily_energy FINAL GROUP BY house_id LIMIT 1").first_row
    page = new_page(f"rules?house={house_id}&meter={meter_id}")
    whole(page)
    limit = page.get_by_role("spinbutton", name="Own limit, W")
    limit.fill("0")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Give W, more than 0 and at most 1,000,000,000.").wait_for()
    assert db.query(rules).result_rows == []
    limit.fill("812.5")
    page.get_by_role("button", name="Save").click()
    until(lambda: db.query(rules).result_rows == [(meter_id, 812.5, False)])
    expect(page.locator("[data-testid=stDataFrame]")).to_have_count(1)  # the table of rules, once stored
    assert downloaded(page)["rule"].tolist() == ["An alert when it is over 812.5 W for a minute."]
    whole(page)
    expect(limit).to_have_value("812.50")
    limit.fill("")
    page.get_by_role("button", name="Save").click()
    until(lambda: db.query(rules).result_rows[-1] == (meter_id, None, False))
    until(lambda: downloaded(page)["rule"].tolist()[0] == "It changes nothing.")  # then the form starts from what is stored
    whole(page)
    page.get_by_role("button", name="Remove the rule").click()
    until(lambda: db.query(rules).result_rows[-1] == (meter_id, None, True))


def test_an_alert_is_picked_by_mouse(new_page, db):
    page = new_page("alerts")
    whole(page)
    second = downloaded(page).iloc[1]
    page.locator("[data-testid=stDataFrame] .dvn-scroller").click(
        position={"x": CHECKBOX_X, "y": 2.5 * ROW_HEIGHT}
    )  # the first is the header
    page.wait_for_url(re.compile("alert="))
    assert query(page)["alert"] == second["alert_id"]
    expect(page.get_by_role("heading", level=3)).to_have_text(re.compile(rf"House {second['house_id']}, \d{{4}}-"))
    expect(page.locator("[data-testid=stVegaLiteChart] svg")).to_have_count(1)


def test_an_address_in_a_name_or_a_query_is_no_link(new_page, settings):
    name, at_ms = "http://evil.invalid/ www.evil.invalid ann@evil.invalid", 1_700_000_000_000
    insert(
        writer(settings, settings.clickhouse.database),
        meters=[(999, 1, name, "appliance", at_ms, 0, "load")],
        alerts=[
            (
                f"999/1/{at_ms}",
                999,
                1,
                date(2023, 11, 14),
                at_ms,
                at_ms + 1000,
                False,
                0,
                1,
                9e3,
                1e3,
                8e3,
                0.1,
                1,
                "level",
                "info",
                name,
                "",
                "",
            )
        ],
    )
    page = new_page(f"alerts?alert=999/1/{at_ms}")
    expect(page.locator("[data-testid=stText]")).to_have_text([name, f"info, level: {name}"])
    whole(page)
    assert page.locator("a[href*=evil]").count() == 0
    page.get_by_role("link", name="SQL").click()
    page.get_by_role("textbox", name="Query").fill(f"SELECT `{name}`")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-testid=stCode]")).to_contain_text(name)
    assert page.locator("a[href*=evil]").count() == 0


def test_the_page_waits_for_clickhouse_and_goes_on_by_itself(new_page, processes, settings):
    page = new_page()
    expect(metric(page, "Houses")).to_have_text(str(HOUSES))
    processes.stop("endpoint")
    page.get_by_text("ClickHouse does not answer").first.wait_for()
    page.get_by_role("link", name="Home").click()
    page.get_by_text("ClickHouse does not answer").first.wait_for()
    services.start_endpoint(processes, settings)
    expect(page.get_by_role("heading", level=1)).to_have_text("Home")
    whole(page)
    expect(metric(page, "Energy, kWh")).to_be_visible()
    expect(page.get_by_text("ClickHouse does not answer")).to_have_count(0)


def test_a_day_is_replayed_and_its_results_are_made_again(new_page, db):
    day = db.query("SELECT min(date) + 1 FROM daily_energy FINAL").first_row[0]
    before = db.query(
        "SELECT house_id, meter_id, kwh FROM daily_energy FINAL WHERE date = {day:Date32} ORDER BY 1, 2", parameters={"day": day}
    ).result_rows
    page = new_page(f"replay?from={day}&to={day}")
    whole(page)
    page.get_by_role("button", name="Replay", exact=True).click()
    done = page.get_by_text("All results of these days have been recomputed.")
    until(
        lambda: done.is_visible() or page.locator("[data-testid=stAlertContentError]").is_visible(),
        progress=page.locator("[data-testid=stMain]").inner_text,
    )
    expect(done).to_be_visible()
    expect(metric(page, "Results recomputed")).to_have_text(f"{len(before)} of {len(before)}")
    assert (
        db.query(
            "SELECT house_id, meter_id, kwh FROM daily_energy FINAL WHERE date = {day:Date32} ORDER BY 1, 2", parameters={"day": day}
        ).result_rows
        == before
    )


def test_a_solar_home_shows_what_it_imported_exported_and_produced(new_page, settings, db, request, tmp_path):
    house = SolarHouse(SOLAR_HOUSE, 1, "America/New_York", has_faults=False)
    with Producer(settings) as producer:
        producer.send_house(house.record())
        for burst in in_order([house], SUMMER, SUMMER + timedelta(days=2), HISTORY_BURST_S):
            producer.send_burst(burst)
    until(lambda: all_read(settings) and all_stored(settings), progress=lambda: stored_readings(db))
    drawn, fed = (flows(house, sign) for sign in (1, -1))
    expected = {
        "imported_kwh": drawn["mains"],
        "exported_kwh": fed["mains"],
        "produced_kwh": fed["solar"],
        "charged_kwh": drawn["battery"],
        "discharged_kwh": fed["battery"],
    }
    expected["consumption_kwh"] = drawn["mains"] - fed["mains"] + fed["solar"] + fed["battery"] - drawn["battery"]
    folder = Path(request.config.getoption("--screenshots") or tmp_path)
    page = new_page(f"home?house={SOLAR_HOUSE}&date={SUMMER}&meter=0&from={SUMMER}&to={SUMMER + timedelta(days=1)}")
    judge_look(page, "home", folder / "home_solar_power.png")
    page.get_by_role("heading", name="Production and grid").evaluate("heading => heading.scrollIntoView()")
    page.screenshot(path=folder / "home_solar.png")
    page.goto(page.url.replace(f"to={SUMMER + timedelta(days=1)}", f"to={SUMMER}"))
    whole(page)
    for label in ("Imported", "Exported", "Produced"):
        expect(metric(page, f"{label}, kWh")).to_have_text(f"{expected[f'{label.lower()}_kwh']:,.1f}")
    expect(metric(page, "Self-consumption")).to_have_text(f"{100 * (1 - fed['mains'] / fed['solar']):.0f} %")
    [row] = downloaded(page, 2).to_dict("records")
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    page = new_page(f"appliances?house={SOLAR_HOUSE}&from={SUMMER}&to={SUMMER}")
    whole(page)
    table = downloaded(page).set_index("label")
    assert table.loc["garage, rest", "kwh"] == pytest.approx(0.6, rel=1e-3), "25 W; the charger counts apart"
    assert table.loc["ev charger", "under"] == "garage" and table["share_percent"].sum() == pytest.approx(100, rel=1e-6)


def flows(house: SolarHouse, sign: int) -> dict[str, float]:
    """Kind of meter -> what such meters of a house draw (1) or feed (-1) on SUMMER, in kWh."""
    found: dict[str, float] = {}
    for meter, (times, watts) in zip(house.meters, house.day(SUMMER).readings):
        kwh = float(np.maximum(sign * watts.astype(float), 0).sum()) * (times[1] - times[0]) / 3.6e9
        found[meter.kind] = found.get(meter.kind, 0.0) + kwh
    return found
