"""Folders that only their user may enter."""

import os
import stat
from pathlib import Path

import pytest

from smartmeter.folders import OF_DATA, private_folder, private_home
from smartmeter.settings import Settings
from stack.processes import Processes


def mode(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_new_folder_and_one_with_other_rights(tmp_path):
    (tmp_path / "old").mkdir(mode=0o755)
    assert mode(private_folder(tmp_path / "old")) == mode(private_folder(tmp_path / "new" / "below")) == "0o700"


def test_all_that_lies_in_the_home_of_the_stack(tmp_path):
    home = tmp_path / "home"
    for name in OF_DATA:
        (home / name).mkdir(parents=True)
    (home / "logs" / "kafka.log").touch()
    with Processes(home):
        assert {mode(folder) for folder in (home, *(home / name for name in OF_DATA))} == {"0o700"}
    assert mode(home / "logs" / "kafka.log") == "0o644"


def test_passwords_are_where_only_their_user_is(tmp_path):
    (tmp_path / "run").mkdir(mode=0o755)
    Settings().but(kafka_user="jobs", kafka_password="secret").environ_without_secrets(tmp_path / "run")
    assert (mode(tmp_path / "run"), mode(tmp_path / "run" / "kafka_password")) == ("0o700", "0o600")


@pytest.mark.parametrize("rights", [0o1777, 0o755])
def test_a_folder_that_others_need_is_left_as_it_is(tmp_path, monkeypatch, rights):
    """One like /tmp, and one in which the user's home lies."""
    shared = tmp_path / "shared"
    (shared / "user").mkdir(parents=True)
    shared.chmod(rights)
    if rights == 0o755:
        monkeypatch.setattr(Path, "home", lambda: shared / "user")
    (shared / "kafka").mkdir()
    private_home(shared)
    assert (mode(shared), mode(shared / "kafka")) == (oct(rights), "0o700")
