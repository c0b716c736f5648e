"""What was compiled is used again in a copy of the sources, and never after one of them has changed."""

import os
import shutil
import subprocess
import sys

import pytest

from smartmeter.settings import ROOT

CALLEE = "from smartmeter.compiled import compiled\n\n@compiled\ndef double(x):\n    return x * {factor}\n"
CALLER = "from jobs.core.callee import double\nfrom smartmeter.compiled import compiled\n\n@compiled\ndef more(x):\n    return double(x) + double(1) - 1\n"
CALL = "from jobs.caller import more; print(more(5), sum(more.stats.cache_hits.values()), sum(more.stats.cache_misses.values()))"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a compiled function that calls one of another file, both compiled once."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("jobs", "jobs/core", "smartmeter"):
        (root / folder).mkdir()
    shutil.copy(ROOT / "smartmeter" / "compiled.py", root / "smartmeter")
    (root / "jobs" / "core" / "callee.py").write_text(CALLEE.format(factor=2))
    (root / "jobs" / "caller.py").write_text(CALLER)
    assert call(root) == "11 0 1"
    return root


def call(root, home="home") -> str:
    """The result of more(5), how often it was found compiled, how often not."""
    return subprocess.run(
        [sys.executable, "-P", "-c", CALL],
        cwd=root,
        env={"PYTHONPATH": str(root), "HOME": str(root / home)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def copy(project, tmp_path):
    """A copy of it elsewhere, with other times."""
    root = tmp_path / "copy"
    shutil.copytree(project, root)
    for file in root.rglob("*.py"):
        os.utime(file, (1, 1))
    return root


def test_a_copy_elsewhere_has_nothing_compiled(project, tmp_path):
    root = copy(project, tmp_path)
    before = sorted(root.rglob("*.nb?"))
    assert call(root) == "11 1 0"
    assert sorted(root.rglob("*.nb?")) == before and len(before) == 4


def test_a_change_of_what_it_calls_has_it_compiled_anew(project, tmp_path):
    root = copy(project, tmp_path)
    (root / "jobs" / "core" / "callee.py").write_text(CALLEE.format(factor=3))
    assert call(root) == "17 0 1"
    assert call(root) == "17 1 0"


def test_a_folder_that_cannot_be_written_keeps_it_in_the_users_own(project, tmp_path):
    root = copy(project, tmp_path)
    for folder in ("jobs", "jobs/core", "smartmeter"):
        shutil.rmtree(root / folder / "__pycache__", ignore_errors=True)
        (root / folder / "__pycache__").touch()  # as little to be written to as a read-only folder, to root as well
    assert call(root) == "11 0 1"
    assert call(root) == "11 1 0"
    assert list((root / "home").rglob("caller.more*.nbi"))


def test_what_can_be_kept_nowhere_is_compiled_each_time(project, tmp_path):
    root = copy(project, tmp_path)
    for folder in ("jobs", "jobs/core", "smartmeter"):
        shutil.rmtree(root / folder / "__pycache__", ignore_errors=True)
        (root / folder / "__pycache__").touch()
    assert [call(root, "/proc/nowhere") for _ in range(2)] == ["11 0 1"] * 2  # not even root can write there
