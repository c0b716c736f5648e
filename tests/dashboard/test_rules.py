"""The page Rules, and what the page Alerts offers about the rule of an alert's meter."""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock

import pytest

from dashboard import queries, sending
from smartmeter.messages.rules import no_rule
from smartmeter.settings import ROOT
from store import client, sink
from tests.dashboard import results
from tests.dashboard.conftest import database, ran, texts
from tests.dashboard.results import KETTLE, LONG_AGO, MAINS, MON, NO_EXPORT, NO_REGISTERS, OVEN, SUN, alert_id, utc
from tests.dashboard.test_pages import labelled
from tests.topics import records

HIGH = "High sensitivity: limits are 0.9 times as high, and times 0.75 times as long."
NEWEST = utc(SUN, "16:01")
"""The end of the minute of the newest reading of house 1: 12:01 by its clock."""


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def of(elements, label: str):
    """The element of that label."""
    [found] = [element for element in elements if element.label == label]
    return found


@pytest.fixture
def to_kafka(dashboard_on, stored, with_topics):
    """(opens pages on the results of results.py, gives the rules that they have sent, without when that was)."""
    visit, before = dashboard_on(with_topics.but(clickhouse_database=stored.clickhouse.database)), ms(datetime.now(UTC))

    def sent() -> list[dict]:
        found = sorted(records(with_topics, "rules"), key=lambda rule: rule["written"])
        assert all(before <= rule.pop("written") <= time.time() * 1000 for rule in found)
        return found

    return visit, sent


def rule(meter_id: int = 3, valid_from: datetime = NEWEST, house_id: int = 1, **changed) -> dict:
    """A rule as sent(): without when it was written."""
    found = {**no_rule(house_id, meter_id, ms(valid_from), 0), "author": "test@example.com", **changed}
    del found["written"]
    return found


OVENS = dict(
    limit_watts=2000,
    limit_minutes=10,
    longest_on_minutes=240,
    longest_off_minutes=720,
    off_from=1320,
    off_to=360,
    normal=[{"kind": "run", "minutes": 40, "watts": 0}, {"kind": "level", "minutes": 0, "watts": 3900}],
)


# The page Rules


def test_what_holds_for_a_meter_and_what_held_before(visit):
    app = visit("rules", house="1", meter="3")
    assert texts(app.subheader) == ["What holds at the newest reading, 2026-10-25 12:01", "Set a rule"]
    of_now = [
        "An alert when it is over 2,000 W for longer than 10 min.",
        "An alert when it is on, over 30 W, for longer than 4 h without a pause.",
        "An alert when it is off for longer than 12 h.",
        "An alert when it is on between 22:00 and 06:00.",
        "Normal: 40 min more than otherwise (run).",
        "Normal: readings up to 3,900 W (level).",
    ]
    assert texts(app.text) == of_now
    low = "Low sensitivity: limits are 1.5 times as high, and times twice as long."
    assert app.dataframe[0].value.values.tolist() == [
        ["2026-10-25 08:00", "", " ".join(of_now), "", "2026-10-25 07:00"],
        ["2026-10-24 08:00", "2026-10-25 08:00", low, "ann@example.org", "2026-10-24 07:00"],
    ]
    assert app.query_params == {"house": "1", "meter": "3"}
    assert "The house's local time, in America/New_York. Unless you change it: the minute after its newest reading" in texts(app.caption)[0]


@pytest.mark.parametrize(
    "house, meter, sentences, rows",
    [
        ("1", "2", ["There is no rule.", f"By the rule of the whole house: {HIGH}"], 0),
        ("1", "0", [HIGH], 1),
        ("2", "2", ["There is no rule."], 0),
        ("5", "2", ["There is no rule."], 2),  # withdrawn
    ],
)
def test_what_holds_without_a_rule_of_its_own(visit, house, meter, sentences, rows):
    app = visit("rules", house=house, meter=meter)
    assert texts(app.text) == sentences
    assert sum(len(table.value) for table in app.dataframe) == rows


def test_the_form_starts_from_the_rule_that_holds(visit):
    app = visit("rules", house="1", meter="3")
    assert [box.value for box in app.number_input] == [2000, 10, 240, 720]
    assert [box.value for box in app.time_input] == [clock(12, 1), clock(22), clock(6), clock()]
    assert [box.value for box in app.date_input] == [SUN, None]
    assert of(app.selectbox, "Sensitivity").value == "normal"
    assert app.multiselect[0].value == ["Normal: 40 min more than otherwise (run).", "Normal: readings up to 3,900 W (level)."]
    app = ran(app.selectbox(key="meter").set_value(2))
    assert [box.value for box in app.number_input] == [None, 0, None, None] and not app.multiselect
    assert of(app.selectbox, "Sensitivity").value == "high"  # the house's
    app = ran(app.selectbox(key="meter").set_value(0))
    assert not app.number_input and len(app.time_input) == len(app.date_input) == 2


