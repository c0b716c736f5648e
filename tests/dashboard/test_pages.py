"""The pages on the results of results.py: the numbers they show, the parameters in their URLs, and their messages when something is missing."""

from __future__ import annotations

import io
import json
import time
from datetime import timedelta

import pandas as pd
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from dashboard import controls, sending
from dashboard.replays import change
from smartmeter.messages.topics import topic
from store import client
from tests.browser import PAGES
from tests.dashboard import results
from tests.dashboard.conftest import database, frame, metrics, ran, texts
from tests.dashboard.results import FRI, KETTLE, MAINS, MON, NEWEST_FIRST, NO_ALERT, OVEN, SAT, SPRING, SUN, UNKNOWN
from tests.topics import records
from tests.waiting import until

FLAT = "0.3,0.3,16,21,0"


def drawn(app) -> list[list[str]]:
    """The marks of each chart's layers."""
    specs = [json.loads(chart.proto.spec) for chart in app.get("vega_lite_chart")]
    return [[layer["mark"]["type"] for layer in spec.get("layer", [spec])] for spec in specs]


# Overview


def test_overview_with_no_broker(dashboard_on, stored, no_kafka):
    app = dashboard_on(stored.but(kafka=no_kafka))()
    assert metrics(app) == {
        "Houses": "6",
        "Readings": "1.5 M",
        "kWh on Mon 26 Oct 2026 so far": "12",
        "kWh the day before": "38",
        "Open alerts": "1",
        "Last result": "3 days ago",
        "Late readings": "7",
        "Dead letters": "3",
    }
    assert [metric.proto.help for metric in app.metric][:2] == ["11 meters", "1,500,000 readings used"]
    assert [metric.delta for metric in app.metric][2:4] == ["100 % covered, 3 of 6 houses", "100 % covered, 4 of 6 houses"]
    assert app.dataframe[0].value[["reason", "messages"]].values.tolist() == [["not Avro", 2], ["in the future", 1]]
    assert drawn(app) == [["bar"]]
    assert texts(app.warning)[0].startswith("no Kafka broker answers at 127.0.0.1:1: ")


def test_overview_shows_the_lag_of_each_job_that_has_run(dashboard_on, stored, with_topics):
    settings = with_topics.but(clickhouse_database=stored.clickhouse.database)
    readings = topic(settings, "readings")
    producer = Producer({"bootstrap.servers": settings.kafka.address})
    for _ in range(5):
        producer.produce(readings, b"", partition=0)
    producer.flush()
    for job, read in (("pipeline", 2), ("replay", 5)):
        consumer = Consumer({"bootstrap.servers": settings.kafka.address, "group.id": settings.kafka.topic_prefix + job})
        consumer.commit(offsets=[TopicPartition(readings, 0, read)], asynchronous=False)
        consumer.close()
    app = dashboard_on(settings)()
    until(lambda: not ran(app).warning)  # brokers elect the leaders of new topics
    assert {label: value for label, value in metrics(app).items() if label.startswith("Lag")} == {
        "Lag of pipeline": "3",
        "Lag of replay": "0",
    }


# Home


def test_home_of_the_first_house(visit):
    app = visit("home")
    # 10 + 12 + 14 + 3 kWh on four days, one of them covered by half; medians of the zip: 15.5, 17, 17, 4
    assert metrics(app) == {
        "Energy, kWh": "39.0",
        "A day, kWh": "9.8",
        "vs period before": "–",
        "vs zip median": "-27 %",
        "Covered": "87.5 %",
        "Cost": "11.70",
        "A day": "2.93",
    }
    assert texts(app.caption)[0] == "Results from 2026-10-23 to 2026-10-26; times are local, in America/New_York."
    assert texts(app.info) == ["No readings are stored from 2026-10-26 00:00 to 2026-10-27 00:00."]
    assert drawn(app) == [["bar", "text", "line"], ["bar"]]
    assert app.query_params == {
        "house": "1",
        "date": str(MON),
        "meter": "1",
        "span": "day",
        "from": str(FRI),
        "to": str(MON),
        "tariff": FLAT,
    }


def test_home_against_the_period_before(visit):
    app = visit("home", house="1", **{"from": str(SUN)})
    # 14 + 3 against 10 + 12 kWh; medians 17 and 4
    assert metrics(app) | {"Cost": "", "A day": ""} == {
        "Energy, kWh": "17.0",
        "A day, kWh": "8.5",
        "vs period before": "-23 %",
        "vs zip median": "-19 %",
        "Covered": "100.0 %",
        "Cost": "",
        "A day": "",
    }
    assert drawn(app)[0] == ["bar", "text", "tick", "line"]


def test_home_is_compared_with_the_median_of_its_own_days(visit):
    # house 3: 11 + 4 kWh on Friday and Monday, when the medians were 15.5 and 4
    assert metrics(visit("home", house="3"))["vs zip median"] == "-23 %"


def test_home_of_a_house_without_mains(visit):
    app = visit("home", house="5")
    assert (app.selectbox(key="meter").value, app.selectbox(key="meter").options) == (0, ["whole house", "kettle (2)", "washer (4)"])
    assert metrics(app) == {
        "Energy, kWh": "5.0",
        "A day, kWh": "2.5",
        "vs period before": "–",
        "vs zip median": "–",
        "Covered": "100.0 %",
        "Cost": "1.50",
        "A day": "0.75",
    }
    assert drawn(app)[0] == ["area", "rect", "point"]
    assert metrics(visit("home", house="5", **{"from": str(SPRING), "to": str(SPRING)}))["Covered"] == "75.0 %"


