"""Where a job's state is kept, and ./smw savepoint: its state at this moment, to start a job from later.

State has an address, as Flink takes it: file:///a/folder, or that of any storage that Flink has a file system for.
"""

from __future__ import annotations

from pathlib import Path

from smartmeter.errors import UserError
from smartmeter.settings import SMW, Settings
from smartmeter.state_folders import address, checkpoints_of, folder_at, savepoints_of

METADATA = "_metadata"
"""The file that makes a checkpoint or savepoint complete: Flink writes it last."""


def newest_state(settings: Settings, job: str) -> str | None:
    """The address of a job's newest complete checkpoint or savepoint; None when there is none.

    Those that are kept elsewhere than in a folder are not looked for.
    """
    complete: list[Path] = []
    for place, pattern in ((savepoints_of(settings, job), "*"), (checkpoints_of(settings, job), "*/chk-*")):
        if folder := folder_at(place):
            complete += folder.glob(f"{pattern}/{METADATA}")
    newest = max(complete, key=lambda path: path.stat().st_mtime_ns, default=None)
    return address(str(newest.parent)) if newest else None


def require_savepoint(place: str) -> str:
    """The address of a savepoint. Raises UserError when it is of a folder with none."""
    folder = folder_at(place)
    if folder and not (folder / METADATA).is_file():
        raise UserError(f"{folder} is no savepoint: it has no file {METADATA}; {SMW} savepoint prints where it puts one")
    return address(place)


def state_to_start_from(settings: Settings, job: str, savepoint: str | None) -> str | None:
    """The address of the savepoint, else of the job's newest state; None when there is none. Raises UserError."""
    return require_savepoint(savepoint) if savepoint else newest_state(settings, job)


def restore_options(state: str | None) -> list[str]:
    """The options of flink run with which a job goes on from its state."""
    if not state:
        return []
    is_checkpoint = state.rsplit("/", 1)[-1].startswith("chk-")
    return ["--fromSavepoint", state, *["--claimMode", "claim"] * is_checkpoint]  # claimed: deleted once newer ones are there


def require_shared(settings: Settings) -> None:
    """Raise UserError when state is to be kept in a folder that the nodes of a cluster do not know of."""
    if not settings.checkpoint_dir:
        raise UserError("SMW_CHECKPOINT_DIR is not set: let it name a folder that all nodes of the cluster reach, or an address such as s3://...")
