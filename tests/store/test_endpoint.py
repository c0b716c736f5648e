"""The endpoint, called as curl would and through clickhouse-connect."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import os
import re
import signal
import socket
import stat
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from urllib.parse import urlencode, urlsplit

import clickhouse_connect
import lz4.frame
import pytest
from backports import zstd
from clickhouse_connect.driver.exceptions import DatabaseError

from smartmeter.errors import CRASHED
from stack import ports, services
from stack.processes import Processes
from store import bodies, client, native
from tests.ports import on_free_ports
from tests.store.conftest import run_endpoint
from tests.waiting import STILL_S, until


def send(settings, sql="", *, method="POST", headers=None, body=None, path="/", **parameters):
    """(status, headers, body) of a request, as curl would make it."""
    address = urlsplit(settings.clickhouse.url)
    with closing(http.client.HTTPConnection(address.hostname, address.port, timeout=30)) as connection:
        if parameters:
            path += "?" + urlencode(parameters)
        connection.request(
            method,
            path,
            body=sql.encode() if body is None else body,
            headers=headers or {},
            encode_chunked="Transfer-Encoding" in (headers or {}),
        )
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def as_writer(settings):
    return {"X-ClickHouse-User": "writer", "X-ClickHouse-Key": client.writer_password(settings)}


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def table(writer, database):
    """(settings, full name) of a table t (a Int64, s LowCardinality(String)) of the test's own."""
    writer.command("CREATE TABLE t (a Int64, s LowCardinality(String)) ENGINE = MergeTree ORDER BY a")
    yield database, f"{database.clickhouse.database}.t"
    writer.command("DROP TABLE t")


def test_query_in_url_in_body_and_in_both(clickhouse):
    assert send(clickhouse, method="GET", query="SELECT 1 + 1")[::2] == (200, b"2\n")
    assert send(clickhouse, "SELECT 1 + 1")[::2] == (200, b"2\n")
    assert send(clickhouse, "+ 1", query="SELECT 1")[::2] == (200, b"2\n")


def test_ping_and_no_query(clickhouse):
    assert send(clickhouse, method="GET", path="/ping")[::2] == (200, b"Ok.\n")
    assert send(clickhouse, method="GET")[::2] == (200, b"Ok.\n")
    assert send(clickhouse, method="GET", path="/nosuch")[0] == 404


def test_formats(clickhouse):
    status, headers, body = send(clickhouse, "SELECT 1 AS a FORMAT JSON")
    assert (status, headers["X-ClickHouse-Format"], json.loads(body)["data"]) == (200, "JSON", [{"a": 1}])
    assert send(clickhouse, "SELECT 1 AS a", default_format="CSVWithNames")[2] == b'"a"\n1\n'
    assert send(clickhouse, "SELECT 1 AS a", headers={"X-ClickHouse-Format": "JSONEachRow"})[2] == b'{"a":1}\n'


def test_parameters_are_values_never_sql(clickhouse):
    nasty = "x'; DROP TABLE t; -- \\\\"
    assert send(clickhouse, "SELECT {v:String}", param_v=nasty)[2].decode() == "x\\'; DROP TABLE t; -- \\\\\n"
    status, headers, body = send(clickhouse, "SELECT {v:Int64}", param_v="1; DROP TABLE t")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (400, "457")
    assert body.startswith(b"Code: 457. DB::Exception: Value 1; DROP TABLE t cannot be parsed as Int64")


@pytest.mark.parametrize(
    "compress, encoding", [(bytes, None), (gzip.compress, "gzip"), (lz4.frame.compress, "lz4"), (zstd.compress, "zstd")]
)
def test_insert_with_data_in_body(table, compress, encoding):
    settings, name = table
    headers = as_writer(settings) | ({"Content-Encoding": encoding} if encoding else {})
    status, answer, _ = send(settings, query=f"INSERT INTO {name} FORMAT CSV", body=compress(b'1,"FORMAT JSON"\n2,b\n'), headers=headers)
    assert (status, json.loads(answer["X-ClickHouse-Summary"])["written_rows"]) == (200, "2")
    assert send(settings, f"SELECT * FROM {name} ORDER BY a")[2] == b"1\tFORMAT JSON\n2\tb\n"


def test_insert_of_values_and_of_a_select(table):
    settings, name = table
    for statement in (f"INSERT INTO {name} VALUES (1, 'x FORMAT CSV\n')", f"INSERT INTO {name} SELECT 2, 'y'"):
        assert send(settings, statement, headers=as_writer(settings))[0] == 200
    assert send(settings, f"SELECT * FROM {name} ORDER BY a")[2] == b"1\tx FORMAT CSV\\n\n2\ty\n"