def test_home_of_an_unknown_house(visit):
    app = visit("home", house="6")
    assert (app.selectbox(key="house").options[-1], app.selectbox(key="meter").options) == ("House 6", ["whole house", "meter 7 (7)"])
    assert texts(app.caption)[0].endswith("times are local, in UTC.")
    assert metrics(app) == {
        "Energy, kWh": "1.5",
        "A day, kWh": "1.5",
        "vs period before": "–",
        "vs zip median": "–",
        "Covered": "100.0 %",
        "Cost": "0.45",
        "A day": "0.45",
    }


def test_every_choice_on_home_is_in_the_url(visit):
    url = {
        "house": "1",
        "date": str(SUN),
        "meter": "3",
        "span": "hour",
        "hour": "10",
        "from": str(SAT),
        "to": str(SUN),
        "tariff": "0.25,1.0,10,12,1",
    }
    app = visit("home", **url)
    assert app.query_params == url
    assert (app.selectbox(key="house").value, app.selectbox(key="meter").value, app.select_slider(key="hour").value) == (1, 3, 10)
    assert [app.date_input(key=key).value for key in ("date", "from", "to")] == [SUN, SAT, SUN]
    assert texts(app.segmented_control) == ["hour", "time of use"]
    assert "Red, with a triangle: 1 alert (level)." in texts(app.caption)[1]


def test_the_power_of_one_meter(visit):
    app = visit("home", house="1", date=str(SUN), meter="3")
    assert drawn(app)[0] == ["rect", "rule", "area", "line", "rect", "point"]
    assert drawn(ran(app.toggle(key="with_limit").set_value(False)))[0] == ["area", "line", "rect", "point"]
    assert not [text for text in texts(app.caption) if "warming up" in text]
    app = visit("home", house="1", date=str(FRI), meter="3")
    assert drawn(app)[0] == ["area", "line"]
    assert "This meter is warming up for some of that time: it has no limit yet." in texts(app.caption)


def test_the_power_of_the_whole_house(visit):
    app = visit("home", house="1", date=str(SUN), meter="0")
    assert drawn(app)[0] == ["area", "line", "rect", "point"]
    assert texts(app.caption)[1] == "Areas: mean power of the appliances. Line: the mains. Red: 1 alert (level)."


@pytest.mark.parametrize(
    "day, begins",
    [
        (SPRING, ["00:00", *(f"{hour:02}:00" for hour in range(2, 24))]),
        (SUN, ["00:00", "01:00", *(f"{hour:02}:00" for hour in range(1, 24))]),
    ],
)
def test_hours_of_the_days_on_which_the_clocks_change(visit, day, begins):
    app = visit("home", house="5", date=str(day), span="hour", hour="2")
    assert app.select_slider(key="hour").options == begins
    assert app.select_slider(key="hour").value == 2
    app = ran(app.segmented_control(key="span").set_value("6 hours"))
    assert app.select_slider(key="hour").options == begins[:-5]
    assert app.query_params["span"] == "6 hours"


def test_an_hour_beyond_the_day_falls_to_the_evening(visit):
    assert visit("home", house="5", date=str(SUN), span="hour", hour="24").query_params["hour"] == "24"
    assert visit("home", house="5", date=str(SPRING), span="hour", hour="24").query_params["hour"] == "18"


def test_picking_another_house_changes_all_numbers(visit):
    app = ran(visit("home").selectbox(key="house").set_value(2))
    # 20 + 22 + 20 + 5 kWh against 53.5
    assert metrics(app) | {"Cost": "", "A day": ""} == {
        "Energy, kWh": "67.0",
        "A day, kWh": "16.8",
        "vs period before": "–",
        "vs zip median": "+25 %",
        "Covered": "100.0 %",
        "Cost": "",
        "A day": "",
    }
    assert app.query_params["house"] == "2"
    app = ran(app.date_input(key="from").set_value(MON))
    assert metrics(app)["Energy, kWh"] == "5.0"
    assert (app.query_params["from"], app.query_params["to"]) == (str(MON), str(MON))


@pytest.mark.parametrize("typed, house_id, warnings", [("3", 3, 0), ("house 4", 4, 0), ("77", 2, 1), ("the third", 2, 1), ("²", 2, 1)])
def test_a_house_that_is_not_listed_is_picked_by_its_number(visit, monkeypatch, typed, house_id, warnings):
    monkeypatch.setattr(controls, "MOST_LISTED", 2)
    app = visit("rules", house="2")
    box = app.selectbox(key="house")
    assert (box.value, box.options) == (2, ["House 1 · New York NY 10001", "House 2 · New York NY 10001"])
    box.options.append(typed)  # as a browser sends what was typed
    app = ran(box.set_value(typed))
    assert (app.selectbox(key="house").value, app.query_params["house"], len(app.warning)) == (house_id, str(house_id), warnings)
    assert ran(app).selectbox(key="house").value == house_id


def test_a_day_that_another_house_does_not_have_falls_to_its_newest(visit):
    app = ran(visit("home", house="1", date=str(FRI)).selectbox(key="house").set_value(6))
    assert app.query_params["date"] == str(SUN)


