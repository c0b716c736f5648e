"""Ports that a process has chosen although nothing listens there yet: no other process of this user chooses them until it ends."""

from __future__ import annotations

import fcntl
import os
import tempfile
from functools import cache
from pathlib import Path

from smartmeter.errors import UserError

_OWN: set[int] = set()


def reserve(port: int) -> bool:
    """Reserve a port for this process until it ends. False if it, or another one, has reserved the port before. Raises UserError."""
    if port in _OWN:
        return False
    try:
        fcntl.lockf(_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except BlockingIOError:
        return False
    _OWN.add(port)
    return True


@cache
def _file() -> int:
    """A file with a byte for each port: who has reserved a port holds the lock on its byte, which ends with the process."""
    path = Path(tempfile.gettempdir()) / f"smart-meter-watchdog-{os.getuid()}.ports"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UserError(f"{path} cannot be opened ({error.strerror}): remove it, or set TMPDIR to a folder of your own") from error