def test_body_that_cannot_be_decompressed(clickhouse):
    for encoding, code in (("gzip", "271"), ("deflate", "271"), ("lz4", "271"), ("zstd", "271"), ("br", "89")):
        _, headers, _ = send(clickhouse, body=b"no such thing", headers={"Content-Encoding": encoding})
        assert headers["X-ClickHouse-Exception-Code"] == code


@pytest.mark.parametrize(
    "sql, status, code, text",
    [
        ("SELECT nope", 404, "47", b"Unknown expression identifier `nope`"),
        ("SELECT * FROM nosuch", 404, "60", b"nosuch"),
        ("SELEC 1", 400, "62", b"Syntax error"),
        ("SELECT 1; SELECT 2", 400, "62", b"Multi-statements are not allowed"),
        ("SELECT throwIf(1)", 500, "395", b"FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ],
)
def test_errors_as_clickhouse_reports_them(clickhouse, sql, status, code, text):
    for user in ({}, as_writer(clickhouse)):
        got_status, headers, body = send(clickhouse, sql, headers=user)
        assert (got_status, headers["X-ClickHouse-Exception-Code"]) == (status, code)
        assert body.startswith(f"Code: {code}. DB::Exception: ".encode()) and text in body


def test_unknown_database_and_setting(clickhouse):
    assert send(clickhouse, "SELECT 1", database="nosuch")[1]["X-ClickHouse-Exception-Code"] == "81"
    assert send(clickhouse, "SELECT 1", nosuch="1")[1]["X-ClickHouse-Exception-Code"] == "115"
    assert send(clickhouse, "SELECT getSetting('max_threads')", max_threads="3")[2] == b"3\n"


def test_error_after_the_first_part_ends_the_answer(clickhouse):
    status, headers, body = send(clickhouse, "SELECT throwIf(number = 2000000) FROM numbers(3000000)")
    tag = headers["X-ClickHouse-Exception-Tag"].encode()
    assert status == 200 and body.endswith(tag + b"\r\n__exception__\r\n") and b"Code: 395." in body
    with pytest.raises(DatabaseError, match="395"):
        list(client.writer(clickhouse).query("SELECT throwIf(number = 2000000) FROM numbers(3000000)").result_rows)


def test_long_answer_comes_whole(clickhouse):
    body = send(clickhouse, "SELECT number FROM numbers(500000)")[2]
    assert body == b"".join(b"%d\n" % n for n in range(500_000))
    assert json.loads(send(clickhouse, "SELECT number FROM numbers(500000) FORMAT JSONCompact")[2])["rows"] == 500_000


@pytest.mark.parametrize("compress", [True, False, "lz4", "zstd", "gzip"])
def test_clickhouse_connect(table, compress):
    settings, name = table
    address = urlsplit(settings.clickhouse.url)
    connection = clickhouse_connect.get_client(
        host=address.hostname, port=address.port, username="writer", password=client.writer_password(settings), compress=compress
    )
    assert connection.insert(name, [[3, 1], ["é", "it's"]], column_names=["a", "s"], column_oriented=True).written_rows == 2
    assert connection.query(f"SELECT * FROM {name} WHERE a >= {{low:Int64}} ORDER BY a", parameters={"low": 1}).result_rows == [
        (1, "it's"),
        (3, "é"),
    ]
    assert connection.query(f"SELECT s FROM {name} WHERE s = %(s)s", parameters={"s": "it's"}).result_rows == [("it's",)]
    assert connection.query_df(f"SELECT count() AS n FROM {name}").n.tolist() == [2]
    assert connection.query(f"SELECT * FROM {name} WHERE a = 9").result_rows == []
    with pytest.raises(DatabaseError, match="Code: 60"):
        connection.query("SELECT * FROM nosuch")


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_insert_of_many_blocks_arrives_whole(table, compress):
    settings, name = table
    connection = clickhouse_connect.get_client(
        dsn=settings.clickhouse.url, username="writer", password=client.writer_password(settings), compress=compress
    )
    count = 300_000
    context = connection.create_insert_context(name, ["a", "s"], column_oriented=True, data=[list(range(count)), ["x"] * count])
    assert context.block_row_count < count
    assert connection.insert(context=context).written_rows == count
    assert connection.query(f"SELECT count(), sum(a), uniqExact(a) FROM {name}").result_rows == [(count, count * (count - 1) // 2, count)]


def test_wrong_credentials(clickhouse):
    password = client.writer_password(clickhouse)
    for request in (
        {"headers": basic("writer", "wrong")},
        {"headers": basic("nobody", "")},
        {"headers": {"Authorization": "Basic ?"}},
        {"headers": {"X-ClickHouse-User": "writer"}},
        {"user": "writer", "password": password[:-1]},
        {"user": "default"},
    ):
        status, headers, body = send(clickhouse, "SELECT 1", **request)
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (403, "516") and b"AUTHENTICATION_FAILED" in body
    for request in ({"headers": basic("writer", password)}, {"user": "writer", "password": password}, {"headers": basic("reader", "")}):
        assert send(clickhouse, "SELECT 1", **request)[::2] == (200, b"1\n")


def test_password_is_kept_private(clickhouse):
    assert stat.S_IMODE(os.stat(client.password_file(clickhouse)).st_mode) == 0o600
    assert len(client.writer_password(clickhouse)) >= 24


def test_get_does_not_write(table):
    settings, name = table
    for sql in (f"INSERT INTO {name} VALUES (1, '')", f"INSERT INTO {name} FORMAT CSV\n1,a\n", f"DROP TABLE {name}"):
        assert send(settings, method="GET", query=sql, headers=as_writer(settings))[1]["X-ClickHouse-Exception-Code"] == "164"
    assert send(settings, f"SELECT count() FROM {name}")[2] == b"0\n"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO {t} VALUES (1, '')",
        "INSERT INTO {t} SELECT 1, ''",
        "INSERT INTO {t} FORMAT CSV\n1,a\n",
        "INSERT INTO FUNCTION file('{path}', 'CSV', 'a Int8') VALUES (1)",
        "DROP TABLE {t}",
        "TRUNCATE TABLE {t}",
        "ALTER TABLE {t} DELETE WHERE 1",
        "DELETE FROM {t} WHERE 1",
        "OPTIMIZE TABLE {t} FINAL",
        "CREATE TABLE u (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE u (a Int8)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE FUNCTION f AS x -> x",
        "RENAME TABLE {t} TO u",
        "SYSTEM STOP MERGES",
        "SYSTEM SHUTDOWN",
        "KILL QUERY WHERE 1",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_block_size = 1",
        "SET ROLE ALL",
        "SELECT file('{path}')",
        "SELECT `file`('{path}')",
        "SELECT arrayMap(file, ['{path}'])",
        "SELECT arrayMap(x -> file(x), ['{path}'])",
        "SELECT * APPLY(file) FROM (SELECT '{path}')",
        "SELECT COLUMNS('p') APPLY(x -> file(x)) FROM (SELECT '{path}' AS p)",
        "WITH (SELECT file('{path}')) AS f SELECT f",
        "EXPLAIN SELECT file('{path}')",
        "SELECT 1 WHERE file('{path}') = ''",
        "SELECT * FROM file('{path}', 'LineAsString')",
        "SELECT * FROM '{path}'",
        "SELECT * FROM `{path}`",
        "DESCRIBE file('{path}')",
        "SELECT 1 IN file('{path}', 'LineAsString')",
        "SELECT 1 IN (SELECT * FROM file('{path}', 'LineAsString'))",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a Int8')",
        "DESCRIBE url('http://127.0.0.1:1/')",
        "SELECT * FROM s3('http://127.0.0.1:1/b/k', 'CSV')",
        "SELECT * FROM remote('127.0.0.1', system.one)",
        "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
        "SELECT * FROM python(request)",
        "SELECT * FROM executable('ls', 'CSV', 'a String')",
        "SELECT * FROM iceberg('http://127.0.0.1:1/bucket/key')",
        "SELECT * FROM eval('SELECT 1')",
        "SELECT * FROM view(SELECT * FROM file('{path}', 'LineAsString'))",
        "SELECT 1 INTO OUTFILE '{path}.out'",
        "SELECT 1 UNION ALL SELECT 2 INTO OUTFILE '{path}.out' TRUNCATE",
        "(SELECT 1) INTO OUTFILE '{path}.out'",
        "SHOW TABLES INTO OUTFILE '{path}.out'",
        "DESCRIBE TABLE {t} INTO OUTFILE '{path}.out'",
        "EXPLAIN SELECT 1 INTO OUTFILE '{path}.out'",
        "SELECT 1; DROP TABLE {t}",
        "SELECT 1 /* */; SET readonly = 0",
    ],
)
def test_reader_is_refused(table, tmp_path, sql):
    settings, name = table
    secret = tmp_path / "secret"
    secret.write_text("do not read\n")
    status, headers, body = send(settings, sql.format(t=name, path=secret))
    assert status >= 400 and headers["X-ClickHouse-Exception-Code"] in {"60", "62", "164", "497"}, body
    assert b"do not read" not in body
    assert list(tmp_path.iterdir()) == [secret] and secret.read_text() == "do not read\n"
    assert send(settings, f"SELECT count() FROM {name}")[2] == b"0\n"


def test_reader_cannot_smuggle_a_function_in_as_a_parameter(clickhouse, tmp_path):
    (tmp_path / "secret").write_text("do not read\n")
    status, _, body = send(clickhouse, "SELECT arrayMap({f:Identifier}, [{p:String}])", param_f="file", param_p=str(tmp_path / "secret"))
    assert status == 500 and b"do not read" not in body


@pytest.mark.parametrize(
    "settings",
    [{"readonly": "0"}, {"readonly": "2"}, {"max_block_size": "7"}, {"allow_introspection_functions": "0"}, {"dialect": "kusto"}],
)
def test_reader_cannot_change_settings(clickhouse, settings):
    assert send(clickhouse, "SELECT 1", **settings)[1]["X-ClickHouse-Exception-Code"] == "164"


def test_reader_may_send_what_clients_send_with_each_statement(clickhouse):
    sent = dict(
        async_insert="0",
        network_compression_method="lz4",
        wait_for_async_insert="1",
        wait_end_of_query="1",
        session_id="s",
        session_timeout="60",
    )
    assert send(clickhouse, "SELECT getSetting('async_insert')", **sent)[::2] == (200, b"true\n")  # the engine's own
    shown = send(
        clickhouse,
        "SELECT toUInt64(1) AS n, toDateTime(0) AS t FORMAT JSONEachRow",
        output_format_json_quote_64bit_integers="1",
        session_timezone="Asia/Tokyo",
    )
    assert shown[::2] == (200, b'{"n":"1","t":"1970-01-01 09:00:00"}\n')
    assert send(clickhouse, "SELECT toDateTime(0)", date_time_output_format="iso")[2] == b"1970-01-01T00:00:00Z\n"
    assert send(clickhouse, "SELECT getSetting('max_execution_time'), getSetting('readonly')", **sent)[2] == b"60\t1\n"


def test_reader_may_limit_a_query(clickhouse, database, reader):
    _, headers, _ = send(
        clickhouse,
        "SELECT sum(sleepEachRow(0.1)) FROM numbers(100) SETTINGS max_block_size = 1",
        headers=as_writer(clickhouse),
        max_execution_time="0.2",
    )
    assert headers["X-ClickHouse-Exception-Code"] == "159"
    assert send(clickhouse, "SELECT sum(sipHash64(number)) FROM numbers(100000000000)", max_execution_time="0.2")[0] == 408
    longest = "SELECT getSetting('max_execution_time')"
    assert [send(clickhouse, longest, max_execution_time=seconds)[2] for seconds in ("60", "5.5", "0", "61", "900")] == [
        b"60\n",
        b"5.5\n",
        b"60\n",
        b"60\n",
        b"60\n",
    ]
    assert [send(clickhouse, "SELECT 1", max_execution_time=wrong)[1]["X-ClickHouse-Exception-Code"] for wrong in ("-1", "1e9")] == [
        "164"
    ] * 2


def test_reader_may_look_around(database, reader):
    assert ("late",) in reader.query("SHOW TABLES").result_rows
    assert reader.query("DESCRIBE TABLE meters").first_row[:2] == ("house_id", "Int64")
    assert reader.query("EXISTS meters").result_rows == [(1,)]
    assert "ReplacingMergeTree" in reader.query("SHOW CREATE TABLE meters").first_row[0]
    assert reader.query("SELECT 'file' AS name, count() FROM numbers(3)").result_rows == [("file", 3)]


def test_reader_may_describe_by_any_quotes(database):
    name = database.clickhouse.database
    for table in ("late", "`late`", '"late"', f"{name}.late", f"`{name}`.`late`", f'"{name}" . "late"', f"{name}.`late`"):
        for statement in ("DESCRIBE TABLE", "DESC", "EXISTS TABLE", "EXISTS", "SHOW CREATE TABLE"):
            assert send(database, f"{statement} {table}", database=name)[0] == 200, (statement, table)
    assert send(database, "DESCRIBE TABLE (SELECT 1 AS a) FORMAT JSONEachRow")[2].startswith(b'{"name":"a","type":"UInt8"')


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE `{path}`",
        "DESCRIBE TABLE (SELECT file('{path}'))",
        "DESC (SELECT * FROM file('{path}', 'LineAsString'))",
        'EXISTS "{path}"',
        "DESC (SELECT 1) INTO OUTFILE '{path}.out'",
        "DESC (INSERT INTO t VALUES (1))",
        "DESCRIBE url('http://127.0.0.1:1/')",
        "DESC (SELECT 1 /*)",
        "DESC (SELECT 1) , (SELECT 2)",
    ],
)
def test_reader_describes_no_files(clickhouse, tmp_path, sql):
    (tmp_path / "secret").write_text("do not read\n")
    status, _, body = send(clickhouse, sql.format(path=tmp_path / "secret"))
    assert status >= 400 and b"do not read" not in body and not (tmp_path / "secret.out").exists()


