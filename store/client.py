"""Clients of ClickHouse, the local endpoint or a real server, over HTTP with clickhouse-connect."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect import common
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from clickhouse_connect.driver.exceptions import OperationalError

from smartmeter.certificates import trusted
from smartmeter.errors import UserError
from smartmeter.settings import SMW, Settings

AUTHENTICATION_FAILED = 516
UNKNOWN_DATABASE = 81
ANSWER_S = 300
"""Longest wait for an answer of ClickHouse."""

AS_WRITER = {"async_insert": 0}
"""Settings of the writer's statements. Its inserts are whole batches, which a server would otherwise hold back for more from 26.3 on."""

STORED_BY_ALL = {"distributed_foreground_insert": 1}
"""On a cluster, an insert is answered once all shards have stored it."""

common.set_setting("invalid_setting_action", "send")  # the server decides which settings its read-only user may change
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # it also raises what it logs


def password_file(settings: Settings) -> Path:
    """The file in which the local endpoint keeps the writer's generated password."""
    return settings.stack.home / "clickhouse_password"


def writer_password(settings: Settings) -> str:
    """The writer's password: the one in the settings, else the local endpoint's, else none."""
    if settings.clickhouse.password:
        return settings.clickhouse.password
    try:
        return password_file(settings).read_text().strip()
    except OSError:
        return ""


def writer(settings: Settings, database: str | None = None) -> Client:
    """A client that may create tables and insert.

    Raises ClickHouseError when there is no connection, and UserError if the file of authorities cannot be used.
    """
    sent = AS_WRITER | (STORED_BY_ALL if settings.clickhouse.cluster else {})
    return _client(settings, settings.clickhouse.user, writer_password(settings), database, sent)


def reader(settings: Settings) -> Client:
    """A read-only client on the project's database. Raises UserError when there is no connection to it."""
    sent = {"distributed_product_mode": "global"} if settings.clickhouse.cluster else {}  # what is joined goes to all shards
    try:
        return _client(settings, settings.clickhouse.reader, settings.clickhouse.reader_password, settings.clickhouse.database, sent)
    except ClickHouseError as error:
        raise UserError(reason(error, settings)) from None


def _client(settings: Settings, user: str, password: str, database: str | None, sent: dict[str, Any]) -> Client:
    return clickhouse_connect.get_client(
        dsn=settings.clickhouse.url,
        interface=urlsplit(settings.clickhouse.url).scheme,  # it does not take that from the dsn
        username=user,
        password=password,
        database=database or "__default__",
        settings=sent,
        autogenerate_session_id=False,
        connect_timeout=5,
        send_receive_timeout=ANSWER_S,
        ca_cert=trusted(settings.clickhouse.ca, "SMW_CLICKHOUSE_CA"),
    )


def reason(error: ClickHouseError, settings: Settings) -> str:
    """Why ClickHouse could not be used and what to do, in one sentence."""
    url = settings.clickhouse.url
    if error.code == AUTHENTICATION_FAILED:
        return (
            f"ClickHouse at {url} refuses the user or the password; "
            "set SMW_CLICKHOUSE_USER and SMW_CLICKHOUSE_PASSWORD (or ..._READER and ..._READER_PASSWORD)"
        )
    if error.code == UNKNOWN_DATABASE and f"Database {settings.clickhouse.database} does not exist" in str(error):
        return f"ClickHouse at {url} has no database {settings.clickhouse.database} yet; the sink creates it: start it with {SMW} stack"
    if exception := re.search(r"DB::Exception: (.*?)(?: \(version [\d.]+\).*)?$", str(error), re.DOTALL):
        return f"ClickHouse reports: {exception[1]}"
    if untrusted := re.search(r"certificate verify failed: (.*?) \(_ssl", str(error)):
        if "mismatch" in untrusted[1]:
            return f"the certificate of ClickHouse at {url} is for another host name; set SMW_CLICKHOUSE_URL to the name in the certificate"
        return (
            f"the certificate of ClickHouse at {url} is not trusted ({untrusted[1]}); "
            "set SMW_CLICKHOUSE_CA to the PEM file of the authority that signed it"
        )
    if "SSLError" in str(error):
        return f"ClickHouse takes no TLS at {url}; set SMW_CLICKHOUSE_URL to its port for TLS, or to http"
    if isinstance(error, OperationalError):
        return f"ClickHouse does not answer at {url}; start the local one with {SMW} stack, or set SMW_CLICKHOUSE_URL"
    return f"ClickHouse at {url}: {error}"