def test_what_a_day_costs(visit):
    # Sunday's 14 kWh: half of them from 10 to 11, half from 12 to 13
    days = {"from": str(SUN), "to": str(SUN)}
    assert metrics(visit("home", **days, tariff="0.25,1,10,12,1"))["Cost"] == "8.75"
    app = visit("home", **days, tariff="0.25,1,10,12,0")
    assert metrics(app)["Cost"] == "3.50"
    app = ran(app.checkbox(key="weekends").set_value(True))
    assert (metrics(app)["Cost"], app.query_params["tariff"]) == ("8.75", "0.25,1.0,10,12,1")
    app = ran(app.number_input(key="peak_to").set_value(13))
    assert (metrics(app)["Cost"], app.query_params["tariff"]) == ("14.00", "0.25,1.0,10,13,1")
    app = ran(app.segmented_control(key="tariff_kind").set_value("flat"))
    app = ran(app.number_input(key="price").set_value(0.5))
    assert (metrics(app)["Cost"], app.query_params["tariff"]) == ("7.00", "0.5,0.5,10,13,1")


def test_the_cost_of_a_day_without_hours_is_marked(visit):
    # Friday's 10 kWh evenly: 3 of 24 hours at 1, the others at 0.25; Saturday's 12 kWh at 23 o'clock
    app = visit("home", **{"from": str(FRI), "to": str(SAT)}, tariff="0.25,1,10,13,1")
    assert metrics(app)["Cost"] == "6.44"
    [caption] = [caption.value for caption in app.caption if "energy by hour" in caption.value]
    assert caption.startswith("1 of 2 days have no energy by hour")
    for tariff, days in (("0.25,1,10,12,1", (SAT, SUN)), ("0.25,0.25,10,12,1", (FRI, SAT))):
        app = visit("home", **dict(zip(("from", "to"), map(str, days))), tariff=tariff)
        assert not any("energy by hour" in caption.value for caption in app.caption)


def test_what_was_picked_is_kept_from_page_to_page(visit):
    app = visit("home", house="2", tariff="0.25,0.25,16,21,0", **{"from": str(SAT), "to": str(SUN)})
    app = ran(app.switch_page("views/appliances.py"))
    assert app.selectbox(key="house").value == 2
    assert [app.date_input(key=key).value for key in ("from", "to")] == [SAT, SUN]
    app = ran(app.switch_page("views/home.py"))
    assert (metrics(app)["Energy, kWh"], metrics(app)["Cost"]) == ("42.0", "10.50")


# Appliances


def test_appliances_and_what_is_left(visit):
    app = visit("appliances", house="1")
    # oven 2 + 3 + 4 + 0.5, refrigerator 3.25, of the mains' 39
    table = app.dataframe[0].value
    assert metrics(app) == {"Appliances, kWh": "12.8", "Mains, kWh": "39.0", "Share of the mains": "33 %"}
    assert table["label"].tolist() == ["unmetered", "oven", "refrigerator"]
    assert table["kwh"].tolist() == [39 - 9.5 - 3.25, 9.5, 3.25]
    assert table["share_percent"].tolist() == pytest.approx([100 * 26.25 / 39, 100 * 9.5 / 39, 100 * 3.25 / 39])
    assert app.multiselect(key="percentile_meters").value == ["mains (1)", "oven (3)"]
    assert texts(app.caption)[-1].startswith("The 97th percentile of the readings")
    assert drawn(app) == [["bar"], ["bar", "text"], ["line"]]
    assert app.query_params == {"house": "1", "from": str(FRI), "to": str(MON)}


def test_appliances_of_some_days(visit):
    app = visit("appliances", house="1", **{"from": str(SAT), "to": str(SAT)})
    assert app.dataframe[0].value["kwh"].tolist() == [12 - 3 - 1, 3, 1]
    app = ran(app.date_input(key="to").set_value(SUN))
    assert app.dataframe[0].value["kwh"].tolist() == [26 - 7 - 2, 7, 2]


def test_appliances_that_add_up_to_more_than_the_mains(visit):
    app = visit("appliances", house="3", to=str(FRI))
    assert app.dataframe[0].value.values.tolist() == [["heater", 12, pytest.approx(100 * 12 / 11)], ["unmetered", 0, 0]]
    assert "The appliances' meters add up to more than the mains" in texts(app.caption)[-1]
    assert texts(app.info) == ["There are no thresholds yet: a meter has them once it has a day of readings."]


def test_appliances_without_mains_and_mains_without_appliances(visit):
    app = visit("appliances", house="5", **{"from": str(SPRING)})
    assert app.dataframe[0].value["kwh"].tolist() == pytest.approx([2 + 1.5 + 2, 0.4 + 0.5 + 1])
    assert app.dataframe[0].value["share_percent"].isna().all()
    assert metrics(app) == {"Appliances, kWh": "7.4", "Mains, kWh": "–", "Share of the mains": "–"}
    assert "This house has no mains meter: shares are unknown." in texts(app.caption)
    assert texts(visit("appliances", house="4").info) == ["No appliance of this house has results for these days."]


# Map


def test_map(visit):
    app = visit("map", **{"from": str(SPRING)})
    zips = app.dataframe[0].value
    assert zips[["zip", "houses", "kwh", "alerts"]].values.tolist() == [["10001", 4, 220, 2], ["SW1A", 1, pytest.approx(7.4), 1]]
    assert zips["kwh_per_house_day"].tolist() == pytest.approx([20, 7.4 / 3])
    assert texts(app.caption) == ["Without coordinates, so only in the table: 1."]
    assert drawn(app) == [["geoshape", "circle"]]
    assert app.query_params == {"from": str(SPRING), "to": str(MON), "measure": "per household"}


