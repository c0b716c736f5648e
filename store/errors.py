"""Errors as ClickHouse reports them."""

from __future__ import annotations

import re

ACCESS_DENIED = 497
ABORTED = 236

_CODE = re.compile(r"Code: (\d+)\. ")


class QueryError(Exception):
    """An error of ClickHouse: its code and its message, "Code: 60. DB::Exception: ... (UNKNOWN_TABLE)"."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code

    @property
    def fatal(self) -> bool:
        """Whether the engine has crashed and will not answer again."""
        return self.code == ABORTED and "fatal error" in str(self)

    @classmethod
    def of(cls, error: Exception) -> QueryError:
        """The QueryError for an exception of chDB."""
        text = str(error)
        found = _CODE.search(text)
        return cls(int(found[1]), text[found.start() :].strip()) if found else cls(1001, f"Code: 1001. DB::Exception: {text}")

    @classmethod
    def named(cls, code: int, message: str, name: str) -> QueryError:
        """An error in ClickHouse's format. name: that of the code, such as UNKNOWN_TABLE."""
        return cls(code, f"Code: {code}. DB::Exception: {message}. ({name})")

    @classmethod
    def denied(cls, reason: str) -> QueryError:
        """The error for a statement that the reader may not run."""
        return cls.named(ACCESS_DENIED, f"reader: Not enough privileges: {reason}", "ACCESS_DENIED")
