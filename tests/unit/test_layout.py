"""Every import points where the table of folders in docs/design.md lets it."""

import ast
import re
from pathlib import Path

import pytest

from smartmeter.kafka.consumers import JOBS
from smartmeter.settings import ROOT

ROW = re.compile(r"^\| ([\w/]+)/ \| .* \| ([^|]*) \|$", re.MULTILINE)
ALLOWED = {folder: set(re.findall(r"[\w/]+", others)) for folder, others in ROW.findall((ROOT / "docs" / "design.md").read_text())
           if others not in ("-", "all") or folder == "smartmeter"}
FILES = [file for folder in ("smartmeter", "jobs", "generator", "store", "dashboard", "stack", "commands") for file in (ROOT / folder).rglob("*.py")]


def folder_of(path: Path) -> str:
    """The row of the table that a file or a module belongs to: the longest."""
    return max((folder for folder in ALLOWED if path.is_relative_to(folder)), key=len)


def imported(file: Path) -> set[str]:
    """The modules of a file's imports, wherever they stand in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{file}: a relative import"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_import_points_where_the_table_lets_it(file):
    own = folder_of(file.relative_to(ROOT))
    ours = {Path(*module.split(".")) for module in imported(file) if (ROOT / module.split(".")[0] / "__init__.py").exists()}
    assert {folder_of(module) for module in ours} <= {own} | ALLOWED[own]


@pytest.mark.parametrize("file", sorted((ROOT / "jobs" / "core").glob("*.py")), ids=lambda file: file.name)
def test_the_core_imports_no_flink(file):
    assert not [module for module in imported(file) if module.startswith("pyflink")]


def test_every_folder_has_its_row():
    assert {str(file.parent.relative_to(ROOT)) for file in FILES} - {"dashboard/views"} == ALLOWED.keys()


def test_every_job_has_its_file_and_its_place_among_the_consumers():
    files = {file.stem for file in (ROOT / "jobs").glob("*.py") if "jobs.flink.flow" in imported(file)}
    assert files == JOBS.keys()