def test_map_of_alerts_on_one_day(visit):
    app = visit("map", measure="alerts", **{"from": str(SUN), "to": str(SUN)})
    assert app.segmented_control(key="measure").value == "alerts"
    assert app.dataframe[0].value[["zip", "alerts"]].values.tolist() == [["10001", 1], ["SW1A", 1]]
    app = ran(app.segmented_control(key="measure").set_value("total"))
    assert app.dataframe[0].value[["zip", "kwh"]].values.tolist() == [["10001", 34], ["SW1A", 3]]
    assert app.query_params["measure"] == "total"


def test_map_of_days_without_results(visit):
    assert texts(visit("map", **{"from": "2026-05-01", "to": "2026-05-02"}).info)[0].startswith(
        "No house with results for these days has a place"
    )


# Alerts


def listed(app) -> list[str]:
    """The ids of the alerts in the table."""
    return app.dataframe[0].value["alert_id"].tolist() if app.dataframe else []


def labels(buttons) -> list[str]:
    return [button.label for button in buttons]


def labelled(app, label: str):
    """The button of that label."""
    [found] = [button for button in app.button if button.label == label]
    return found


def components(app, name: str) -> list:
    """The data of the components of that name."""
    return [json.loads(found.proto.json) for found in app.get("bidi_component") if found.proto.component_name == name]


def test_alerts_are_shown_in_the_local_time_of_their_house(visit):
    app = visit("alerts")
    assert app.dataframe[0].value[["state", "house_id", "city", "label", "began", "minutes", "seen"]].values.tolist() == [
        ["open", 2, "New York", "mains", "2026-10-26 08:00:00", 1, ""],
        ["over", 6, "", "", "2026-10-25 23:30:00", 0.5, ""],
        ["over", 1, "New York", "oven", "2026-10-25 10:00:00", 2.5, "2026-10-25 11:00:00"],
        ["over", 5, "London", "kettle", "2026-10-25 01:30:00", 1, "2026-10-25 02:00:00"],
    ]
    assert texts(app.caption) == ["4 alerts, newest first. Select a row for details."]
    assert app.query_params == {"show": "all"}


@pytest.fixture(scope="module")
def with_401_alerts(clickhouse):
    """Settings with 401 alerts of one meter, a minute apart; the table keeps no other."""
    settings = database(clickhouse, "dashboard_many")
    first, *_ = results.alerts()
    begun = [results.utc(SUN, "01:00") + timedelta(minutes=i) for i in range(401)]
    results.insert(
        client.writer(settings, settings.clickhouse.database),
        daily_energy=results.daily_energy(),
        alerts=[(results.alert_id(5, 2, at), *first[1:4], at, at + timedelta(seconds=30), *first[6:]) for at in begun],
    )
    return settings


def test_many_alerts_are_counted_and_each_is_on_a_page(dashboard_on, with_401_alerts):
    app = dashboard_on(with_401_alerts)("alerts")
    seen = []
    for number, caption in enumerate(("200 of 401 alerts (1 to 200)", "200 of 401 alerts (201 to 400)", "1 of 401 alerts (401 to 401)"), 1):
        app = ran(app.number_input(key="alerts_page").set_value(number))
        assert texts(app.caption) == [f"{caption}, newest first. Select a row for details."]
        seen += listed(app)
    assert len(set(seen)) == 401 and seen == sorted(seen, reverse=True)
    app = ran(app.number_input(key="of_house").set_value(6))  # which has none
    assert texts(app.info) == ["No matching alerts."]
    app = ran(app.number_input(key="of_house").set_value(5))
    assert app.number_input(key="alerts_page").value == 1


@pytest.mark.parametrize(
    "query, expected",
    [
        ({"show": "all"}, NEWEST_FIRST),
        ({"show": "open"}, [MAINS]),
        ({"show": "new"}, [MAINS, UNKNOWN]),
        ({"show": "all", "of_house": "1"}, [OVEN]),
        ({"show": "all", "appliance": "kettle"}, [KETTLE]),
        ({"show": "open", "of_house": "1", "appliance": "oven"}, []),
    ],
)
def test_alerts_are_filtered_by_the_url(visit, query, expected):
    app = visit("alerts", **query)
    assert listed(app) == expected
    assert texts(app.info) == ([] if expected else ["No matching alerts."])
    assert app.query_params == query


def test_alerts_are_filtered_by_what_is_picked(visit):
    app = ran(visit("alerts").segmented_control(key="show").set_value("new"))
    assert listed(app) == [MAINS, UNKNOWN]
    app = ran(app.number_input(key="of_house").set_value(6))
    assert (listed(app), app.query_params) == ([UNKNOWN], {"show": "new", "of_house": "6"})
    app.number_input(key="of_house").set_value(0)
    app = ran(app.selectbox(key="appliance").set_value("mains"))
    assert (listed(app), app.query_params) == ([MAINS], {"show": "new", "appliance": "mains"})


