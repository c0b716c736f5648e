"""From which state a job starts."""

import os

import pytest

from smartmeter.errors import UserError
from smartmeter.settings import Settings
from smartmeter.state_folders import address, checkpoints_of, folder_at, savepoints_of
from stack.savepoints import newest_state, require_savepoint, require_shared, restore_options, state_to_start_from


@pytest.fixture
def settings(tmp_path):
    return Settings().but(home=tmp_path)


def state(settings, kind: str, name: str, at_s: int, complete=True):
    """Make a checkpoint or savepoint of the pipeline of some time."""
    folder = folder_at((checkpoints_of if kind == "checkpoint" else savepoints_of)(settings, "pipeline")) / name
    folder.mkdir(parents=True)
    if complete:
        (folder / "_metadata").touch()
        os.utime(folder / "_metadata", (at_s, at_s))
    return address(str(folder))


def test_the_newest_complete_one_of_the_job_is_used(settings):
    assert newest_state(settings, "pipeline") is None
    savepoint = state(settings, "savepoint", "savepoint-1", 100)
    assert newest_state(settings, "pipeline") == savepoint
    checkpoint = state(settings, "checkpoint", "0123/chk-7", 200)
    state(settings, "checkpoint", "0123/chk-8", 300, complete=False)
    state(settings, "checkpoint", "0123/shared", 400)
    assert newest_state(settings, "pipeline") == checkpoint
    assert newest_state(settings, "spikes") is None
    assert state_to_start_from(settings, "pipeline", None) == checkpoint
    assert state_to_start_from(settings, "pipeline", folder_at(savepoint).as_posix()) == savepoint


def test_a_folder_that_is_no_savepoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no savepoint: it has no file _metadata; .* savepoint prints where it puts one"):
        require_savepoint(str(tmp_path))
    assert require_savepoint("s3://bucket/savepoint") == "s3://bucket/savepoint"


@pytest.mark.parametrize(
    "state, options",
    [
        (None, []),
        ("file:///a/savepoint-1", ["--fromSavepoint", "file:///a/savepoint-1"]),
        ("file:///a/chk-7", ["--fromSavepoint", "file:///a/chk-7", "--claimMode", "claim"]),
    ],
)
def test_options_of_flink_run(state, options):
    assert restore_options(state) == options


def test_a_cluster_needs_a_folder_that_its_nodes_share(settings):
    require_shared(Settings().but(checkpoint_dir="s3://bucket"))
    with pytest.raises(UserError, match="SMW_CHECKPOINT_DIR is not set"):
        require_shared(settings)
