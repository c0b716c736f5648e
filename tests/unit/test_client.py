"""Why ClickHouse cannot be used, in one sentence."""

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from smartmeter.settings import Settings
from store.client import reason, writer_password

URL = "http://click:8123"


def database_error(text: str, code: int | None = None) -> DatabaseError:
    error = DatabaseError(text)
    error.code = code
    return error


@pytest.mark.parametrize(
    "error, sentence",
    [
        (
            database_error("Code: 516. DB::Exception: writer: Authentication failed", 516),
            f"ClickHouse at {URL} refuses the user or the password; set SMW_",
        ),
        (
            database_error("Code: 81. DB::Exception: Database smartmeter does not exist", 81),
            f"ClickHouse at {URL} has no database smartmeter yet; the sink creates it",
        ),
        (database_error("Code: 81. DB::Exception: Database other does not exist", 81), "ClickHouse reports: Database other does not exist"),
        (
            database_error("Code: 60. DB::Exception: Unknown table x (version 25.1.1 (official build))", 60),
            "ClickHouse reports: Unknown table x",
        ),
        (
            OperationalError("certificate verify failed: self-signed certificate (_ssl.c:1000)"),
            f"the certificate of ClickHouse at {URL} is not trusted (self-signed",
        ),
        (
            OperationalError("certificate verify failed: Hostname mismatch, x (_ssl.c:1000)"),
            f"the certificate of ClickHouse at {URL} is for another host name;",
        ),
        (OperationalError("SSLError(SSLEOFError(8))"), f"ClickHouse takes no TLS at {URL};"),
        (OperationalError("Connection refused"), f"ClickHouse does not answer at {URL}; start the local one"),
        (database_error("odd"), f"ClickHouse at {URL}: odd"),
    ],
)
def test_the_sentence_for_an_error(error, sentence):
    assert reason(error, Settings().but(clickhouse_url=URL)).startswith(sentence)


def test_the_writers_password_is_that_of_the_settings_or_of_the_local_endpoint(tmp_path):
    assert writer_password(Settings().but(home=tmp_path)) == ""
    (tmp_path / "clickhouse_password").write_text("generated\n")
    assert writer_password(Settings().but(home=tmp_path)) == "generated"
    assert writer_password(Settings().but(home=tmp_path, clickhouse_password="own")) == "own"