def test_one_alert(visit):
    app = visit("alerts", alert=OVEN)
    assert texts(app.subheader) == ["House 1, 2026-10-25 10:00:00"]
    assert texts(app.success) == ["Acknowledged at 2026-10-25 11:00:00"]
    assert texts(app.text) == [
        "oven, New York",
        "warning, level: **4,000 W**, over its limit of 3,480 W",  # as it is, not as Markdown
        "ann@example.org: the roast",
    ]
    assert drawn(app) == [["rect", "rule", "area", "line", "rect", "point"]]
    assert app.text_input[0].value == "the roast"
    assert labels(app.button) == [
        "CSV",
        "Open the house",
        "This is normal, from 2026-10-25 12:01 on",
        "Its rule",
        "Change the note",
        "Take back",
    ]


def test_an_acknowledgement_without_a_note_or_a_login(visit):
    app = visit("alerts", alert=KETTLE)
    assert texts(app.success) == ["Acknowledged at 2026-10-25 02:00:00"]
    assert texts(app.text) == ["kettle, London", "warning, level: **3,000 W**, over its limit of 2,500 W"]
    assert labels(app.button) == [
        "CSV",
        "Open the house",
        "This is normal, from 2026-10-25 12:01 on",
        "Its rule",
        "Change the note",
        "Take back",
    ]


def test_an_alert_with_few_details(visit):
    app = visit("alerts", alert=UNKNOWN)
    assert texts(app.subheader) == ["House 6, 2026-10-25 23:30:00"]
    assert texts(app.text) == ["meter 7", "warning, level: **800 W**, over its limit of 500 W"]
    assert texts(app.info) == ["The power of these minutes is not stored yet: it follows about 10 s after a minute ends."]
    assert labels(app.button) == ["CSV", "Open the house", "This is normal, from 2026-10-26 00:00 on", "Its rule", "Acknowledge"]


def test_an_open_alert_states_what_ends_it(visit):
    assert texts(visit("alerts", alert=MAINS).text)[-1] == "It ends when it falls to 9,000 W or less."


def test_the_table_shows_kind_severity_and_reason(visit):
    shown = visit("alerts").dataframe[0].value[["severity", "alert_kind", "reason"]].values.tolist()
    assert shown[0] == ["warning", "level", "**9,500 W**, over its limit of 9,000 W"]


def test_a_retracted_alert(visit):
    app = visit("alerts", alert=NO_ALERT)
    assert texts(app.info) == ["The selected alert does not exist (any more): later readings may have retracted it."]
    assert listed(app) == NEWEST_FIRST and labels(app.button) == ["CSV"]


def test_all_alerts_are_saved_and_offered_until_the_browser_has_them(visit):
    app = ran(labelled(visit("alerts"), "CSV").click())
    [file] = components(app, "save")
    assert file["name"] == "alerts.csv" and pd.read_csv(io.StringIO(file["text"]))["alert_id"].tolist() == NEWEST_FIRST
    assert components(ran(app), "save") == [file]


def test_from_an_alert_to_its_house(visit):
    app = ran(visit("alerts", alert=OVEN).button(key="open").click())
    assert texts(app.title) == ["Home"]
    assert app.query_params | {"tariff": ""} == {
        "house": "1",
        "meter": "3",
        "date": str(SUN),
        "span": "day",
        "from": str(FRI),
        "to": str(MON),
        "tariff": "",
    }
    assert "Red, with a triangle: 1 alert (level)." in texts(app.caption)[1]


def test_notifications_are_the_alerts_since_the_page_was_opened(dashboard_on, clickhouse):
    settings = database(clickhouse, "dashboard_news")
    writer = client.writer(settings, settings.clickhouse.database)
    [first, second, *_] = results.alerts()

    def notifications(app) -> list[dict]:
        [data] = components(app, "notifications")
        return data

    results.insert(writer, alerts=[first], meters=results.meters())
    app = ran(dashboard_on(settings)("alerts").toggle(key="notices").set_value(True))
    assert notifications(app) == []
    results.insert(writer, alerts=[second])
    assert notifications(ran(app)) == [{"id": OVEN, "title": "House 1: oven", "body": "**4,000 W**, over its limit of 3,480 W"}]


def test_acknowledgements_go_to_kafka(dashboard_on, stored, with_topics):
    visit = dashboard_on(with_topics.but(clickhouse_database=stored.clickhouse.database))
    before = round(time.time() * 1000)
    for alert_id, button, note in (
        (KETTLE, "Change the note", "tea"),
        (UNKNOWN, "Acknowledge", ""),
        (OVEN, "Change the note", "x" * 500),
        (MAINS, "Acknowledge", "é; <b>'\0"),
    ):
        app = visit("alerts", alert=alert_id)
        app.text_input[0].set_value(note)
        ran(labelled(app, button).click())
    ran(labelled(visit("alerts", alert=OVEN), "Take back").click())
    sent = records(with_topics, "acknowledgements")
    assert all(before <= record.pop("acknowledged") <= time.time() * 1000 for record in sent)
    assert sorted(sent, key=lambda record: (record["house_id"], record["withdrawn"])) == [
        {"alert_id": alert_id, "house_id": house_id, "note": note, "author": "test@example.com", "withdrawn": withdrawn}
        for alert_id, house_id, note, withdrawn in (
            (OVEN, 1, "x" * 500, False),
            (OVEN, 1, "", True),
            (MAINS, 2, "é; <b>'\0", False),
            (KETTLE, 5, "tea", False),
            (UNKNOWN, 6, "", False),
        )
    ]