def test_a_query_id_that_no_header_can_carry_is_refused_and_leaves_nothing_behind(clickhouse):
    for _ in range(3):
        for query_id in ("a\r\nX:1", "€", "x" * 201):
            status, headers, body = send(clickhouse, method="GET", query="SELECT 1", query_id=query_id)
            assert (status, headers["X-ClickHouse-Exception-Code"]) == (400, "36") and "X" not in headers
            assert body.startswith(b"Code: 36. DB::Exception: query_id takes")
    assert send(clickhouse, "SELECT 1", default_format="a\r\nX:1")[1]["X-ClickHouse-Exception-Code"] == "73"
    assert send(clickhouse, "SELECT 1", query_id="a b")[1]["X-ClickHouse-Query-Id"] == "a b"


def running(settings) -> int:
    return int(
        send(
            settings,
            "SELECT count() FROM system.processes WHERE query LIKE '%sipHash64%' AND query NOT LIKE '%processes%'",
            headers=as_writer(settings),
        )[2]
    )


def test_a_query_whose_client_has_gone_is_ended(clickhouse):
    address = urlsplit(clickhouse.clickhouse.url)
    for format_name in ("TSV", "JSON"):
        for _ in range(clickhouse.clickhouse.queries + 1):
            connection = http.client.HTTPConnection(address.hostname, address.port)
            connection.request("POST", "/", f"SELECT sum(sipHash64(number)) FROM numbers(100000000000) FORMAT {format_name}")
            until(lambda: running(clickhouse))
            connection.close()
            until(lambda: not running(clickhouse))
    assert send(clickhouse, "SELECT 1")[2] == b"1\n"


