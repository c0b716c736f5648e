"""Hostile texts: in the URL, in what users write, in names that come with the data, and in SQL."""

from __future__ import annotations

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from dashboard import queries
from stack import services
from stack.processes import Processes
from store import client, schema
from tests.dashboard import results
from tests.dashboard.conftest import database, metrics, ran, texts
from tests.dashboard.results import MON, OVEN, SAT, SUN
from tests.ports import on_free_ports

HOSTILE = [
    "1'; DROP TABLE houses; --",
    '"',
    "\\",
    "1 OR 1=1",
    "0) UNION ALL SELECT name FROM system.tables --",
    "/*",
    "{house_id:Int64}",
    "%(house_id)s",
    "<img src=x onerror=alert(1)>",
    "![x](http://evil.invalid/)",
    "x" * 1000,
    "1\0",
    "\U0001f600\u202e",
    "\t1\\N\n",
    "-1",
    "9" * 20,
    "nan",
    "9999-12-31",
    "../../etc/passwd",
]
PARAMETERS = {
    "home": ("house", "date", "meter", "span", "hour", "from", "to", "tariff"),
    "appliances": ("house", "from", "to"),
    "map": ("from", "to", "measure"),
    "alerts": ("show", "of_house", "of_meter", "appliance", "kind", "severity", "alert"),
    "rules": ("house", "meter"),
    "replay": ("from", "to"),
}


# In the URL


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_hostile_url_shows_what_a_plain_one_shows_and_is_put_right(visit, name):
    plain = visit(name)
    for text in {"home": HOSTILE, "alerts": HOSTILE[::2]}.get(name, HOSTILE[4::6]):
        app = visit(name, **dict.fromkeys(PARAMETERS[name], text))
        assert app.query_params == plain.query_params, text[:50]
        assert metrics(app) == metrics(plain), text[:50]
        assert [texts(found) for found in (app.error, app.info, app.caption, app.subheader)] == [
            texts(found) for found in (plain.error, plain.info, plain.caption, plain.subheader)
        ], text[:50]
        assert [table.value.to_csv() for table in app.dataframe] == [table.value.to_csv() for table in plain.dataframe], text[:50]


# In what is sent by widgets, past what the browser would let through


@pytest.mark.parametrize(
    "name, key, value",
    [
        ("home", "house", "House 1; DROP TABLE houses"),
        ("home", "meter", "0 OR 1=1"),
        ("alerts", "appliance", "' OR 1=1 --"),
        ("appliances", "house", "../../etc/passwd"),
        ("rules", "house", "House 1; DROP TABLE houses"),
        ("rules", "meter", "0 OR 1=1"),
        ("rules", "rule 1/1/1792900800000/1792836000000 sensitivity", "deaf"),
        ("sql", "example", "{x:Identifier}"),
    ],
)
def test_an_option_that_was_not_offered_is_not_taken(visit, name, key, value):
    app = visit(name)
    box = app.selectbox(key=key)
    before = box.value, metrics(app), app.query_params
    box.options.append(value)
    app = ran(box.set_value(value))
    assert (app.selectbox(key=key).value, metrics(app), app.query_params) == before and not app.error


@pytest.mark.parametrize(
    "name, key, value",
    [
        ("alerts", "of_house", -1),
        ("alerts", "of_house", 2**62),
        ("home", "price", -5.0),
        ("home", "price", 1e308),
        ("replay", "replay_house", -1),
    ],
)
def test_a_number_out_of_range_is_not_taken(visit, name, key, value):
    app = visit(name)
    before = app.number_input(key=key).value, metrics(app), app.query_params
    app = ran(app.number_input(key=key).set_value(value))
    assert (app.number_input(key=key).value, metrics(app), app.query_params) == before and not app.error


# In values of queries


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_value_finds_nothing(db, text):
    assert queries.zip_median(db, text, SAT, MON).empty
    for name in ("label", "kind", "severity"):
        assert queries.alerts(db, 200, **{name: text}).empty
    assert queries.alert(db, text).empty
    assert len(queries.alerts(db, 200, show=text)) == 4  # as all


# In names that come with the data

