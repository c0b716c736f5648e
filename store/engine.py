"""The embedded ClickHouse engine (chDB): statements in, bytes in a ClickHouse format out.

chDB holds one engine per process. Its sessions are cheap (under 1 ms) and run in parallel on threads. Each request
has its own session, so no request sees another's settings.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chdb.session import Session

from store import access, native
from store.errors import QueryError

CONFIG = Path(__file__).parent / "chdb" / "config.xml"

# Formats whose pieces can be concatenated to the whole answer. Others (with a header, a footer or aligned columns) are
# made in one piece.
STREAMED_FORMATS = {"CSV", "JSONCompactEachRow", "JSONEachRow", "Native", "RowBinary", "TSV", "TabSeparated"}

# Formats with a header -> strings per column in the header.
HEADED_FORMATS = {"RowBinaryWithNames": 1, "RowBinaryWithNamesAndTypes": 2}

# With final=1 a repeated row appears once, even if the tables have not been merged since.
READER_SETTINGS = {"final": "1", "max_execution_time": "60"}
READER_MAY_SET = {
    "final",
    "max_result_rows",
    "result_overflow_mode",
    "max_threads",
    "date_time_output_format",
    "join_use_nulls",
    "output_format_json_quote_64bit_integers",
    "session_timezone",
}
WITHOUT_EFFECT_ON_READER = {"async_insert", "network_compression_method", "network_zstd_compression_level", "wait_for_async_insert"}
"""Settings that clients send with each statement: clickhouse-jdbc those of inserts, clickhouse-go those of the native protocol."""

# The engine does not account for the memory of an answer made in one piece. A value's text is up to 10 times as long as the
# value. Some formats repeat all column names, which together are up to as long as the statement, in each row.
TEXT_OF_VALUE = 10

BAD_ARGUMENTS, UNKNOWN_SETTING, READONLY = 36, 115, 164

_INSERT = re.compile(
    rb"(?P<statement>\s*INSERT\s.*?)(?P<settings>\bSETTINGS\s+\w+\s*=.*?)?\bFORMAT\s+(?P<format>\w+)[ \t]*(\r?\n|$)",
    re.IGNORECASE | re.DOTALL,
)
_FORMAT = re.compile(r"\bFORMAT (\w+)($| SETTINGS )")


@dataclass(frozen=True)
class Query:
    """One statement with its parameters and settings.

    text: the statement; for an INSERT followed by a line break and the data. parameters: values of {name:Type}, in
    ClickHouse's escaped form. readonly: the setting of that name (0, 1 or 2). memory_bytes: the most it may take.
    token: identifies it for Engine.kill().
    """

    text: bytes
    database: str = ""
    format: str = "TabSeparated"
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    reader: bool = False
    readonly: int = 0
    memory_bytes: int = 2_000_000_000
    token: str = field(default_factory=lambda: secrets.token_hex(16))


@dataclass
class Summary:
    """Rows and bytes that a statement has read, written and returned so far."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0

    def add(self, answer: Any) -> None:
        """Add the counts of an answer of chDB, or of a piece of one."""
        self.read_rows += answer.storage_rows_read()
        self.read_bytes += answer.storage_bytes_read()
        self.written_rows += answer.rows_written()
        self.written_bytes += answer.bytes_written()
        self.result_rows += answer.rows_read() + answer.rows_written()
        self.result_bytes += answer.bytes_read() + answer.bytes_written()


@dataclass(frozen=True)
class Result:
    """A statement's result. chunks must be read to the end, or closed; the summary grows meanwhile.

    streamed: whether chunks are computed as they are read. Each chunk of Native is then one block.
    """

    chunks: Generator[bytes]
    format: str
    summary: Summary
    streamed: bool = False