def test_a_client_that_does_not_read_to_the_end_leaves_its_place(clickhouse):
    address = urlsplit(clickhouse.clickhouse.url)
    for _ in range(clickhouse.clickhouse.queries + 1):
        with closing(http.client.HTTPConnection(address.hostname, address.port, timeout=30)) as connection:
            connection.request("POST", "/", "SELECT number, repeat('x', 1000) FROM numbers(100000000)")
            assert connection.getresponse().read(10)
    assert send(clickhouse, "SELECT 1")[2] == b"1\n"


def test_a_request_that_is_given_up_logs_one_line(clickhouse, processes):
    address = urlsplit(clickhouse.clickhouse.url)
    slow = "SELECT sum(sipHash64(number)) FROM numbers(100000000000)"
    long = "SELECT number, repeat('x', 1000) FROM numbers(100000000)"
    before = len(processes.log("endpoint").read_text())
    sent = {"in_body": (slow, 100_000, 0), "before_answer": (slow, len(slow), 0), "in_answer": (long, len(long), 10)}
    for name, (sql, length, bytes_read) in sent.items():
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(f"POST /?query_id={name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{sql}".encode())
            connection.recv(bytes_read) if bytes_read else until(lambda: name == "in_body" or running(clickhouse))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with a reset
        until(lambda: f"query {name}: the client has gone" in processes.log("endpoint").read_text())
    until(lambda: not running(clickhouse))
    lines = [line for line in processes.log("endpoint").read_text()[before:].splitlines() if not re.search(r"query [0-9a-f-]{36}: ", line)]
    assert len(lines) == len(sent), lines  # those with an id of the endpoint's making are of other tests


