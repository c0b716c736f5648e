"""Folders under SMW_HOME. They hold readings, results, state and passwords, so only their owner may enter them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PRIVATE = 0o700
OF_DATA = (
    "archive",
    "assignments",
    "checkpoints",
    "clean_days",
    "clickhouse",
    "dashboard",
    "demo",
    "gateway",
    "kafka",
    "logs",
    "replay",
    "run",
    "savepoints",
    "tmp",
)
"""The folders in SMW_HOME."""


def private_folder(folder: Path) -> Path:
    """Create a folder that only this user can enter, or make an existing one private. Raises OSError.

    Leaves another user's folder as it is, and any folder that others need: one like /tmp, or a parent of this user's home.
    """
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    status = folder.stat()
    is_shared = bool(status.st_mode & stat.S_ISVTX) or Path.home().is_relative_to(folder.resolve())
    if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != PRIVATE and not is_shared:
        folder.chmod(PRIVATE)
    return folder


def private_home(home: Path) -> None:
    """Make SMW_HOME and its folders private. Raises OSError."""
    private_folder(home)
    for name in OF_DATA:
        if (folder := home / name).is_dir() and not folder.is_symlink():
            private_folder(folder)
