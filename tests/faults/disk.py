"""A disk that is small, then larger."""

from __future__ import annotations

import subprocess
from pathlib import Path


class SmallDisk:
    """A file system in memory at a folder, which only one process and its children see."""

    def __init__(self, folder: Path, size: str):
        folder.mkdir(parents=True)
        self.folder, self.size = folder, size

    def command(self, *command: str) -> list[str]:
        """The command, run with the disk in place."""
        mount = f'mount -t tmpfs -o size={self.size} none "$0" && exec "$@"'
        return ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(self.folder), *command]

    def grow(self, pid: int, size: str) -> None:
        """Give the disk of a process another size."""
        subprocess.run(
            [
                "nsenter",
                "--user",
                "--preserve-credentials",
                "--mount",
                f"--target={pid}",
                "mount",
                "-o",
                f"remount,size={size}",
                str(self.folder),
            ],
            check=True,
        )