JOINS = "SELECT 1 FROM numbers(1) AS a0" + "".join(f" CROSS JOIN numbers(1) AS a{n}" for n in range(1, 5000))
"""The engine overflows its stack at it, and crashes."""


@pytest.mark.parametrize(
    "sql, code",
    [
        (JOINS, "497"),
        (f"EXPLAIN {JOINS}", "497"),
        (f"DESCRIBE ({JOINS})", "497"),
        ("SELECT " + "(" * 80_000 + "1" + ")" * 80_000, "306"),
        ("SELECT 1" + "+1" * 80_000, "167"),
        ("SELECT " + ",".join("1" * 120_000), "168"),
        ("SELECT [1] AS a0" + "".join(f", [a{n - 1}, a{n - 1}] AS a{n}" for n in range(1, 30)), "36"),
        # A search that takes the square of their length would go on for hours, and let nothing else run.
        ("DESC t" + " " * 250_000 + "SETTINGS max_threads = 1", "497"),
        ("INSERT " + "SETTINGS a=" * 23_000, "62"),
        ("DESC (SELECT 1)" + " " * 250_000 + "SETTINGS max_threads = 1", "497"),
    ],
    ids=lambda value: value[:20].replace(" ", "_"),
)
def test_statements_that_are_made_to_exhaust_the_endpoint(clickhouse, sql, code):
    assert send(clickhouse, sql)[1]["X-ClickHouse-Exception-Code"] == code
    assert send(clickhouse, "SELECT 1")[2] == b"1\n"