def test_an_acknowledgement_that_kafka_refuses_is_reported(dashboard_on, stored, no_kafka, monkeypatch):
    monkeypatch.setattr(sending, "SENT_WITHIN_S", 0.5)
    app = dashboard_on(stored.but(kafka=no_kafka))("alerts", alert=KETTLE)
    app.text_input[0].set_value("tea")
    app = ran(labelled(app, "Change the note").click())
    assert texts(app.error)[0].startswith("The alert is not acknowledged: no Kafka broker answers at 127.0.0.1:1: ")
    assert not app.toast


# Quality


def test_days_whose_figures_may_not_be_whole_have_a_reason_and_a_way_back(visit):
    app = visit("quality")
    replay = "./smw replay --from 2026-10-23 --to 2026-10-23 --house 1 --with-late"
    days = app.dataframe[0].value
    assert days[["house_id", "city", "date", "reason"]].apply(
        lambda row: (row["house_id"], row["city"], row["date"].date(), row["reason"]), axis=1
    ).tolist()[:3] == [
        (3, "New York", SUN, "no readings came"),
        (1, "New York", SAT, "covered for 83 %"),
        (3, "New York", SAT, "no readings came"),
    ]
    late = days[days["late_readings"] > 0]
    assert late[["house_id", "date", "late_readings", "reason"]].values.tolist() == [
        [1, pd.Timestamp(FRI), 7, "7 readings came late: after the day was closed"]
    ]
    assert late["way_back"].tolist() == [""]  # Friday was covered as a whole
    assert texts(app.caption)[1] == f"{len(days)} days"
    assert replay not in days["way_back"].tolist()
    only = ran(app.number_input(key="quality_house").set_value(1)).dataframe[0].value
    assert only["house_id"].unique().tolist() == [1]


def test_days_that_a_clock_ahead_has_closed(dashboard_on, clickhouse):
    """House 7 had a burst of the 26th on the 23rd: readings of the days between were late, so these days have no row."""
    settings = database(clickhouse, "dashboard_ahead")
    row = next(row for row in results.daily_energy() if row[:3] == (1, 1, FRI))
    half = list(row)
    half[0], half[6], half[9] = 7, 43_200.0, True
    late = [
        (0, offset, 7, day, results.utc(day, "01:00"), results.utc(day, "23:00"), 900, 9.9, results.utc(MON, "10:00"), "its day was closed")
        for offset, day in enumerate((SAT, SUN))
    ]
    results.insert(client.writer(settings, settings.clickhouse.database), daily_energy=[half, [7, 1, MON, *half[3:]]], late=late)
    days = dashboard_on(settings)("quality").dataframe[0].value
    command = "./smw replay --from {0} --to {0} --house 7 --with-late".format
    assert days[["house_id", "reason", "way_back"]].values.tolist() == [
        [7, "covered for 50 %", ""],
        [7, "no result; 900 readings came late: its day was closed", command(SUN)],
        [7, "no result; 900 readings came late: its day was closed", command(SAT)],
        [7, "covered for 50 %", ""],
    ]


def test_meters_whose_readings_lie_farther_apart_than_they_hold(dashboard_on, clickhouse):
    settings = database(clickhouse, "dashboard_sparse")
    row = next(row for row in results.daily_energy() if row[:3] == (1, 1, FRI))
    half_hours = [7, 3, FRI, 5.0, 48, 0, 48_000.0, 1800.0, 86_400, True, *row[10:-6], 48, *row[-5:]]
    results.insert(client.writer(settings, settings.clickhouse.database), daily_energy=[row, half_hours, [8, *half_hours[1:]]])
    app = dashboard_on(settings)("quality")
    assert texts(app.warning)[0].startswith("2 meters with energy missing: readings lie farther apart than they hold.")
    shown = app.dataframe[0].value
    assert shown[["house_id", "meter_id", "apart_s", "missing_percent", "sparse_days"]].values.tolist() == [
        [house, 3, 1800, pytest.approx(100 * 38.4 / 86.4), 1] for house in (7, 8)
    ]
    assert len(app.dataframe[1].value) == 2, "the days that are not covered"
    only = ran(app.number_input(key="quality_house").set_value(8))
    assert only.dataframe[0].value["house_id"].tolist() == [8]
    assert not ran(only.number_input(key="quality_house").set_value(1)).warning


FIGURES_OF_REGISTERS = ((7, 4.5, None, 2), (8, 4.8, None, 1), (9, 6.0, 0.05, 0), (10, 4.9, 2.0, 0))
"""(house, kWh by power, exported kWh by register, faults); its register of import shows 5 kWh, and it exports nothing by power."""


def test_days_with_faults_of_registers_and_meters_whose_power_differs(dashboard_on, clickhouse):
    settings = database(clickhouse, "dashboard_faults")
    row = next(row for row in results.daily_energy() if row[:3] == (1, 1, FRI) and row[9])  # that is over
    faulty = [[house, *row[1:-5], power, 0.0, 5.0, fed_in, faults] for house, power, fed_in, faults in FIGURES_OF_REGISTERS]
    results.insert(client.writer(settings, settings.clickhouse.database), daily_energy=faulty)
    app = dashboard_on(settings)("quality")
    assert texts(app.warning) == [
        "2 days of registers that fell, or rose by more than SMW_MAX_CONNECTION_KW delivers: these differences do not count.",
        "3 meters whose register and power differ by more than 5 % in these days: readings of power are missing, or have another scale or sign.",
    ]
    shown = app.dataframe[0].value
    assert shown[["house_id", "register_faults", "register_kwh", "power_kwh", "difference_kwh"]].values.tolist() == [
        [7, 2, 5.0, 4.5, 0.5],
        [8, 1, 5.0, 4.8, pytest.approx(0.2)],
    ]
    assert app.dataframe[1].value[["house_id", "way", "days", "difference_kwh", "difference_percent"]].values.tolist() == [
        [10, "export", 1, 2.0, 100.0],
        [9, "import", 1, -1.0, -20.0],
        [7, "import", 1, 0.5, 10.0],
    ]


