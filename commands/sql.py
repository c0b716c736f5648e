"""`./smw sql "SELECT ..."`: runs a query as the read-only user, and prints a table, CSV or JSON lines.

CSV and JSON for a file or another program are unchanged. On a terminal, and in tables, control characters are escaped.
"""

from __future__ import annotations

import argparse
import sys

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from smartmeter.errors import UserError
from smartmeter.settings import Settings
from smartmeter.terminal import printable
from smartmeter.text_tables import table
from store import client as clickhouse

FORMATS = {"csv": "CSVWithNames", "json": "JSONEachRow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw sql."""
    parser.add_argument("query", help='the query, such as "SELECT * FROM daily_energy_by_label LIMIT 10"')
    parser.add_argument("--format", choices=["table", *FORMATS], default="table", help="form of the output (default: table)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the query's result. Raises UserError, with ClickHouse's own message if the query is at fault."""
    reader = clickhouse.reader(settings)
    try:
        if args.format == "table":
            result = reader.query(args.query)
            print(table(result.column_names, result.result_rows))
        else:
            answer = reader.raw_query(args.query, fmt=FORMATS[args.format])
            if sys.stdout.isatty():
                answer = printable(answer.decode(errors="replace"), keep="\n").encode()
            sys.stdout.buffer.write(answer)
            sys.stdout.buffer.flush()
    except ClickHouseError as error:
        raise UserError(clickhouse.reason(error, settings)) from None
    return 0
