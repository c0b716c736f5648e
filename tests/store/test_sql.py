"""`./smw sql`."""

from __future__ import annotations

import argparse
import re
import sys

import pytest

from commands import sql
from smartmeter.errors import UserError
from stack.ports import with_free_ports


def run(settings, *arguments):
    parser = argparse.ArgumentParser()
    sql.add_arguments(parser)
    return sql.run(parser.parse_args(arguments), settings)


def test_table(database, capsys):
    assert run(database, "SELECT number AS n, if(n = 1, NULL, n / 4) AS kwh, concat('x\n', toString(n * 99)) AS label FROM numbers(3)") == 0
    assert capsys.readouterr().out == ("n   kwh  label\n-  ----  ------\n0     0  x\\n0\n1  NULL  x\\n99\n2   0.5  x\\n198\n(3 rows)\n")


def test_no_rows(database, capsys):
    run(database, "SELECT * FROM late")
    assert capsys.readouterr().out.endswith("(0 rows)\n")


def test_csv_and_json(database, capfdbinary):
    run(database, "SELECT 1 AS a, 'é' AS b", "--format", "csv")
    run(database, "SELECT 1 AS a, 'é' AS b", "--format", "json")
    assert capfdbinary.readouterr().out.decode() == '"a","b"\n1,"é"\n{"a":1,"b":"é"}\n'


def test_control_characters_do_not_reach_a_terminal(database, capfdbinary, monkeypatch):
    query = "SELECT concat('a', char(27), '[2J', char(10)) AS `x\x9b`"
    run(database, query)
    assert capfdbinary.readouterr().out.decode() == "x\\x9b\n----------\na\\x1b[2J\\n\n(1 row)\n"
    run(database, query, "--format", "csv")
    assert b"a\x1b[2J\n" in capfdbinary.readouterr().out  # a file or a program gets the text as it is
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for form in ("csv", "json"):
        run(database, query, "--format", form)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", capfdbinary.readouterr().out.decode())


@pytest.mark.parametrize(
    "query, message",
    [
        ("SELECT nope", "ClickHouse reports: Unknown expression identifier `nope`"),
        ("SELECT * FROM nosuch", "ClickHouse reports: Unknown table expression identifier 'nosuch'"),
        ("DROP TABLE late", "ClickHouse reports: reader: Not enough privileges"),
        ("SELECT throwIf(number = 2000000) FROM numbers(3000000)", "ClickHouse reports: Value passed to 'throwIf' function is non-zero"),
    ],
)
def test_error_in_clickhouse_words(database, query, message):
    with pytest.raises(UserError) as error:
        run(database, query)
    assert str(error.value).startswith(message) and "version" not in str(error.value) and "\n" not in str(error.value)


def test_endpoint_away(database):
    with pytest.raises(UserError, match="does not answer at .*; start the local one with ./smw stack"):
        run(with_free_ports(database.but(clickhouse_url="http://127.0.0.1:0")), "SELECT 1")
