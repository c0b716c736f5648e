"""Reads one table of the file of routes: which keys it may have, what each takes, and secrets from variables and other files.

A mistake is one sentence with the file, the table, the key, and what to write. None shows a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from smartmeter.errors import UserError

SEVERITIES = ("info", "warning", "critical")
"""In rising order."""
VARIABLE = re.compile(r"\$\{(\w+)\}", re.ASCII)


class Check(NamedTuple):
    """How to read a value (it raises TypeError or ValueError for one that does not fit), and what it takes, for a message.

    shown: whether messages show the value, which may have a password in it.
    """

    read: Callable[[Any], Any]
    takes: str
    shown: bool = True


@dataclass(frozen=True)
class Table:
    """A table. file: the one that it is in, for relative paths. where: what messages begin with. All methods raise UserError."""

    file: Path
    where: str
    found: Mapping[str, Any]
    environ: Mapping[str, str]

    def mistake(self, sentence: str) -> UserError:
        """The error for a mistake in this table."""
        return UserError(f"{self.where}: {sentence}")

    def allow(self, keys: Collection[str], takes: str) -> None:
        """Refuse all other keys. takes: the keys in words."""
        if unknown := self.found.keys() - keys:
            raise self.mistake(f"there is no key {min(unknown)}: it takes {takes}")

    def values(self, checks: Mapping[str, Check]) -> dict[str, Any]:
        """The value of each key that the table has, and that has a check."""
        values = {}
        for key, check in checks.items():
            if key in self.found:
                try:
                    values[key] = check.read(self.found[key])
                except (TypeError, ValueError):
                    shown = f" = {self.found[key]!r}" if check.shown else ""
                    raise self.mistake(f"{key}{shown}: it takes {check.takes}") from None
        return values

    def secret(self, key: str) -> str:
        """A text with variables in it, or that of the file which the key with _file names; empty if the table has neither."""
        in_file = f"{key}_file"
        if key in self.found and in_file in self.found:
            raise self.mistake(f"give it either {key} or {in_file}")
        name = in_file if in_file in self.found else key
        if not isinstance(text := self.found.get(name, ""), str):
            raise self.mistake(f"{name} takes a text in quotes")
        return self._text_of(in_file, text) if name == in_file else VARIABLE.sub(lambda found: self._variable(key, found[1]), text)

    def _text_of(self, key: str, name: str) -> str:
        try:
            return (self.file.parent / name).read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise self.mistake(f"{key} = {name!r}: it takes a file that can be read, with the {key.removesuffix('_file')} in it") from None

    def _variable(self, key: str, name: str) -> str:
        if not (value := self.environ.get(name)):
            raise self.mistake(f"{key} contains ${{{name}}}, and this environment variable is not set: set it")
        return value


def text(pattern: str) -> Callable[[Any], str]:
    """A reader of texts that match a pattern as a whole."""

    def read(value: Any) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError
        return str(value)

    return read


def _houses(value: Any) -> frozenset[int]:
    if not isinstance(value, list) or not value or not all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        raise ValueError
    return frozenset(value)


def _severity(value: Any) -> str:
    if value not in SEVERITIES:
        raise ValueError
    return str(value)


WHICH_ALERTS = {
    "houses": Check(_houses, "a list of house numbers, such as [1, 2]; leave it out for all"),
    "min_severity": Check(_severity, '"info", "warning" or "critical"'),
}
"""The checks of keys that several tables have."""
