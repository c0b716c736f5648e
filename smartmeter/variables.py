"""Values that environment variables set: frozen dataclasses whose fields name their variable, its meaning and its checks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

PREFIX = "SMW_"
"""Every variable begins with it."""
IN_FILE = "_FILE"
"""Suffix of a password's variable: the variable then names a file that holds the password."""


class SettingsError(ValueError):
    """A variable has an invalid value. The message names the variable and the values that it takes."""


class Check(NamedTuple):
    """A condition on a value. It also receives the group, as some values depend on others of their group."""

    fits: Callable[[Any, Any], object]
    takes: str
    shown: bool = True  # whether the message repeats the value


def above(bound: float) -> Check:
    """More than a bound."""
    return Check(lambda value, _: value > bound, f"more than {bound}")


def at_least(bound: float) -> Check:
    """A bound or more."""
    return Check(lambda value, _: value >= bound, f"{bound} or more")


def within(low: float, high: float) -> Check:
    """Within two bounds, both included."""
    return Check(lambda value, _: low <= value <= high, f"{low} to {high}")


class Variable(NamedTuple):
    """An environment variable, and `also`: another one for the same value, which other programs use."""

    name: str
    meaning: str
    checks: tuple[Check, ...] = ()
    also: str = ""

    @property
    def key(self) -> str:
        """The name in lower case without SMW_: unique, and short in code."""
        return self.name.removeprefix(PREFIX).lower()


def setting(name: str, default: Any, meaning: str, *checks: Check, also: str = "") -> Any:
    """A field of a group. The type of the default is that of the value."""
    return field(default=default, metadata={"variable": Variable(name, meaning, checks, also)})


def secret(name: str, meaning: str, *checks: Check) -> Any:
    """A field of a group with a password, which no message shows."""
    return field(default="", metadata={"variable": Variable(name, meaning, checks)}, repr=False)


class Item(NamedTuple):
    """A field of a group and its value."""

    variable: Variable
    field: str
    value: Any
    is_secret: bool


@dataclass(frozen=True)
class Group:
    """Base of a group. Its construction raises SettingsError for a value that does not pass its checks."""

    def __post_init__(self) -> None:
        for item in self.items():
            for check in item.variable.checks:
                if not check.fits(item.value, self):
                    name = item.variable.name
                    value = f"{name} is set: it" if item.is_secret else f"{name}={item.value}: it" if check.shown else name
                    raise SettingsError(f"{value} takes {check.takes}")

    def items(self) -> Iterator[Item]:
        """Each field with its variable and its value."""
        for item in fields(self):
            yield Item(item.metadata["variable"], item.name, getattr(self, item.name), not item.repr)

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The values of this process: environment variables, else defaults. Raises SettingsError for one of the wrong kind."""
        values = {}
        for item in fields(cls):
            name, _, _, also = item.metadata["variable"]
            if not item.repr and (file := environ.get(name + IN_FILE)) and not environ.get(name):
                values[item.name] = _read_secret(name + IN_FILE, file)
            elif (text := environ.get(name, environ.get(also))) is not None:
                values[item.name] = _parse(name, text, type(item.default))
        return cls(**values)

    def environ(self) -> dict[str, str]:
        """The values as environment variables, for a child process."""
        return {item.variable.name: str(item.value) for item in self.items()}


def _read_secret(name: str, file: str) -> str:
    try:
        return Path(file).read_text().removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{name}={file}: it takes a file that can be read") from None


def _parse(name: str, text: str, kind: type) -> Any:
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        return kind(text)
    except (KeyError, ValueError):
        takes = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise SettingsError(f"{name}={text!r}: it takes {takes}") from None