class Engine:
    """The engine on a data folder. database: the default of queries that name none.

    Methods may be called from several threads. They raise QueryError.
    """

    def __init__(self, folder: Path, database: str):
        self._address = f"{folder}?config-file={CONFIG}"
        self._database = database
        self._first = self._open()  # the engine lives as long as a session is open
        self._first.query(f"CREATE DATABASE IF NOT EXISTS {_quote(database, '`')}")
        self.version, self.timezone = str(self._first.query("SELECT version(), timezone()", "TSV")).split()

    def close(self) -> None:
        """Close the engine's session."""
        self._first.close()

    def run(self, query: Query) -> Result:
        """Run a statement; a SELECT in one of STREAMED_FORMATS is computed as its chunks are read."""
        session = self._open()
        chunks = None
        try:
            session.query(f"USE {_quote(query.database or self._database, '`')}")
            result = _run(session, query)
            chunks = _closing(session, result.chunks)
            next(chunks)  # computes the first chunk, or raises its error; from now on the generator closes the session
            return replace(result, chunks=chunks)
        except Exception as error:
            if chunks is None:
                session.close()
            raise error if isinstance(error, QueryError) else QueryError.of(error) from None

    def kill(self, token: str) -> None:
        """End the statement with a Query.token, if it runs."""
        session = self._open()
        try:
            session.query(f"KILL QUERY WHERE Settings['log_comment'] = {_quote(token)} ASYNC")
        except RuntimeError as error:
            raise QueryError.of(error) from None
        finally:
            session.close()

    def _open(self) -> Session:
        try:
            return Session(self._address)
        except RuntimeError as error:
            raise QueryError.of(error) from None


def _closing(session: Session, chunks: Generator[bytes]) -> Generator[bytes]:
    """An empty chunk once the first one is computed, then all chunks. Closes the session after them."""
    try:
        first = next(chunks, b"")
        yield b""
        yield first
        yield from chunks
    except RuntimeError as error:
        raise QueryError.of(error) from None
    finally:
        chunks.close()
        session.close()


def _of_reader(settings: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(settings that a reader may change, those that the engine must refuse). max_execution_time is capped at READER_SETTINGS'."""
    allowed = {name: value for name, value in settings.items() if name in READER_MAY_SET}
    rest = {name: value for name, value in settings.items() if name not in READER_MAY_SET | WITHOUT_EFFECT_ON_READER}
    if re.fullmatch(r"\d+(\.\d+)?", limit := rest.get("max_execution_time", "")):
        longest = READER_SETTINGS["max_execution_time"]
        allowed["max_execution_time"] = limit if 0 < float(limit) <= float(longest) else longest  # 0 means no limit
        del rest["max_execution_time"]
    return READER_SETTINGS | allowed, rest


def _set(session: Session, query: Query, streamed: bool) -> None:
    """Apply the settings: first the allowed ones, then read-only mode, in which the engine refuses the rest."""
    first, rest = query.settings, dict[str, str]()
    limits = {"max_memory_usage": str(query.memory_bytes)}
    if query.reader:
        first, rest = _of_reader(query.settings)
        if not streamed:
            limits["max_result_bytes"] = str(query.memory_bytes // TEXT_OF_VALUE)
            rows = query.memory_bytes // (100 + len(query.text))
            limits["max_result_rows"] = str(
                min(rows, int(wanted) or rows if re.fullmatch(r"\d{1,19}", wanted := first.get("max_result_rows", "")) else rows)
            )
        first |= limits
    else:
        first = limits | first
    for settings in (first | {"log_comment": query.token}, {"readonly": str(query.readonly)} if query.readonly else {}, rest):
        for name, value in settings.items():
            if not re.fullmatch(r"\w+", name):
                raise QueryError.named(UNKNOWN_SETTING, f"Unknown setting {name!r}", "UNKNOWN_SETTING")
            session.query(f"SET {name} = {_quote(value)}")


def _run(session: Session, query: Query) -> Result:
    if not query.reader and (insert := _INSERT.match(query.text)) and _takes_data(session, insert):
        _set(session, query, streamed=True)
        return _insert(session, query, insert)
    sql = _decode(query.text)
    tree = _syntax_tree(session, sql)
    if query.reader and (reason := access.refusal(sql, tree, lambda inner: _syntax_tree(session, inner))):
        raise QueryError.denied(reason)
    format_name = _format(session, sql, tree) or query.format
    tree = tree or {}
    streamed = tree.get("type") == "SelectWithUnionQuery" and (format_name in STREAMED_FORMATS or format_name in HEADED_FORMATS)
    _set(session, query, streamed)
    summary = Summary()
    if streamed:
        return Result(_pieces(session, query, sql, format_name, summary), format_name, summary, streamed)
    whole = session.query(sql, query.format, params=query.parameters)
    summary.add(whole)
    return Result(_one(whole.bytes()), format_name, summary)


def _format(session: Session, sql: str, tree: access.Tree | None) -> str | None:
    """The format in a statement, if any. Without a tree, it is found in ClickHouse's own formatting of the statement."""
    if tree is not None:
        name: str | None = tree.get("format_ast", {}).get("name")
        return name
    spelt = session.query("SELECT formatQuerySingleLine({sql:String})", "RawBLOB", params={"sql": _escape(sql)}).bytes().decode()
    found = _FORMAT.search(spelt.rstrip())
    return found[1] if found else None


def _pieces(session: Session, query: Query, sql: str, format_name: str, summary: Summary) -> Generator[bytes]:
    """The answer piece by piece. In formats with a header every piece has one, and all but the first are cut off."""
    header = None
    with session.send_query(sql, format_name, params=query.parameters) as stream:
        for piece in stream:
            summary.add(piece)
            data = piece.bytes()
            if header is None:
                header = native.header_bytes(data, HEADED_FORMATS[format_name]) if format_name in HEADED_FORMATS else 0
                yield data
            else:
                yield data[header:]
    if header is None and format_name in HEADED_FORMATS:  # without rows there are no pieces
        yield session.query(sql, format_name, params=query.parameters).bytes()


def _one(data: bytes) -> Generator[bytes]:
    yield data


def _takes_data(session: Session, insert: re.Match[bytes]) -> bool:
    """Whether a match of _INSERT is an INSERT followed by data, according to ClickHouse's parser."""
    try:
        tree = _syntax_tree(session, _decode(insert[0]))
    except (QueryError, RuntimeError):
        return False
    return tree is not None and tree.get("type") == "InsertQuery" and "select" not in tree and "infile" not in tree


def _insert(session: Session, query: Query, insert: re.Match[bytes]) -> Result:
    if query.readonly:
        raise QueryError.named(READONLY, "Cannot execute query in readonly mode", "READONLY")
    statement, settings, format_name = (_decode(insert[group] or b"") for group in ("statement", "settings", "format"))
    with _in_memory(memoryview(query.text)[insert.end() :]) as path:
        result = session.query(f"{statement} FROM INFILE {_quote(path)} {settings} FORMAT {format_name}")
    summary = Summary()
    summary.add(result)
    return Result(_one(b""), query.format, summary)


@contextmanager
def _in_memory(data: memoryview) -> Generator[str]:
    """The path of a file in memory with the data.

    chDB's own function for this, send_insert, reports success even if nothing could be written.
    """
    with open(os.memfd_create("insert"), "wb") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _syntax_tree(session: Session, sql: str) -> access.Tree | None:
    """The syntax tree that ClickHouse's parser makes of a statement; None for kinds that it does not support."""
    try:
        answer = session.query("SELECT parseQueryToJSON({sql:String})", "RawBLOB", params={"sql": _escape(sql)})
    except RuntimeError as error:
        failure = QueryError.of(error)
        if failure.code == BAD_ARGUMENTS:
            return None
        message = str(failure).split(": In scope SELECT parseQueryToJSON")[0]
        raise QueryError(failure.code, f"{message.rstrip(' .:')}. (SYNTAX_ERROR)") from None
    found: access.Tree = json.loads(answer.bytes())
    return found


def _decode(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise QueryError.named(BAD_ARGUMENTS, "The statement is not UTF-8", "BAD_ARGUMENTS") from None


def _escape(text: str) -> str:
    """A string in the escaped form (TSV) of ClickHouse's parameters."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\0", "\\0")


def _quote(text: str, mark: str = "'") -> str:
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark
