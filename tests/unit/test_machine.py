"""Messages about a machine without Java or Maven; and only one process at a time sets it up."""

import subprocess
import threading

import pytest

from smartmeter.errors import UserError
from stack import machine


@pytest.fixture
def only(tmp_path, monkeypatch):
    """Leaves nothing on the PATH but programs that are given as (name, shell script)."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(**scripts):
        for name, script in scripts.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)

    return make


def test_java_is_missing(only):
    with pytest.raises(
        UserError, match="^Java 17 is needed, and java is missing; install it, for example with: .* openjdk-17-jre-headless"
    ):
        machine.require_java()


@pytest.mark.parametrize(
    "banner, fits",
    [
        ('openjdk version "17.0.15" 2025-04-15', True),
        ('java version "21"', True),
        ('java version "1.8.0_392"', False),
        ('openjdk version "25.0.1" 2025-10-21', False),
        ("no version", False),
    ],
)
def test_java_is_of_a_version_that_flink_runs_on(only, banner, fits):
    only(java=f"echo '{banner}' >&2")
    if fits:
        machine.require_java()
    else:
        with pytest.raises(UserError, match="^Java 17 is needed, and java is (version 1;|version 25;|missing;)"):
            machine.require_java()


def test_java_home_comes_first(only, monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    only(java="""echo 'openjdk version "17"' >&2""")
    with pytest.raises(UserError, match="/none/bin/java is missing"):
        machine.require_java()


def test_maven_is_missing_or_fails(only, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "JARS", tmp_path / "jars")
    with pytest.raises(UserError, match="^Maven is missing; install it, for example with: sudo apt install maven$"):
        machine.fetch_jars()
    only(mvn="exit 1")
    with pytest.raises(UserError, match="^the jars could not be fetched .see above.; the next call tries again$"):
        machine.fetch_jars()
    assert not machine.jars_are_there()


def test_one_process_waits_for_another(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "JARS", tmp_path / "new" / "jars")
    with machine.one_at_a_time():
        assert subprocess.run(["flock", "--nonblock", tmp_path / "new", "true"]).returncode == 1
        waiting = threading.Thread(target=lambda: machine.one_at_a_time().__enter__())
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_folder_that_cannot_be_created_is_reported(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(machine, "JARS", tmp_path / "file" / "jars")
    with pytest.raises(UserError, match="file cannot be written .*: set XDG_DATA_HOME to a folder that can"), machine.one_at_a_time():
        pass
