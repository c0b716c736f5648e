"""A lock between processes of this machine. The kernel releases it when its holder ends, even by a crash."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path, wait: bool = False, create: bool = True) -> Iterator[None]:
    """Hold the lock on a folder, or on a file, which is created if it is missing, unless create is false.

    Raises BlockingIOError when another process holds it, unless wait is set, and OSError when the path cannot be used.
    """
    descriptor = os.open(path, os.O_RDONLY) if path.is_dir() else os.open(path, os.O_RDWR | os.O_CREAT * create, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)