def test_an_endpoint_whose_engine_has_crashed_is_started_again(tmp_path):
    settings = on_free_ports(tmp_path)
    with Processes(tmp_path) as own, ThreadPoolExecutor(1) as pool:
        services.start_endpoint(own, settings)
        first = own.children["endpoint"]
        crash = pool.submit(send, settings, JOINS, headers=as_writer(settings))
        with suppress(http.client.HTTPException, OSError):  # nobody answers it, or it finds what the crash has left
            until(lambda: first.poll() is not None or send(settings, "SELECT 1")[0] != 200)
        assert first.wait(timeout=STILL_S) == CRASHED
        assert crash.exception()
        own.check()
        assert send(settings, "SELECT 1")[2] == b"1\n"
        assert "FATAL endpoint: The engine has crashed" in own.log("endpoint").with_suffix(".log.1").read_text()
        assert "endpoint has crashed: it is started again." in own.log("stack").read_text()


def test_bodies_have_bounds(clickhouse):
    for encoding, pack in (("gzip", gzip.compress), ("lz4", lz4.frame.compress), ("zstd", zstd.compress)):
        status, headers, _ = send(clickhouse, body=pack(bytes(500_000_000)), headers={"Content-Encoding": encoding})
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (413, "307")
    status, headers, _ = send(clickhouse, "SELECT '" + "x" * 262_140 + "'")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (413, "307")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT groupArray(toString(number)) FROM numbers(100000000)",
        "SELECT length(repeat('x', 1000000000))",
        "SELECT arraySum(range(200000000))",
    ],
)
def test_memory_has_bounds(clickhouse, sql):
    assert send(clickhouse, sql)[1]["X-ClickHouse-Exception-Code"] == "241"


def test_what_is_made_in_one_piece_has_bounds(clickhouse):
    assert (
        send(clickhouse, "SELECT repeat(toString(number), 200) FROM numbers(100000) FORMAT JSON")[1]["X-ClickHouse-Exception-Code"] == "396"
    )
    constant = "SELECT repeat('x', 1000) FROM numbers(1000000) FORMAT JSON"  # which the engine counts once
    assert send(clickhouse, constant)[1]["X-ClickHouse-Exception-Code"] == "241"
    alias = "a" * 100_000
    assert send(clickhouse, f"SELECT 1 AS {alias} FROM numbers(100000) FORMAT JSON")[1]["X-ClickHouse-Exception-Code"] == "396"


def test_readers_wait_for_their_turn_and_hold_up_nobody_else(clickhouse):
    slow = "SELECT sleep(3)"
    with ThreadPoolExecutor(150) as pool:
        answers = [pool.submit(send, clickhouse, slow) for _ in range(150)]
        until(
            lambda: (
                int(
                    send(clickhouse, "SELECT count() FROM system.processes WHERE query = 'SELECT sleep(3)'", headers=as_writer(clickhouse))[
                        2
                    ]
                )
                == clickhouse.clickhouse.queries
            )
        )
        assert send(clickhouse, method="GET", path="/ping")[2] == b"Ok.\n"
        assert send(clickhouse, "SELECT 1", headers=as_writer(clickhouse))[2] == b"1\n"
        assert not all(answer.done() for answer in answers)
        codes = [answer.result()[1].get("X-ClickHouse-Exception-Code") for answer in answers]
    assert set(codes) == {None, "202"} and codes.count(None) >= clickhouse.clickhouse.queries
    assert send(clickhouse, "SELECT 1")[2] == b"1\n"


