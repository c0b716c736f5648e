"""Where Flink keeps the state of a job.

State has an address in Flink's form: file:///a/folder, or a URL of any storage that Flink has a file system for.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from smartmeter.settings import Settings


def checkpoints_of(settings: Settings, job: str) -> str:
    """The address of a job's checkpoints. It differs by topic prefix and state backend, as these cannot use each other's state."""
    root = settings.flink.checkpoint_dir or str(settings.stack.home / "checkpoints")
    return f"{address(root)}/{settings.kafka.topic_prefix}{job}/{settings.flink.state_backend}"


def savepoints_of(settings: Settings, job: str) -> str:
    """The address of a job's savepoints."""
    return f"{address(settings.flink.checkpoint_dir or str(settings.stack.home))}/savepoints/{settings.kafka.topic_prefix}{job}"


def address(place: str) -> str:
    """The address of a folder. An address is returned unchanged."""
    is_address = "://" in place or place.startswith("file:")
    return (place if is_address else f"file://{Path(place).resolve()}").rstrip("/")  # Flink takes no %20


def folder_at(place: str) -> Path | None:
    """The folder of an address or path; None for other storage."""
    url = urlsplit(address(place))
    return Path(url.path) if url.scheme == "file" else None