def test_no_such_day(visit):
    app = visit("quality", **{"from": str(MON), "to": str(MON)})
    assert texts(app.info) == ["No matching days."] and not app.dataframe


# SQL


def run_query(app, sql: str):
    """The page after it has run a query."""
    app.text_area[0].set_value(sql)
    return ran(app.button[0].click())


def test_the_examples_are_answered(visit):
    app = visit("sql")
    for example in app.selectbox(key="example").options:
        app = ran(ran(app.selectbox(key="example").set_value(example)).button[0].click())
        assert not app.error and len(app.dataframe[0].value), example


def test_a_query_is_answered_by_a_table_and_a_chart(visit):
    app = run_query(visit("sql"), "SELECT date, kwh FROM daily_energy WHERE house_id = 1 AND meter_id = 1 ORDER BY date;")
    assert texts(app.caption)[1:] == ["4 rows"]
    assert app.dataframe[0].value["kwh"].tolist() == [10, 12, 14, 3]
    assert drawn(app) == [["bar"]]
    assert drawn(ran(app.segmented_control(key="chart_mark").set_value("line"))) == [["line"]]
    app = run_query(app, "SELECT 'a' AS self, 1 AS x UNION ALL SELECT 'b', 2")  # the previous chart's axes are gone
    assert (texts(app.caption)[1:], drawn(app)) == (["2 rows"], [["line"]])


@pytest.mark.parametrize(
    "count, caption", [(0, "0 rows"), (1, "1 row"), (10_000, "10,000 rows"), (10_001, "10,000 rows: the first 10,000 of more")]
)
def test_the_number_of_rows_is_shown(visit, count, caption):
    app = run_query(visit("sql"), f"SELECT number FROM numbers({count})")
    assert texts(app.caption)[1:] == [caption]
    assert [len(table.value) for table in app.dataframe] == ([min(count, 10_000)] if count else [])


KINDS = [
    "toTime('12:00:00')",
    "(1, 'a')",
    "[1, 2]",
    "map('a', 1)",
    "toIPv6('::1')",
    "generateUUIDv4()",
    "toDecimal256(1, 30)",
    "toInt256(1)",
    "NULL",
    "nan",
    "toDate32('1900-01-01')",
    "toDateTime64('2290-01-01 00:00:00', 3, 'UTC')",
    "CAST('a', 'Enum8(\\'a\\' = 1)')",
    "unhex('ff00')",
    "CAST('{\"a\": 1}', 'JSON')",
    "toIntervalDay(1)",
    "number AS number",
]


def test_an_answer_of_any_kind_is_shown(visit):
    app = visit("sql")
    for value in KINDS:
        app = run_query(app, f"SELECT {value}, number AS `a.b[0]:Q` FROM numbers(3)")
        assert texts(app.caption)[1:] == ["3 rows"] and drawn(app) == [["bar"]], value
        [data] = app.get("vega_lite_chart")[0].proto.datasets
        kind = pa.ipc.open_stream(data.data.data).schema.field("x").type
        assert pa.types.is_timestamp(kind) if value.startswith("toDate") else pa.types.is_string(kind) or pa.types.is_large_string(kind), (
            value
        )


REFUSED = [
    ("INSERT INTO houses SELECT * FROM houses", "not allowed"),
    ("INSERT INTO houses VALUES (1)", "not allowed"),
    ("DROP TABLE houses", "not allowed"),
    ("ALTER TABLE houses DELETE WHERE 1", "not allowed"),
    ("CREATE TABLE x (a Int8) ENGINE = Memory", "not allowed"),
    ("TRUNCATE TABLE houses", "not allowed"),
    ("SET readonly = 0", "Syntax error"),
    ("SELECT 1 SETTINGS readonly = 0", "in readonly mode"),
    ("SELECT 1; SELECT 2", "Multi-statements are not allowed"),
    ("SELECT nope", "Unknown expression identifier"),
    ("SELEC 1", "Syntax error"),
    ("SELECT throwIf(number = 69000) FROM numbers(70000) WHERE number % 1000 = 0", "throwIf"),
    ("SELECT 1 FORMAT JSON", "Leave out FORMAT: the result is shown as a table and can be saved as CSV."),
    ("SELECT 1 format Pretty ;", "Leave out FORMAT"),
    ("SELECT sumState(1)", "The result of this query cannot be shown as a table."),
    ("EXPLAIN AST SELECT 1", "cannot be shown as a table"),
]


def test_an_error_message_replaces_the_previous_answer(visit, db):
    app = visit("sql")
    for sql, message in REFUSED:
        app = run_query(app, "SELECT 1")
        assert app.dataframe and not app.error
        app = run_query(app, sql)
        [error], reason = texts(app.error), texts(app.code)
        assert message in " ".join([error, *reason]) and not app.dataframe, sql
    assert db.command("SELECT count() FROM houses") == 5


