"""ruff and mypy, as configured in pyproject.toml, find nothing; the pinned requirements are complete."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from smartmeter.settings import ROOT

PIN = re.compile(r"([a-z0-9][a-z0-9-]*)==(\S+)")


@pytest.mark.parametrize(
    "check", [["ruff", "check", "--output-format=concise"], ["ruff", "format", "--check"], ["mypy"]], ids=["lint", "format", "types"]
)
def test_nothing_is_found(check):
    found = subprocess.run([sys.executable, "-m", *check], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_only_compiled_functions_have_no_annotations():
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    [modules] = [override["module"] for override in overrides if "jobs.core.energy" in override["module"]]
    files = [path for folder in ("jobs", "smartmeter") for path in (ROOT / folder).rglob("*.py") if "\n@compiled\n" in path.read_text()]
    assert sorted(modules) == sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files)
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and not any(ast.unparse(decorator) == "compiled" for decorator in node.decorator_list):
                arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
                assert node.returns or node.name == "__init__", f"{path}:{node.lineno}"
                assert all(item.annotation or item.arg in ("self", "cls") for item in arguments if item), f"{path}:{node.lineno}"


def pins(file: str) -> list[dict[str, str]]:
    """Name -> version of what is used, and of what that brings with it."""
    paragraphs = (ROOT / file).read_text().split("\n\n")
    lines = [[line for line in paragraph.splitlines() if not line.startswith("#")] for paragraph in paragraphs]
    assert all(PIN.fullmatch(line) for paragraph in lines for line in paragraph)
    assert all(paragraph == sorted(paragraph) for paragraph in lines)
    return [dict(line.split("==") for line in paragraph) for paragraph in lines]


def with_what_they_bring(names) -> set[str]:
    """The packages, and those that they require here, and so on."""
    wanted, met = [Requirement(name) for name in names], set()
    while wanted:
        package = wanted.pop()
        extras = {"", *package.extras}
        if (package.name, *extras) not in met:
            met.add((package.name, *extras))
            wanted += (
                needed
                for needed in map(Requirement, requires(package.name) or ())
                if not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in extras)
            )
    return {canonicalize_name(name) for name, *_ in met}


def test_all_that_is_installed_is_pinned_and_what_runs_needs_nothing_of_the_tests():
    (uses, brings), (tests_use, tests_bring) = pins("requirements.txt"), pins("tests/requirements.txt")
    run, tests = uses | brings, tests_use | tests_bring
    assert with_what_they_bring(uses) == run.keys()
    assert with_what_they_bring(tests_use) - run.keys() == tests.keys()
    assert not run.keys() & tests.keys()
    assert {name: version(name) for name in run | tests} == run | tests


def test_the_wheel_is_built_by_what_the_tests_have():
    built_by = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    tests_use, _ = pins("tests/requirements.txt")
    assert {f"{name}=={tests_use[name]}" for name in ("hatchling", "hatch-requirements-txt")} == set(built_by)