def test_every_field_is_sent_and_saved_again_it_is_the_same(to_kafka):
    visit, sent = to_kafka
    app = visit("rules", house="1", meter="2")
    of(app.selectbox, "Sensitivity").set_value("low")
    for label, value in (
        ("Own limit, W", 800.5),
        ("May be exceeded for, min", 5),
        ("Longest time on, min", 120),
        ("Longest time off, min", 600),
    ):
        of(app.number_input, label).set_value(value)
    of(app.time_input, "Must be off from").set_value(clock(23, 30))
    of(app.time_input, "Must be off until").set_value(clock(5, 1))
    of(app.date_input, "Valid from").set_value(date(2026, 11, 1))
    of(app.time_input, "At").set_value(clock(3, 30))  # 08:30 UTC: the clocks have changed in that night
    of(app.date_input, "No alerts until").set_value(date(2026, 11, 2))
    of(app.time_input, "Until this time").set_value(clock(8))
    app = ran(labelled(app, "Save").click())
    assert texts(app.info) == ["The rule from 2026-11-01 03:30 on is sent. It appears here once it is stored."] and not app.error
    whole = rule(
        2,
        utc(date(2026, 11, 1), "08:30"),
        sensitivity="low",
        limit_watts=800.5,
        limit_minutes=5,
        longest_on_minutes=120,
        longest_off_minutes=600,
        off_from=1410,
        off_to=301,
        muted_until=ms(utc(date(2026, 11, 2), "13:00")),
    )
    assert sent() == [whole]
    of(app.date_input, "Valid from").set_value(date(2026, 11, 1))
    of(app.time_input, "At").set_value(clock(4))
    ran(labelled(app, "Save").click())
    assert sent()[0] == whole and len(sent()) == 2


def test_what_is_sent_is_offered_at_once_and_what_is_no_longer_normal_is_taken_away(to_kafka):
    visit, sent = to_kafka
    app = visit("rules", house="1", meter="3")
    app.multiselect[0].set_value(["Normal: readings up to 3,900 W (level)."])
    of(app.number_input, "Own limit, W").set_value(None)
    app = ran(labelled(app, "Save").click())
    changed = OVENS | {"limit_watts": None, "normal": [{"kind": "level", "minutes": 0, "watts": 3900}]}
    assert sent() == [rule(**changed)]
    assert [box.value for box in app.number_input] == [None, 10, 240, 720]
    assert app.multiselect[0].options == ["Normal: readings up to 3,900 W (level)."]
    ran(labelled(app, "Save").click())
    assert sent() == [rule(**changed)] * 2


def test_a_rule_of_a_house_has_a_sensitivity_and_a_time_without_alerts(to_kafka):
    visit, sent = to_kafka
    app = visit("rules", house="1", meter="0")
    of(app.selectbox, "Sensitivity").set_value("normal")
    of(app.date_input, "No alerts until").set_value(MON)
    ran(labelled(app, "Save").click())
    assert sent() == [rule(0, muted_until=ms(utc(MON, "04:00")))]


def test_a_rule_is_removed_from_a_time_on(to_kafka):
    visit, sent = to_kafka
    app = visit("rules", house="1", meter="3")
    of(app.number_input, "Longest time on, min").set_value(0)  # of no account
    of(app.time_input, "At").set_value(clock(13))
    app = ran(labelled(app, "Remove the rule").click())
    assert sent() == [rule(3, utc(SUN, "17:00"), withdrawn=True)] and not app.error


@pytest.mark.parametrize(
    "fill, fault",
    [
        (lambda app: of(app.number_input, "Own limit, W").set_value(0.0), "Give W, more than 0 and at most 1,000,000,000."),
        (lambda app: of(app.number_input, "Longest time on, min").set_value(0), "Give 1 to 40,320 minutes."),
        (lambda app: of(app.time_input, "Must be off from").set_value(None), "Give both times, or none."),
        (lambda app: of(app.date_input, "No alerts until").set_value(SUN), "Give a time after “valid from”."),
    ],
    ids=["limit", "on", "off_from", "muted"],
)
def test_what_is_wrong_is_stated_and_nothing_is_sent(to_kafka, fill, fault):
    visit, sent = to_kafka
    app = visit("rules", house="1", meter="3")
    fill(app)
    app = ran(labelled(app, "Save").click())
    assert texts(app.error) == [fault] and not app.info and sent() == []


