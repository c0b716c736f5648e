"""Every import points where the table of folders in docs/design.md lets it, and every module has its file of unit tests."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from smartmeter.kafka.consumers import JOBS
from smartmeter.settings import ROOT

ROW = re.compile(r"^\| ([\w/]+)/ \| .* \| ([^|]*) \|$", re.MULTILINE)
ALLOWED = {
    folder: set(re.findall(r"[\w/]+", others))
    for folder, others in ROW.findall((ROOT / "docs" / "design.md").read_text())
    if others not in ("-", "all") or folder == "smartmeter"
}
FILES = [
    file
    for folder in ("smartmeter", "jobs", "generator", "importer", "store", "notify", "gateway", "dashboard", "stack", "commands")
    for file in (ROOT / folder).rglob("*.py")
]

WITHOUT_A_UNIT_FILE = {
    "no logic of its own": "jobs/flink/outside smartmeter/arrays smartmeter/errors notify/faults commands/__main__ commands/arguments commands/setup dashboard/server",
    "a real broker, in tests/stack and tests/pipeline": "smartmeter/kafka/archived smartmeter/kafka/topic_admin smartmeter/kafka/topic_log commands/topics stack/broker jobs/flink/rule_source jobs/flink/kind_source jobs/flink/sources jobs/flink/carried",
    "a real Flink, in tests/pipeline, tests/stack and tests/cluster": "jobs/flink/kafka_tables stack/local_flink commands/savepoint commands/submit",
    "the real engine, in tests/store": "store/access store/endpoint store/engine store/schema store/sink generator/scoring commands/sql",
    "a real broker and real receivers, in tests/notify": "notify/home_publisher notify/ledger notify/mqtt_session notify/reader notify/service notify/trial notify/worker commands/notify",
    "real brokers, in tests/gateway": "gateway/http_delivery gateway/http_server gateway/link gateway/sender gateway/service commands/gateway",
    "processes of a whole stack, in tests/stack": "stack/services commands/stack commands/dashboard commands/live_demo generator/simulator",
    "Streamlit apps, most of them on the real engine, in tests/dashboard": "dashboard/acknowledgements dashboard/app dashboard/connection dashboard/controls "
    "dashboard/notifications dashboard/queries dashboard/rules dashboard/sending "
    + " ".join(
        f"dashboard/views/{view}" for view in ("alerts", "appliances", "home", "map", "overview", "quality", "replay", "rules", "sql")
    ),
}
"""What it takes to test some modules, and which."""
OF_NO_MODULE_HERE = {
    "test_layout.py",
    "test_style.py",
    "test_answers.py",
    "test_bench.py",
    "test_files_to_energy.py",
    "test_kubernetes.py",
    "test_releases.py",
    "test_user_rules_alerts.py",
    "test_watchdog.py",
    "test_watching.py",
}


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


def test_every_module_has_a_unit_file_or_a_reason():
    elsewhere = [f"{module}.py" for modules in WITHOUT_A_UNIT_FILE.values() for module in modules.split()]
    modules = {str(file.relative_to(ROOT)) for file in FILES if file.name != "__init__.py"}
    assert len(elsewhere) == len(set(elsewhere)) and set(elsewhere) <= modules
    tested = [Path(module) for module in sorted(modules.difference(elsewhere))]
    with_name = Counter(module.name for module in tested)
    expected = {f"test_{module.name}" if with_name[module.name] == 1 else f"test_{module.parent.name}_{module.name}" for module in tested}
    assert {file.name for file in Path(__file__).parent.glob("test_*.py")} == expected | OF_NO_MODULE_HERE