def test_compressed_blocks_both_ways(table):
    settings, name = table
    data = bodies.pack(b"1,a\n2,b\n")
    assert send(settings, query=f"INSERT INTO {name} FORMAT CSV", body=data, headers=as_writer(settings), decompress="1")[0] == 200
    packed = send(settings, f"SELECT * FROM {name} ORDER BY a", compress="1")[2]
    assert bodies.unpack(packed, "", True, 100) == b"1\ta\n2\tb\n"
    assert send(settings, body=b"SELECT 1", decompress="1")[1]["X-ClickHouse-Exception-Code"] == "271"


def test_native_as_clients_expect_it_that_name_their_protocol(clickhouse):
    """The first request of clickhouse-go, and the bytes that it accepts as the answer."""
    hello = dict(default_format="Native", client_protocol_version="54460", database="default")
    status, _, body = send(clickhouse, "SELECT toUInt32(7) AS n, 'x' AS s", headers=basic("reader", ""), **hello)
    assert (status, body) == (200, native.BLOCK_INFO + b"\x02\x01" + b"\x01n\x06UInt32\x00\x07\0\0\0" + b"\x01s\x06String\x00\x01x")
    old = send(clickhouse, "SELECT toUInt32(7) AS n", default_format="Native")[2]
    assert old == b"\x01\x01\x01n\x06UInt32\x07\0\0\0"


def test_clickhouse_connect_reads_types_of_no_fixed_form(clickhouse):
    rows = (
        client.reader(clickhouse)
        .query("SELECT number, CAST(concat('{\"a\": ', toString(number), '}'), 'JSON') AS j FROM numbers(200000)")
        .result_rows
    )
    assert len(rows) == 200_000 and rows[-1] == (199_999, {"a": 199_999})


def test_what_the_client_for_node_sends(clickhouse):
    """A ping, then a statement in chunks with its format behind it; JSON with integers of 64 bits as numbers."""
    headers = basic("reader", "") | {"User-Agent": "clickhouse-js/1.23.1 (lv:nodejs/v20.20.2; os:linux)", "Connection": "keep-alive"}
    assert send(clickhouse, method="GET", path="/ping", headers=headers)[::2] == (200, b"Ok.\n")
    sql = iter([b"SELECT toUInt64(7) AS n ", b"\nFORMAT JSONEachRow"])
    status, answer, body = send(
        clickhouse,
        body=sql,
        headers=headers | {"Accept-Encoding": "gzip", "Transfer-Encoding": "chunked"},
        query_id="a184b7fd-1ef1-4d3c-805e-e8e8ecede16b",
        enable_http_compression="1",
    )
    assert (status, body, answer["X-ClickHouse-Query-Id"]) == (200, b'{"n":7}\n', "a184b7fd-1ef1-4d3c-805e-e8e8ecede16b")


def test_native_of_statements_that_the_parser_has_no_tree_for(table):
    settings, name = table
    for statement, rows in (
        (f"DESCRIBE TABLE {name}", 2),
        (f"EXISTS TABLE {name}", 1),
        (f"SHOW CREATE TABLE {name}", 1),
        ("SHOW TABLES FROM system LIKE 'one'", 1),
    ):
        for sql, parameters in (
            (statement, {"default_format": "Native"}),
            (f"{statement} FORMAT Native", {}),
            (f"{statement}\nFORMAT\nNative ;", {}),
        ):
            status, headers, body = send(settings, sql, client_protocol_version="54454", **parameters)
            assert (status, headers["X-ClickHouse-Format"], body[:8], body[9]) == (200, "Native", native.BLOCK_INFO, rows), sql


def test_summary_and_what_clients_look_at(table):
    settings, name = table
    send(settings, query=f"INSERT INTO {name} FORMAT CSV", body=b"1,a\n2,b\n", headers=as_writer(settings))
    summary = json.loads(send(settings, f"SELECT * FROM {name}")[1]["X-ClickHouse-Summary"])
    assert {key: summary[key] for key in ("read_rows", "written_rows", "result_rows")} == {
        "read_rows": "2",
        "written_rows": "0",
        "result_rows": "2",
    }
    assert int(summary["read_bytes"]) > 0 and int(summary["result_bytes"]) > 0 and int(summary["elapsed_ns"]) > 0
    assert send(settings, method="GET", path="/replicas_status")[::2] == (200, b"Ok.\n")
    assert send(settings, method="OPTIONS")[0] == 204
    assert send(settings, "SELECT 1", add_http_cors_header="1")[::2] == (200, b"1\n")


