"""Which statements of the read-only user the embedded engine runs.

The engine itself prevents writes by a reader (readonly=1), and access by anyone to files, URLs and other servers (the grants
in chdb/users.xml). As it was made for one user on their own machine, it still leaves three gaps: the function file(),
INTO OUTFILE, and KILL QUERY on other sessions. This module closes them. It checks the syntax tree that the engine's own
parser makes of a statement, so no spelling gets past it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Tree = dict[str, Any]
"""A syntax tree, as ClickHouse's parseQueryToJSON returns it."""

STATEMENTS = {"SelectWithUnionQuery", "ExplainQuery", "ShowTablesQuery", "ShowColumnsQuery", "ShowIndexesQuery", "UseQuery"}
TABLE_FUNCTIONS = {"generate_series", "generateSeries", "merge", "numbers", "numbers_mt", "values", "view", "zeros", "zeros_mt"}
FORBIDDEN_NAMES = {"file"}
MOST_TABLES = 64
"""Most tables and subqueries in a statement: with some thousands, the engine overflows its stack and ends."""

# The engine's parser makes no tree of these statements. They take only a name, or (DESCRIBE) a query.
# Repetitions are possessive (++), so any text is matched in linear time.
_NAME = r"(?: \w+ | `[\w\ \-]+` | \"[\w\ \-]+\" )"
_FORMAT = r"(\s++FORMAT\s++\w++)? \s*+ ;?+ \s*+"
_NAMES_ONLY = re.compile(
    rf"""\s* (DESC|DESCRIBE|EXISTS|SHOW\s+CREATE) (\s+(TABLE|VIEW|DATABASE))? \s+ {_NAME} (\s*\.\s*{_NAME})? {_FORMAT}""",
    re.IGNORECASE | re.VERBOSE,
)
_OF_A_QUERY = re.compile(rf"\s* (DESC|DESCRIBE) (\s+TABLE)? \s* \( (?P<query>.*) \) {_FORMAT}", re.IGNORECASE | re.VERBOSE | re.DOTALL)


def refusal(sql: str, tree: Tree | None, parse: Callable[[str], Tree | None]) -> str | None:
    """Why the reader may not run a statement, in words; None if it may.

    tree: its syntax tree from ClickHouse's parseQueryToJSON; None if that does not support the statement.
    parse: returns the tree of another statement.
    """
    if tree is None:
        if _NAMES_ONLY.fullmatch(sql):
            return None
        described = _OF_A_QUERY.fullmatch(sql)
        tree = parse(described["query"]) if described else None
        if tree is None or tree["type"] != "SelectWithUnionQuery":
            return "statements of this kind are not allowed"
    if tree["type"] not in STATEMENTS:
        return f"statements of the type {tree['type']} are not allowed"
    tables = 0
    for node in _nodes(tree):
        tables += node.get("type") == "TablesInSelectQueryElement"
        if tables > MOST_TABLES:
            return f"more than {MOST_TABLES} tables are not allowed"
        if "out_file" in node:
            return "INTO OUTFILE is not allowed"
        if node.get("param_type") == "Identifier":
            return "a parameter of type Identifier is not allowed"
        if (function := node.get("table_function")) and function.get("name") not in TABLE_FUNCTIONS:
            return f"the table function {function.get('name')} is not allowed"
        if name := FORBIDDEN_NAMES.intersection(value for value in node.values() if isinstance(value, str)):
            return f"the name {name.pop()} is not allowed"
    return None


def _nodes(tree: Any) -> Iterator[Tree]:
    """All nodes of a syntax tree except literals."""
    if isinstance(tree, list):
        for item in tree:
            yield from _nodes(item)
    elif isinstance(tree, dict) and "field_type" not in tree:
        yield tree
        for value in tree.values():
            yield from _nodes(value)
