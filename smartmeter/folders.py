"""Folders under SMW_HOME. Readings, results, state and passwords lie in them, so only their user may enter them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PRIVATE = 0o700
OF_DATA = ("archive", "assignments", "checkpoints", "clean_days", "clickhouse", "dashboard", "demo", "kafka", "logs", "replay", "run", "savepoints", "tmp")
"""What lies in SMW_HOME."""


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user can enter, also of one that is there. Raises OSError.

    One of another user is left as it is; so is a folder that others need, such as /tmp, or what this user's home lies in.
    """
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    status = folder.stat()
    is_shared = bool(status.st_mode & stat.S_ISVTX) or Path.home().is_relative_to(folder.resolve())
    if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != PRIVATE and not is_shared:
        folder.chmod(PRIVATE)
    return folder


def private_home(home: Path) -> None:
    """Make SMW_HOME, and what lies in it, private. Raises OSError."""
    private_folder(home)
    for name in OF_DATA:
        if (folder := home / name).is_dir() and not folder.is_symlink():
            private_folder(folder)