def test_a_rule_that_kafka_refuses_is_reported(dashboard_on, stored, no_kafka, monkeypatch):
    monkeypatch.setattr(sending, "SENT_WITHIN_S", 0.5)
    app = dashboard_on(stored.but(kafka=no_kafka))("rules", house="1", meter="3")
    app = ran(labelled(app, "Save").click())
    assert texts(app.error)[0].startswith("The rule is not set: no Kafka broker answers at 127.0.0.1:1: ") and not app.info
    assert not ran(app).info


# A house that is live, and rules that get stored

RUN = alert_id(8, 2, datetime(2026, 1, 1, tzinfo=UTC)) + "/run"


@pytest.fixture
def with_live_house(clickhouse, with_topics, request):
    """Settings with house 8, which sends readings: 1 mains, 2 pump, which has an alert of 1,230 s."""
    settings = database(clickhouse, f"dashboard_{request.node.originalname}")
    [*_, oven] = [list(alert) for alert in results.alerts() if alert[0] == OVEN]
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    start = now - timedelta(hours=1)
    run = [RUN, 8, 2, start.date(), start, start + timedelta(seconds=1230), *oven[6:14], "run", *oven[15:18], "run"]
    results.insert(
        client.writer(settings, settings.clickhouse.database),
        meters=[(8, 1, "mains", "mains", now, 0, "grid"), (8, 2, "pump", "appliance", now, 0, "load")],
        daily_energy=[
            (8, n, now.date(), 1.0, 10, 0, 60.0, 0.0, 86_400, False, LONG_AGO, 0, [], [], [], [], *NO_EXPORT, 0, *NO_REGISTERS)
            for n in (1, 2)
        ],
        alerts=[run],
        power_profile=[(8, 2, now - timedelta(minutes=1), 0, 60, 10, 20, 30)],
    )
    return with_topics.but(clickhouse_database=settings.clickhouse.database)


def store(settings, sent: list[dict]) -> None:
    """Put rules into the table, as the sink does."""
    rows = [row for record in sent for row in sink.rows_by_table("rules", record)["rules"]]
    writer = client.writer(settings, settings.clickhouse.database)
    writer.insert("rules", [[row[name] for name in sink.COLUMNS["rules"]] for row in rows], sink.COLUMNS["rules"])


def soon(sent: dict) -> bool:
    """Whether a rule begins two full minutes after it was written, more or less a second between the two."""
    return sent["valid_from"] % 60_000 == 0 and 119_000 <= sent["valid_from"] - sent["written"] <= 180_000


def test_a_rule_of_a_live_house_begins_two_minutes_later_and_shows_once_stored(dashboard_on, with_live_house):
    app = dashboard_on(with_live_house)("rules", house="8", meter="2")
    assert texts(app.subheader)[0] == "What holds now" and "two full minutes after you save it" in texts(app.caption)[0]
    of(app.selectbox, "Sensitivity").set_value("low")
    ran(labelled(app, "Save").click())
    [sent] = records(with_live_house, "rules")
    assert soon(sent) and sent["sensitivity"] == "low"
    app = ran(app)
    assert len(app.info) == 1 and not app.dataframe
    store(with_live_house, [sent])
    app = ran(app)
    assert not app.info and texts(app.text) == ["There is no rule."]  # it begins in two minutes
    [row] = app.dataframe[0].value["rule"]
    assert row == "Low sensitivity: limits are 1.5 times as high, and times twice as long."


# Below an alert