def test_an_empty_query_gets_a_hint(visit):
    assert texts(run_query(visit("sql"), " \n").info) == ["Write a query first."]


# Replay


def test_a_failed_replay_shows_its_reason(dashboard_on, stored, with_topics):
    app = dashboard_on(with_topics.but(clickhouse_database=stored.clickhouse.database))("replay", **{"from": str(SUN), "to": str(SUN)})
    assert app.query_params == {"from": str(SUN), "to": str(SUN)}
    app = ran(app.button[0].click())
    assert texts(app.subheader) == ["2026-10-25 to 2026-10-25"]
    assert app.button[0].disabled and app.button[1].label == "Stop"
    assert metrics(app) == {"Results recomputed": "0 of 8", "Energy, kWh": "45.500", "Alerts": "3"}
    assert [metric.delta for metric in app.metric] == ["", "+0.000", "+0"]
    until(lambda: ran(app).error)
    assert texts(app.error)[0].endswith("keeps no readings of 2026-10-25 or the days before or after it")
    assert not ran(app).button[0].disabled


@pytest.mark.parametrize("after_kwh, change_text", [(45.5, "+0.000"), (45.5 - 1e-13, "+0.000"), (45.499, "-0.001"), (1045.5, "+1,000.000")])
def test_the_change_that_a_replay_made(after_kwh, change_text):
    assert change(after_kwh, 45.5) == change_text


def test_a_replay_can_be_stopped(dashboard_on, stored):
    app = dashboard_on(stored.but(kafka="127.0.0.1:1"))("replay")
    app = ran(app.number_input(key="replay_house").set_value(2))
    app = ran(app.button[0].click())
    assert texts(app.subheader) == ["2026-10-26 to 2026-10-26, house 2"]
    assert metrics(app)["Results recomputed"] == "0 of 2"
    app = ran(app.button[1].click())
    until(lambda: ran(app).error)
    assert texts(app.error) == ["The replay was stopped."]


@pytest.mark.parametrize("name", ["overview", "home", "appliances"])
def test_figures_come_before_charts_which_take_longer_to_draw(visit, name):
    kinds = [element.type for element in visit(name).main]
    assert kinds.index("metric") < kinds.index("vega_lite_chart")


# When something is missing


@pytest.mark.parametrize("name", PAGES)
def test_without_results(dashboard_on, empty, name):
    app = dashboard_on(empty)(name)
    assert [title.casefold() for title in texts(app.title)] == [name]
    if name == "alerts":
        assert texts(app.info) == ["No matching alerts."]
    elif name != "sql":
        assert [text[:25] for text in texts(app.info)] == ["There are no results yet."]
        assert not app.metric and not app.button
    assert not app.error


@pytest.mark.parametrize("name", PAGES)
def test_without_clickhouse(dashboard_on, stored, name):
    app = dashboard_on(stored.but(clickhouse_url="http://127.0.0.1:1"))(name)
    if name == "sql":
        app = ran(app.button[0].click())
    assert texts(app.error) == [
        "ClickHouse does not answer at http://127.0.0.1:1; start the local one with ./smw stack, or set SMW_CLICKHOUSE_URL"
    ]
    assert texts(app.caption)[-1] == "This page continues as soon as ClickHouse answers."
    assert not app.metric and not app.dataframe


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"clickhouse_database": "nosuch"}, "has no database nosuch yet"),
        ({"clickhouse_reader_password": "wrong"}, "refuses the user or the password"),
    ],
)
def test_a_clickhouse_that_is_not_ready(dashboard_on, stored, changed, message):
    app = dashboard_on(stored.but(**changed))("home")
    [error] = texts(app.error)
    assert message in error


def test_an_unexpected_query_failure_is_reported(dashboard_on, clickhouse):
    settings = database(clickhouse, "dashboard_broken")
    client.writer(settings, settings.clickhouse.database).command("DROP VIEW alert_list")
    assert "alert_list" in texts(dashboard_on(settings)("alerts").error)[0]


def test_the_page_goes_on_once_there_are_tables(dashboard_on, clickhouse):
    settings = clickhouse.but(clickhouse_database="dashboard_later")
    app = dashboard_on(settings)("home")
    assert app.error
    database(clickhouse, "dashboard_later")
    app = ran(app)
    assert not app.error and texts(app.info)[0].startswith("There are no results yet.")


# Login

PROVIDER = {"auth": {"client_id": "dashboard"}}


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_shown_before_a_login(visit, name):
    app = frame()
    app.secrets, app.user = PROVIDER, {"is_logged_in": False}
    app.query_params.update(house="1", alert=OVEN, date=str(SUN))
    app = ran(app.switch_page(f"views/{name}.py"))
    assert texts(app.title) == ["Smart Meter Watchdog"]
    assert labels(app.button) == ["Log in"]
    assert [element.type for element in app.main if element.type != "main"] == ["title", "button"]


def test_a_logged_in_user_sees_the_pages(visit):
    app = frame()
    app.secrets, app.user = PROVIDER, {"is_logged_in": True, "email": "ann@example.org"}
    app = ran(app.switch_page("views/home.py"))
    assert texts(app.title) == ["Home"] and metrics(app)["Energy, kWh"] == "39.0"
    assert texts(app.sidebar.caption) == ["Logged in as ann@example.org"]
    assert labels(app.sidebar.button) == ["Log out"]
