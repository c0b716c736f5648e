"""Addresses of a job's state."""

from pathlib import Path

import pytest

from smartmeter.settings import Settings
from smartmeter.state_folders import address, checkpoints_of, folder_at, savepoints_of

HERE = Path.cwd()


@pytest.mark.parametrize(
    "place, expected, folder",
    [
        ("/a/folder", "file:///a/folder", "/a/folder"),
        ("/a/folder/", "file:///a/folder", "/a/folder"),
        ("/a folder", "file:///a folder", "/a folder"),
        ("relative", f"file://{HERE}/relative", f"{HERE}/relative"),
        ("file:///a/folder", "file:///a/folder", "/a/folder"),
        ("file:/a/folder", "file:/a/folder", "/a/folder"),
        ("s3://bucket/a/", "s3://bucket/a", None),
        ("hdfs://name:9000/a", "hdfs://name:9000/a", None),
    ],
)
def test_a_place_has_an_address_and_some_have_a_folder(place, expected, folder):
    assert address(place) == expected == address(expected)
    assert folder_at(place) == (folder and Path(folder))


@pytest.mark.parametrize(
    "fields, checkpoints, savepoints",
    [
        (dict(), "file:///smw/checkpoints/pipeline/rocksdb", "file:///smw/savepoints/pipeline"),
        (dict(topic_prefix="x."), "file:///smw/checkpoints/x.pipeline/rocksdb", "file:///smw/savepoints/x.pipeline"),
        (dict(state_backend="hashmap"), "file:///smw/checkpoints/pipeline/hashmap", "file:///smw/savepoints/pipeline"),
        (dict(checkpoint_dir="s3://b/c"), "s3://b/c/pipeline/rocksdb", "s3://b/c/savepoints/pipeline"),
    ],
)
def test_a_jobs_state_is_apart_from_that_of_others(fields, checkpoints, savepoints):
    settings = Settings().but(**{"home": Path("/smw"), "state_backend": "rocksdb"} | fields)
    assert (checkpoints_of(settings, "pipeline"), savepoints_of(settings, "pipeline")) == (checkpoints, savepoints)