def test_an_alert_of_a_live_house_is_normal_by_as_much_again(dashboard_on, with_live_house):
    visit, tomorrow = dashboard_on(with_live_house), datetime.now(UTC).replace(minute=0) + timedelta(days=1)
    store(with_live_house, [no_rule(8, 2, ms(tomorrow.replace(second=0, microsecond=0)), 1)])
    app = visit("alerts", alert=RUN)
    app = ran(labelled(app, "This is normal").click())
    [sent] = records(with_live_house, "rules")
    assert soon(sent) and sent["normal"] == [{"kind": "run", "minutes": 21, "watts": 0}]
    assert (sent["house_id"], sent["meter_id"], sent["sensitivity"], sent["author"]) == (8, 2, "normal", "test@example.com")
    app = ran(app)
    assert labelled(app, "This is normal").disabled
    until = f"{tomorrow:%Y-%m-%d %H:%M}"
    caption = texts(app.caption)[-1]
    assert caption.startswith("Such an alert is normal from ") and caption.endswith(f" on, until the meter's next rule begins, {until}.")
    assert f"It holds until the next rule that is set already begins, {until}." in texts(visit("rules", house="8", meter="2").caption)
    store(with_live_house, [sent])
    ran(labelled(visit("alerts", alert=RUN), "This is normal").click())
    newest = max(records(with_live_house, "rules"), key=lambda rule: rule["written"])
    assert newest["normal"] == [{"kind": "run", "minutes": 42, "watts": 0}]


def test_an_alert_of_a_house_that_is_not_live_adds_to_the_rule_of_its_meter(to_kafka):
    visit, sent = to_kafka
    ran(labelled(visit("alerts", alert=OVEN), "This is normal, from 2026-10-25 12:01 on").click())
    assert sent() == [rule(**OVENS | {"normal": [OVENS["normal"][0], {"kind": "level", "minutes": 0, "watts": 4000}]})]


def test_a_meter_without_a_rule_keeps_the_sensitivity_of_its_house(to_kafka):
    visit, sent = to_kafka
    ran(labelled(visit("alerts", alert=KETTLE), "This is normal, from 2026-10-25 12:01 on").click())
    ran(labelled(visit("alerts", alert=MAINS), "This is normal, from 2026-10-27 00:00 on").click())
    assert sent() == [
        rule(2, utc(SUN, "12:01"), 5, normal=[{"kind": "level", "minutes": 0, "watts": 3000}]),
        rule(1, utc(date(2026, 10, 27), "04:00"), 2, normal=[{"kind": "level", "minutes": 0, "watts": 9500}]),
    ]


def test_from_an_alert_to_the_rule_of_its_meter(visit):
    app = ran(labelled(visit("alerts", alert=OVEN), "Its rule").click())
    assert texts(app.title) == ["Rules"] and app.query_params == {"house": "1", "meter": "3"}
    assert len(texts(app.text)) == 6


def test_what_is_normal_and_kafka_refuses_is_reported(dashboard_on, stored, no_kafka, monkeypatch):
    monkeypatch.setattr(sending, "SENT_WITHIN_S", 0.5)
    app = dashboard_on(stored.but(kafka=no_kafka))("alerts", alert=OVEN)
    app = ran(labelled(app, "This is normal, from 2026-10-25 12:01 on").click())
    assert texts(app.error)[0].startswith("The rule is not set: no Kafka broker answers at 127.0.0.1:1: ")
    assert not app.toast and not labelled(ran(app), "This is normal, from 2026-10-25 12:01 on").disabled


# For programs


def blocks(language: str) -> list[str]:
    """The examples in docs/rules.md."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "rules.md").read_text(), re.DOTALL)


def test_the_documented_program_sets_a_rule(to_kafka):
    _, sent = to_kafka
    [program] = blocks("python")
    exec(compile(program, "pump.py", "exec"), {})
    [found] = sent()
    assert found["valid_from"] % 60_000 == 0 and 0 < found["valid_from"] - time.time() * 1000 <= 180_000
    fields = dict(limit_watts=800, limit_minutes=10, longest_on_minutes=120, off_from=1380, off_to=330, author="pump.py")
    assert found == rule(3, datetime.fromtimestamp(found["valid_from"] / 1000, UTC), 7, **fields)


def test_the_documented_queries_are_answered(db):
    holds, refused = blocks("sql")
    past, _ = queries.of_user(db, holds.replace("now64(3)", "toDateTime64('2026-10-25 08:00:00', 3, 'UTC')"), 10)
    assert past[["house_id", "label", "sensitivity"]].values.tolist() == [
        [1, "the house", "high"],
        [1, "oven", "low"],
        [5, "kettle", "low"],
    ]
    later, _ = queries.of_user(db, holds.replace("now64(3)", "toDateTime64('2026-10-25 12:00:00', 3, 'UTC')"), 10)
    assert later[["house_id", "label", "limit_watts"]].fillna(0).values.tolist() == [[1, "the house", 0], [1, "oven", 2000]]
    assert queries.of_user(db, refused, 10)[0].empty
    assert queries.of_user(db, holds, 10)[0]["house_id"].tolist() == [1, 1]
