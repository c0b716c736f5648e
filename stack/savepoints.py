"""Finds a job's checkpoints and savepoints, to start it from one of them.

State has an address in Flink's form: file:///a/folder, or a URL of any storage that Flink has a file system for.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from smartmeter.errors import UserError
from smartmeter.kafka.offsets import specific_offsets
from smartmeter.run import LIVE, Run
from smartmeter.settings import SMW, Settings
from smartmeter.state_folders import address, checkpoints_of, folder_at, savepoints_of

METADATA = "_metadata"
"""Flink writes this file last, so a checkpoint or savepoint with it is complete."""
OFFSETS = "offsets"
"""A file in the savepoint of a replay that the running job goes on from: where that job continues in the topic readings."""

_SPLIT = struct.Struct(">iqq")
"""Partition, next offset, offset to stop at, after the topic's name: a partition in the state of Flink's Kafka source."""


def newest_state(settings: Settings, job: str) -> str | None:
    """The address of a job's newest complete checkpoint or savepoint; None when there is none.

    It searches folders only, not other storage.
    """
    complete: list[Path] = []
    for place, pattern in ((savepoints_of(settings, job), "*"), (checkpoints_of(settings, job), "*/chk-*")):
        if folder := folder_at(place):
            complete += folder.glob(f"{pattern}/{METADATA}")
    newest = max(complete, key=lambda path: path.stat().st_mtime_ns, default=None)
    return address(str(newest.parent)) if newest else None


def require_savepoint(place: str) -> str:
    """The address of a savepoint. Raises UserError for a folder that is not one."""
    folder = folder_at(place)
    if folder and not (folder / METADATA).is_file():
        raise UserError(f"{folder} is no savepoint: it has no file {METADATA}; {SMW} savepoint prints where it puts one")
    return address(place)


def state_to_start_from(settings: Settings, job: str, savepoint: str | None) -> str | None:
    """The address of the savepoint, else of the job's newest state; None when there is none. Raises UserError."""
    return require_savepoint(savepoint) if savepoint else newest_state(settings, job)


def offsets_in(metadata: bytes, topic: str) -> dict[int, int]:
    """Partition -> next offset, of a topic (full name), in the metadata of a job's savepoint.

    Flink's Kafka source keeps a partition as version 0, size, name of the topic and _SPLIT, in big-endian.
    """
    name = topic.encode()
    begin = struct.pack(">iiH", 0, 2 + len(name) + _SPLIT.size, len(name)) + name
    splits = (_SPLIT.unpack_from(metadata, found.end()) for found in re.finditer(re.escape(begin), metadata))
    return {partition: offset for partition, offset, _ in splits}


def run_from(state: str | None) -> Run:
    """The run of a job that starts from a state: that of a replay has its place in the topic beside it."""
    folder = folder_at(state) if state else None
    if folder and (folder / OFFSETS).is_file():
        return Run(offsets=(folder / OFFSETS).read_text())
    return LIVE


def keep_offsets(folder: Path, offset_of: dict[int, int]) -> None:
    """Note in a savepoint's folder where the running job continues. offset_of: partition -> offset."""
    (folder / OFFSETS).write_text(specific_offsets(offset_of))


def restore_options(state: str | None) -> list[str]:
    """The options of flink run that start a job from a state.

    Only the source and the houses keep what goes on, and their operators have the same uid in all releases. The sink keeps nothing, but its
    uid has a number of Flink's plan, which changes with the job. Between a replay's topic and the running job's, only the houses go on.
    """
    if not state:
        return []
    is_checkpoint = state.rsplit("/", 1)[-1].startswith("chk-")
    return [
        *["--fromSavepoint", state],
        *["--claimMode", "claim"] * is_checkpoint,  # claimed: deleted once newer ones are there
        "--allowNonRestoredState",
    ]


def require_shared(settings: Settings) -> None:
    """Raise UserError when the state's folder is not set, as the nodes of a cluster could not reach the default one."""
    if not settings.flink.checkpoint_dir:
        raise UserError(
            "SMW_CHECKPOINT_DIR is not set: set it to a folder that all nodes of the cluster reach, or an address such as s3://..."
        )
