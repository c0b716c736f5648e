"""The embedded ClickHouse engine (chDB): statements in, bytes in a ClickHouse format out.

chDB holds one engine a process; its sessions are cheap (under 1 ms) and run side by side on threads. Each request
gets a session of its own, so that nothing that one sets is seen by another.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chdb.session import Session

from store import access

CONFIG = Path(__file__).parent / "chdb" / "config.xml"

# Formats whose pieces, put one after another, are what the whole would be. Others (with a header, a footer or
# aligned columns) are made in one piece.
STREAMED_FORMATS = {"CSV", "JSONEachRow", "Native", "RowBinary", "TSV", "TabSeparated"}

# With final=1 a row that came again shows once, whether or not the tables have been merged since.
READER_SETTINGS = {"final": "1", "max_execution_time": "60", "max_memory_usage": "2000000000"}
READER_MAY_SET = {"final", "max_result_rows", "result_overflow_mode", "max_threads"}

BAD_ARGUMENTS, UNKNOWN_SETTING, READONLY, ACCESS_DENIED = 36, 115, 164, 497

_INSERT = re.compile(rb"(?P<statement>\s*INSERT\s.*?)(?P<settings>\bSETTINGS\s+\w+\s*=.*?)?\bFORMAT\s+(?P<format>\w+)[ \t]*(\r?\n|$)",
                     re.IGNORECASE | re.DOTALL)
_CODE = re.compile(r"Code: (\d+)\. ")


class QueryError(Exception):
    """An error of ClickHouse: its code and its message, "Code: 60. DB::Exception: ... (UNKNOWN_TABLE)"."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code

    @classmethod
    def of(cls, error: Exception) -> QueryError:
        """The error that chDB's exception tells of."""
        text = str(error)
        found = _CODE.search(text)
        return cls(int(found[1]), text[found.start():].strip()) if found else cls(1001, f"Code: 1001. DB::Exception: {text}")

    @classmethod
    def denied(cls, reason: str) -> QueryError:
        return cls(ACCESS_DENIED, f"Code: {ACCESS_DENIED}. DB::Exception: reader: Not enough privileges: {reason}. (ACCESS_DENIED)")


@dataclass(frozen=True)
class Query:
    """One statement with what belongs to it.

    text: the statement, for an INSERT followed by a line break and the data. parameters: values of {name:Type}, in
    ClickHouse's escaped form. readonly: as the setting of that name (0, 1 or 2).
    """

    text: bytes
    database: str = ""
    format: str = "TabSeparated"
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    reader: bool = False
    readonly: int = 0


@dataclass(frozen=True)
class Result:
    """What a statement gave. chunks must be read to the end, or closed. rows_*: 0 where they are not yet known."""

    chunks: Generator[bytes]
    format: str
    rows_read: int = 0
    rows_written: int = 0


class Engine:
    """The engine on a data folder, with the database that is used where a query names none.

    Methods are safe to call from several threads. Raises QueryError.
    """

    def __init__(self, folder: Path, database: str):
        self._address = f"{folder}?config-file={CONFIG}"
        self._database = database
        self._first = self._open()  # the engine lives as long as a session is open
        self._first.query(f"CREATE DATABASE IF NOT EXISTS {_quote(database, '`')}")
        self.version, self.timezone = str(self._first.query("SELECT version(), timezone()", "TSV")).split()

    def close(self) -> None:
        self._first.close()

    def run(self, query: Query) -> Result:
        """Run a statement; a SELECT in one of STREAMED_FORMATS is computed as its chunks are read."""
        session = self._open()
        chunks = None
        try:
            session.query(f"USE {_quote(query.database or self._database, '`')}")
            _set(session, query)
            result = _run(session, query)
            chunks = _closing(session, result.chunks)
            next(chunks)  # now the session is the generator's to close, and the first chunk, or an error, is there
            return Result(chunks, result.format, result.rows_read, result.rows_written)
        except Exception as error:
            if chunks is None:
                session.close()
            raise error if isinstance(error, QueryError) else QueryError.of(error) from None

    def _open(self) -> Session:
        try:
            return Session(self._address)
        except RuntimeError as error:
            raise QueryError.of(error) from None


def _closing(session: Session, chunks: Generator[bytes]) -> Generator[bytes]:
    """An empty chunk once the first one is there, then all of them; the session is closed behind them."""
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