NAME = (
    "![x](http://evil.invalid/x.png)[y](javascript:alert(1))<img src=x onerror=alert(1)><script>alert(1)</script>**b**`c`$d$:red[e]~f~_g_|h|&lt;\n# i\t\0"
    "'; DROP TABLE houses; -- \\N {x:Int64} %(y)s www.evil.invalid ann@evil.invalid :streamlit:"
)


@pytest.fixture(scope="module")
def hostile(clickhouse):
    """Settings with the results of results.py in which every text that somebody may choose is hostile."""
    settings = database(clickhouse, "dashboard_hostile")
    zones = {2: "../../../etc/passwd", 3: "A" * 5000, 4: "\0", 5: NAME}
    results.insert(
        client.writer(settings, settings.clickhouse.database),
        houses=[
            (house_id, zones.get(house_id, zone), NAME, NAME, NAME, NAME, *rest) for house_id, zone, _, _, _, _, *rest in results.houses()
        ],
        meters=[
            (house_id, meter_id, label if kind == "mains" else NAME, kind, *rest)
            for house_id, meter_id, label, kind, *rest in results.meters()
        ],
        daily_energy=results.daily_energy(),
        thresholds=results.thresholds(),
        alerts=results.alerts(),
        power_profile=results.power_profile(),
        acknowledgements=[(alert_id, house_id, NAME * 5, NAME, *rest) for alert_id, house_id, _, _, *rest in results.acknowledgements()],
        rules=[(*row, NAME, written) for *row, _, written in results.rules()],
        late=[(*row, NAME) for *row, _ in results.late()],
        dead_letter=[(*row, NAME, payload) for *row, _, payload in results.dead_letter()],
    )
    return settings


@pytest.fixture
def visit_hostile(dashboard_on, hostile):
    return dashboard_on(hostile)


def rendered(app) -> list[str]:
    """What Streamlit renders as Markdown."""
    fields = ("body", "label", "help", "delta", "text", "placeholder")
    found = [
        getattr(node.proto, field, "")
        for node in (*app.main, *app.sidebar)
        if hasattr(node, "proto") and node.type != "text"
        for field in fields
    ]
    return [text for text in found if isinstance(text, str)]


@pytest.mark.parametrize(
    "name, query",
    [
        ("overview", {}),
        ("home", {}),
        ("home", {"house": "5"}),
        ("home", {"date": str(SUN), "meter": "3"}),
        ("home", {"house": "2", "date": str(SUN)}),
        ("appliances", {}),
        ("map", {}),
        ("alerts", {}),
        ("alerts", {"alert": OVEN}),
        ("alerts", {"alert": results.KETTLE}),
        ("rules", {"house": "1", "meter": "3"}),
        ("rules", {"house": "5", "meter": "2"}),
        ("replay", {}),
    ],
)
def test_names_are_no_markdown(visit_hostile, name, query):
    app = visit_hostile(name, **query)
    assert not app.error
    assert [text for text in rendered(app) if "evil" in text] == []


def test_hostile_names_are_found_by_themselves(hostile, visit_hostile):
    db = client.reader(hostile)
    assert queries.alert_labels(db) == sorted(["mains", NAME])
    assert queries.zip_median(db, NAME, SAT, SAT)["median_kwh"].tolist() == [12]  # of 12, 22 and London's 2
    assert queries.alerts(db, 200, label=NAME)["alert_id"].tolist() == [OVEN, results.KETTLE]
    app = visit_hostile("alerts", appliance=NAME)
    assert app.dataframe[0].value["label"].tolist() == [NAME, NAME]
    assert app.query_params == {"show": "all", "appliance": NAME}


def test_a_time_zone_that_is_none_counts_as_utc(visit_hostile):
    app = visit_hostile("alerts")
    assert app.dataframe[0].value["began"].tolist() == [
        "2026-10-26 12:00:00",
        "2026-10-25 23:30:00",
        "2026-10-25 10:00:00",
        "2026-10-25 01:30:00",
    ]
    app = visit_hostile("home", house="5")
    assert texts(app.caption)[0].endswith("times are local, in UTC.")
    assert metrics(app)["Energy, kWh"] == "5.0"


def test_names_and_notes_of_an_alert_are_shown_as_they_are(visit_hostile):
    app = visit_hostile("alerts", alert=OVEN)
    reason = "warning, level: **4,000 W**, over its limit of 3,480 W"
    assert texts(app.text) == [f"{NAME}, {NAME}", reason, f"{NAME}: {NAME * 5}"]


def test_clickhouse_errors_are_not_markdown(visit):
    app = visit("sql")
    app.text_area[0].set_value("SELECT `[x](http://evil.invalid/)`")
    app = ran(app.button[0].click())
    assert "`[x](http://evil.invalid/)`" in app.code[0].value and "evil" not in app.error[0].value


# In SQL, by the read-only user

REFUSED = [
    "SELECT file('{secret}')",
    "SELECT file('clickhouse_password')",
    "SELECT file('../clickhouse_password')",
    "SELECT FILE('{secret}')",
    "SELECT arrayMap(x -> file(x), ['{secret}'])",
    "SELECT * FROM file('{secret}', 'LineAsString')",
    "SELECT * FROM `{secret}`",
    "SELECT * FROM file('{secret}')",
    "SELECT * FROM loop(file('{secret}'))",
    "SELECT * FROM view(SELECT file('{secret}'))",
    "WITH s AS (SELECT file('{secret}') AS a) SELECT * FROM s",
    "SELECT (SELECT file('{secret}'))",
    "SELECT 1 AS a UNION ALL SELECT length(file('{secret}'))",
    "SELECT * FROM merge('.*', 'x') WHERE file('{secret}') = ''",
    "SELECT 1 WHERE 1 IN (SELECT length(file('{secret}')))",
    "SELECT sum(length(file('{secret}'))) OVER ()",
    "SELECT 1 ORDER BY file('{secret}')",
    "EXPLAIN PIPELINE SELECT * FROM file('{secret}')",
    "EXPLAIN TABLE OVERRIDE file('{secret}') PARTITION BY a",
    "DESCRIBE file('{secret}')",
    "DESCRIBE (SELECT file('{secret}'))",
    "SHOW CREATE TABLE file('{secret}')",
    "SELECT * FROM houses LEFT JOIN file('{secret}', 'LineAsString') AS f ON 1",
    "SELECT 1 INTO OUTFILE '{secret}.out'",
    "SELECT 1 INTO OUTFILE '{secret}' TRUNCATE FORMAT CSV",
    "SELECT 1 FORMAT CSV INTO OUTFILE '{secret}.out'",
    "INSERT INTO FUNCTION file('{secret}', 'CSV', 'a Int8') VALUES (1)",
    "INSERT INTO houses FROM INFILE '{secret}' FORMAT CSV",
    "INSERT INTO houses SELECT * FROM houses",
    "DELETE FROM houses WHERE 1",
    "UPDATE houses SET zip = '' WHERE 1",
    "TRUNCATE TABLE houses",
    "DROP DATABASE {database}",
    "RENAME TABLE houses TO homes",
    "EXCHANGE TABLES houses AND meters",
    "ALTER TABLE houses ADD COLUMN a Int8",
    "OPTIMIZE TABLE houses FINAL",
    "CHECK TABLE houses",
    "ATTACH TABLE x (a Int8) ENGINE = File(CSV)",
    "DETACH TABLE houses",
    "CREATE TABLE x ENGINE = File(CSV) AS SELECT 1",
    "CREATE TABLE x (a Int8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE x (a Int8)",
    "CREATE VIEW x AS SELECT 1",
    "CREATE DATABASE x",
    "CREATE DICTIONARY x (a Int8) PRIMARY KEY a SOURCE(FILE(PATH '{secret}'))",
    "CREATE FUNCTION f AS x -> file(x)",
    "CREATE NAMED COLLECTION c AS a = 1",
    "CREATE USER x",
    "CREATE ROLE x",
    "GRANT ALL ON *.* TO reader",
    "ALTER USER default IDENTIFIED BY 'x'",
    "SET readonly = 0",
    "SET ROLE ALL",
    "SET max_execution_time = 0",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "SELECT 1 SETTINGS allow_get_client_http_header = 1",
    "SELECT getClientHTTPHeader('Authorization')",
    "EXECUTE AS writer SELECT 1",
    "SYSTEM SHUTDOWN",
    "SYSTEM FLUSH LOGS",
    "SYSTEM DROP MARK CACHE",
    "KILL QUERY WHERE 1",
    "KILL MUTATION WHERE 1",
    "BACKUP TABLE houses TO Disk('default', 'x')",
    "RESTORE TABLE houses FROM Disk('default', 'x')",
    "SHOW GRANTS",
    "SHOW USERS",
    "SHOW ACCESS",
    "SHOW PROCESSLIST",
    "SHOW CREATE USER default",
    "SELECT * FROM system.users",
    "SELECT * FROM system.grants",
    "SELECT * FROM system.quotas",
    "SELECT * FROM system.symbols",
    "SELECT addressToLine(1)",
    "SELECT dictGet('x', 'y', 1)",
    "SELECT joinGet('x', 'y', 1)",
    "SELECT aiGenerate('x')",
    "SELECT aiGenerate('x', map('credentials', 'http://127.0.0.1:1/'))",
    "SELECT showCertificate()",
    "SELECT naiveBayesClassifier('{secret}', 'x')",
    "SELECT catboostEvaluate('{secret}', 1)",
    "SELECT * FROM viewIfPermitted(SELECT 1 ELSE null('a Int8'))",
    "SELECT * FROM viewExplain('EXPLAIN', '', SELECT 1)",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE houses",
    "SELECT 1;;SELECT 2",
    "SELECT 1 -- ;\n; SELECT 2",
    "SELECT 1 PARALLEL WITH SELECT 2",
    "BEGIN TRANSACTION",
    "SELECT * FROM {{t:Identifier}}",
    "SELECT {{x:String}}",
    "SELECT $$file$$('{secret}')",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_the_reader_is_refused(stored, db, sql):
    secret = client.password_file(stored)
    with pytest.raises(ClickHouseError) as refused:
        queries.of_user(db, sql.format(secret=secret, database=stored.clickhouse.database), 10)
    assert secret.read_text().strip() not in str(refused.value)
    assert {path.name for path in secret.parent.iterdir() if path.name.startswith(secret.name)} == {secret.name}


HARMLESS = {"generate_series", "generateSeries", "merge", "numbers", "numbers_mt", "values", "view", "zeros", "zeros_mt"}


def test_only_table_functions_that_read_nothing_but_tables_are_allowed(db):
    for [name] in db.query("SELECT name FROM system.table_functions").result_rows:
        if name not in HARMLESS and not name.startswith("view"):  # those take no texts
            with pytest.raises(DatabaseError, match=f"the table function {name} is not allowed"):
                queries.of_user(db, f"SELECT * FROM {name}('http://127.0.0.1:1/', 'x', 'y')", 10)


def test_limits_hold_for_every_query(db):
    limits = "getSetting('readonly'), getSetting('max_execution_time'), getSetting('max_memory_usage')"
    for sql in (
        f"SELECT {limits}",
        f"SELECT * FROM (SELECT {limits} SETTINGS readonly = 0, max_execution_time = 0, max_memory_usage = 0)",
        f"(SELECT {limits} SETTINGS readonly = 0, max_execution_time = 0, max_memory_usage = 0) UNION ALL (SELECT {limits})",
    ):
        for limit in queries.of_user(db, sql, 10)[0].values.tolist():
            assert limit == [1, 60, 500_000_000]  # a quarter of SMW_CLICKHOUSE_MEMORY_MB, as four run at the same time


@pytest.fixture
def with_passwords(tmp_path):
    """Settings with passwords for both users, and an endpoint of its own that has them."""
    settings = on_free_ports(tmp_path, clickhouse_password="of the writer", clickhouse_reader_password="of the reader")
    with Processes(tmp_path) as processes:
        services.start_endpoint(processes, settings)
        yield settings


def test_no_system_table_shows_a_password(with_passwords):
    schema.create(client.writer(with_passwords), with_passwords)
    db = client.reader(with_passwords)
    tables = db.query("SELECT database, name FROM system.tables WHERE database != currentDatabase()").result_rows
    assert len(tables) > 100
    for table in tables:
        try:
            answer = db.raw_query("SELECT * FROM `{}`.`{}` LIMIT 10000".format(*table), fmt="TSV")
        except ClickHouseError as error:
            answer = str(error).encode()
        assert b"of the writer" not in answer and b"of the reader" not in answer, table