def test_formats_with_a_header_come_whole(clickhouse):
    body = send(clickhouse, "SELECT number FROM numbers(300000)", default_format="RowBinaryWithNamesAndTypes")[2]
    assert body == b"\x01\x06number\x06UInt64" + b"".join(n.to_bytes(8, "little") for n in range(300_000))
    assert send(clickhouse, "SELECT number FROM numbers(0)", default_format="RowBinaryWithNames")[2] == b"\x01\x06number"


def test_a_request_to_change_to_another_protocol_is_answered_in_this_one(clickhouse):
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    assert send(clickhouse, "SELECT 1", headers=headers)[::2] == (200, b"1\n")
    assert send(clickhouse, method="GET", query="SELECT 1", headers=headers)[::2] == (200, b"1\n")


def test_only_its_own_host_and_pages(clickhouse):
    own = urlsplit(clickhouse.clickhouse.url).netloc
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert send(clickhouse, method="GET", query="SELECT 1", headers=headers)[0] == 403
    for headers in ({"Host": "localhost"}, {"Origin": f"http://{own}"}, {"Sec-Fetch-Site": "none"}):
        assert send(clickhouse, method="GET", query="SELECT 1", headers=headers)[::2] == (200, b"1\n")


def test_one_request_does_not_see_the_settings_of_another(table):
    settings, _ = table
    send(settings, "SET max_threads = 7", headers=as_writer(settings), session_id="s")
    assert send(settings, "SELECT getSetting('max_threads') = 7", headers=as_writer(settings), session_id="s")[2] == b"0\n"


def test_restarts_keep_data_and_password(own_endpoint):
    settings = own_endpoint.settings
    client.writer(settings).command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
    for times, number in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGINT), 1):
        client.writer(settings).insert("t", [[n] for n in range(1000)], column_names=["a"])
        assert own_endpoint.end(number) == (-number if number == signal.SIGKILL else 0)
        own_endpoint.start()
        assert client.writer(settings).query("SELECT count(), sum(a) FROM t").result_rows == [(1000 * times, 499_500 * times)]


def failure(settings):
    """The error message of an endpoint that cannot start."""
    process = run_endpoint(settings)
    try:
        out, stderr = process.communicate(timeout=STILL_S)
    finally:
        process.kill()
    assert (process.returncode, out) == (1, "")
    assert stderr.startswith("endpoint: ") and stderr.count("\n") == 1
    return stderr


def test_a_failed_start_is_reported_in_one_sentence(own_endpoint, tmp_path):
    settings = own_endpoint.settings
    elsewhere = ports.with_free_ports(settings)
    assert "is taken" in failure(settings.but(home=tmp_path / "other"))
    assert "in use by another endpoint" in failure(elsewhere)
    (tmp_path / "a_file").touch()
    assert "Cannot write to" in failure(elsewhere.but(home=tmp_path / "a_file"))
    assert "Cannot write to" in failure(elsewhere.but(home="/proc/nosuch"))
    (tmp_path / "no.pem").write_text("no PEM")
    for files in ({}, dict(clickhouse_certificate=str(tmp_path / "no.pem"), clickhouse_key=str(tmp_path / "no.pem"))):
        assert "set SMW_CLICKHOUSE_CERTIFICATE and SMW_CLICKHOUSE_KEY" in failure(
            elsewhere.but(clickhouse_url="https://127.0.0.1:8443", **files)
        )
    assert "not on this machine" in failure(elsewhere.but(clickhouse_url="http://192.0.2.1:8123"))


def test_set_passwords_are_required(tmp_path):
    settings = on_free_ports(tmp_path, clickhouse_password="w", clickhouse_reader_password="r")
    process = run_endpoint(settings)
    try:
        until(lambda: services.endpoint_answers(settings))
        assert client.writer(settings).command("SELECT 1") == 1
        assert send(settings, "SELECT 1")[0] == 403
        assert send(settings, "SELECT 1", headers=basic("reader", "r"))[0] == 200
        assert not client.password_file(settings).exists()
    finally:
        process.kill()
        process.wait()
