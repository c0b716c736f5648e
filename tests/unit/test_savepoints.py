"""From which state a job starts."""

import argparse
import os
import struct
from pathlib import Path

import pytest

from commands import savepoint
from smartmeter.errors import UserError
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings
from smartmeter.state_folders import address, checkpoints_of, folder_at, savepoints_of
from stack import ports
from stack.savepoints import (
    keep_offsets,
    newest_state,
    offsets_in,
    require_savepoint,
    require_shared,
    restore_options,
    run_from,
    state_to_start_from,
)


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
        ("file:///a/savepoint-1", ["--fromSavepoint", "file:///a/savepoint-1", "--allowNonRestoredState"]),
        ("file:///a/chk-7", ["--fromSavepoint", "file:///a/chk-7", "--claimMode", "claim", "--allowNonRestoredState"]),
        ("s3://bucket/savepoint-1", ["--fromSavepoint", "s3://bucket/savepoint-1", "--allowNonRestoredState"]),
    ],
)
def test_options_of_flink_run(state, options):
    assert restore_options(state) == options


def test_the_place_in_the_topic_that_the_source_of_a_savepoint_has():
    def split(topic: str, partition: int, offset: int) -> bytes:
        name = topic.encode()
        body = struct.pack(">H", len(name)) + name + struct.pack(">iqq", partition, offset, -(2**63))
        return struct.pack(">ii", 0, len(body)) + body

    enumerator = struct.pack(">H", 10) + b"x.readings" + struct.pack(">ii", 0, 1)  # that of Flink's coordinator: no offset
    splits = [split("x.readings", 0, 7), split("xx.readings", 1, 8), split("x.readings", 3, 2**40), split("x.readings2", 2, 9)]
    assert offsets_in(b"head" + b"..".join([*splits, enumerator]) + b"tail", "x.readings") == {0: 7, 3: 2**40}
    assert offsets_in(b"", "x.readings") == {}


def test_a_job_goes_on_from_the_place_beside_a_savepoint(settings, tmp_path):
    place = state(settings, "savepoint", "savepoint-1", 100)
    assert run_from(place) == run_from(None) == run_from("s3://bucket/savepoint-1") == LIVE
    keep_offsets(folder_at(place), {1: 9, 0: 7})
    assert run_from(place) == Run(offsets="partition:0,offset:7;partition:1,offset:9")


def test_a_cluster_needs_a_folder_that_its_nodes_share(settings):
    require_shared(Settings().but(checkpoint_dir="s3://bucket"))
    with pytest.raises(UserError, match="SMW_CHECKPOINT_DIR is not set"):
        require_shared(settings)


def test_no_flink_is_one_sentence(tmp_path):
    settings = ports.with_free_flink_port(Settings().but(home=tmp_path))
    parser = argparse.ArgumentParser()
    savepoint.add_arguments(parser)
    with pytest.raises(UserError, match=f"^no Flink answers at http://127.0.0.1:{settings.flink.ui_port}: start one"):
        savepoint.run(parser.parse_args([]), settings)


def test_only_state_of_the_same_topics_backend_and_place_is_found(tmp_path):
    settings = Settings().but(home=tmp_path / "a home", topic_prefix="x.")
    assert newest_state(settings, "pipeline") is None
    for age_s, place in ((30, "a/chk-9"), (10, "b/chk-2"), (20, "b/chk-1")):
        complete(settings.stack.home / "checkpoints" / "x.pipeline" / "hashmap" / place, age_s)
    (settings.stack.home / "checkpoints" / "x.pipeline" / "hashmap" / "b" / "chk-3").mkdir()  # one that was not finished
    newest = f"file://{settings.stack.home}/checkpoints/x.pipeline/hashmap/b/chk-2"
    assert newest_state(settings, "pipeline") == newest
    elsewhere = settings.but(checkpoint_dir=str(settings.stack.home / "checkpoints"), home=tmp_path)
    assert newest_state(elsewhere, "pipeline") == newest
    for other in (dict(topic_prefix=""), dict(state_backend="rocksdb"), dict(checkpoint_dir="s3://bucket/x")):
        assert newest_state(settings.but(**other), "pipeline") is None
    for of in (settings, elsewhere):
        folder = Path(of.flink.checkpoint_dir or of.stack.home) / "savepoints" / "x.pipeline" / "savepoint-1"
        complete(folder, 5)
        assert newest_state(of, "pipeline") == f"file://{folder}"
        assert newest_state(of, "daily_energy") is None


def test_state_that_lies_elsewhere_is_taken_at_its_address():
    settings = Settings().but(checkpoint_dir="s3://bucket/x/", topic_prefix="x.")
    assert savepoints_of(settings, "spikes") == "s3://bucket/x/savepoints/x.spikes"
    assert require_savepoint("s3://bucket/savepoint-1") == "s3://bucket/savepoint-1"


def complete(folder: Path, age_s: float) -> None:
    """A checkpoint or savepoint as complete as it looks from outside."""
    folder.mkdir(parents=True)
    (folder / "_metadata").touch()
    os.utime(folder / "_metadata", (1e9 - age_s, 1e9 - age_s))
