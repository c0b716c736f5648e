"""Values and secrets of a table; tests/unit/test_routes.py and test_home_config.py have the mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from notify.toml_tables import Check, Table, text
from smartmeter.errors import UserError


def table(found, environ=None, file=Path("routes.toml")):
    return Table(file, "routes.toml: it", found, environ or {})


def test_a_secret_is_a_text_with_variables_or_that_of_a_file(tmp_path):
    (tmp_path / "secret").write_text(" of a file\n")
    assert table({"key": "${A}-${B}"}, {"A": "1", "B": "2"}).secret("key") == "1-2"
    assert table({"key_file": "secret"}, file=tmp_path / "routes.toml").secret("key") == "of a file"
    assert table({}).secret("key") == ""


def test_a_value_that_may_hold_a_secret_is_not_shown():
    checks = {"open": Check(int, "a number"), "hidden": Check(int, "a number", shown=False)}
    assert table({"open": "5", "other": 1}).values(checks) == {"open": 5}
    with pytest.raises(UserError, match="^routes.toml: it: hidden: it takes a number$"):
        table({"hidden": "s3cr3t"}).values(checks)
    with pytest.raises(UserError, match="^routes.toml: it: open = 'x': it takes a number$"):
        table({"open": "x"}).values(checks)


@pytest.mark.parametrize("value", ["a b", "", "ä", "ab\n"])
def test_a_text_matches_as_a_whole(value):
    assert text(r"\w+")("ab") == "ab"
    with pytest.raises(ValueError):
        text(r"\w+")(value)
