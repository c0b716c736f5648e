"""Errors as ClickHouse reports them."""

import pytest

from store.errors import QueryError


@pytest.mark.parametrize(
    "text, code, message, fatal",
    [
        ("Code: 60. DB::Exception: no table. (UNKNOWN_TABLE)", 60, "Code: 60. DB::Exception: no table. (UNKNOWN_TABLE)", False),
        ("Query failed: Code: 62. DB::Exception: x \n", 62, "Code: 62. DB::Exception: x", False),
        ("Code: 236. DB::Exception: a fatal error occurred", 236, "Code: 236. DB::Exception: a fatal error occurred", True),
        ("Code: 236. DB::Exception: aborted by its user", 236, "Code: 236. DB::Exception: aborted by its user", False),
        ("Code: 60. DB::Exception: no table fatal error", 60, "Code: 60. DB::Exception: no table fatal error", False),
        ("segfault", 1001, "Code: 1001. DB::Exception: segfault", False),
    ],
)
def test_errors_of_the_engine(text, code, message, fatal):
    error = QueryError.of(RuntimeError(text))
    assert (error.code, str(error), error.fatal) == (code, message, fatal)


def test_our_own_errors_look_the_same():
    error = QueryError.denied("statements of this kind are not allowed")
    assert str(error) == "Code: 497. DB::Exception: reader: Not enough privileges: statements of this kind are not allowed. (ACCESS_DENIED)"
    assert (error.code, str(QueryError.of(error))) == (497, str(error))