def _reader_may_set(name: str, value: str) -> bool:
    """Whether a reader may have a setting; the time that a query may take can only be made shorter."""
    if name == "max_execution_time":
        return bool(re.fullmatch(r"\d+(\.\d+)?", value)) and 0 < float(value) <= float(READER_SETTINGS[name])
    return name in READER_MAY_SET


def _set(session: Session, query: Query) -> None:
    """The settings: first those that are allowed, then the read-only mode, in which the engine refuses the rest."""
    first, rest = query.settings, {}
    if query.reader:
        first = READER_SETTINGS | {k: v for k, v in query.settings.items() if _reader_may_set(k, v)}
        rest = {k: v for k, v in query.settings.items() if not _reader_may_set(k, v)}
    for settings in (first, {"readonly": str(query.readonly)} if query.readonly else {}, rest):
        for name, value in settings.items():
            if not re.fullmatch(r"\w+", name):
                raise QueryError(UNKNOWN_SETTING, f"Code: {UNKNOWN_SETTING}. DB::Exception: Unknown setting {name!r}. (UNKNOWN_SETTING)")
            session.query(f"SET {name} = {_quote(value)}")


def _run(session: Session, query: Query) -> Result:
    if (insert := _INSERT.match(query.text)) and _takes_data(session, insert):
        return _insert(session, query, insert)
    sql = _decode(query.text)
    tree = _syntax_tree(session, sql)
    if query.reader and (reason := access.refusal(sql, tree)):
        raise QueryError.denied(reason)
    tree = tree or {}
    format = tree.get("format_ast", {}).get("name", query.format)
    if tree.get("type") == "SelectWithUnionQuery" and format in STREAMED_FORMATS:
        stream = session.send_query(sql, format, params=query.parameters)
        return Result(_pieces(stream), format)
    whole = session.query(sql, query.format, params=query.parameters)
    return Result(_one(whole.bytes()), format, whole.storage_rows_read(), whole.rows_written())


def _pieces(stream) -> Generator[bytes]:
    with stream:
        for piece in stream:
            yield piece.bytes()


def _one(data: bytes) -> Generator[bytes]:
    yield data


def _takes_data(session: Session, insert: re.Match) -> bool:
    """Whether a match of _INSERT is an INSERT with data behind it, in the judgement of ClickHouse's parser."""
    try:
        tree = _syntax_tree(session, _decode(insert[0]))
    except (QueryError, RuntimeError):
        return False
    return tree is not None and tree.get("type") == "InsertQuery" and "select" not in tree and "infile" not in tree


def _insert(session: Session, query: Query, insert: re.Match) -> Result:
    if query.readonly:
        raise QueryError(READONLY, f"Code: {READONLY}. DB::Exception: Cannot execute query in readonly mode. (READONLY)")
    statement, settings, format = (_decode(insert[part] or b"") for part in ("statement", "settings", "format"))
    with _in_memory(memoryview(query.text)[insert.end():]) as path:
        result = session.query(f"{statement} FROM INFILE {_quote(path)} {settings} FORMAT {format}")
    return Result(_one(b""), query.format, 0, result.rows_written())


@contextmanager
def _in_memory(data: memoryview) -> Generator[str]:
    """The path of a file in memory that holds the data.

    chDB's own way for data that comes with a statement, send_insert, says that all is well when nothing could be written.
    """
    with open(os.memfd_create("insert"), "wb") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _syntax_tree(session: Session, sql: str) -> dict | None:
    """The tree that ClickHouse's parser makes of a statement; None for kinds that it has no tree for."""
    try:
        answer = session.query("SELECT parseQueryToJSON({sql:String})", "RawBLOB", params={"sql": _escape(sql)})
    except RuntimeError as error:
        failure = QueryError.of(error)
        if failure.code == BAD_ARGUMENTS:
            return None
        message = str(failure).split(": In scope SELECT parseQueryToJSON")[0]
        raise QueryError(failure.code, f"{message.rstrip(' .:')}. (SYNTAX_ERROR)") from None
    return json.loads(answer.bytes())


def _decode(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise QueryError(BAD_ARGUMENTS, f"Code: {BAD_ARGUMENTS}. DB::Exception: The statement is not UTF-8. (BAD_ARGUMENTS)") from None


def _escape(text: str) -> str:
    """A string in the escaped form (TSV) in which ClickHouse takes parameters."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\0", "\\0")


def _quote(text: str, mark: str = "'") -> str:
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark
