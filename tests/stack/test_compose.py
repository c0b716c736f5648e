"""docker-compose.yml agrees with the project: its commands, settings and files are real, and nothing is open to others."""

import importlib.util
import re
import shlex
from dataclasses import fields

import pytest
import yaml

from smartmeter.cli import parser
from smartmeter.settings import ROOT, Settings, variable

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


def test_services():
    assert set(SERVICES) == {"kafka", "topics", "clickhouse", "sink", "jobmanager", "taskmanager", "pipeline", "dashboard"}


@pytest.mark.parametrize("name", SERVICES)
def test_settings_are_real_and_dependencies_exist(name):
    real = {variable(field.name) for field in fields(Settings)}
    assert {key for key in SERVICES[name]["environment"] if key.startswith("SMW_")} <= real
    assert set(SERVICES[name].get("depends_on", [])) <= set(SERVICES)
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_the_settings_load():
    environ = {k: str(v) for k, v in SERVICES["sink"]["environment"].items()}
    assert Settings.load(environ).kafka == "kafka:19092"
    assert "INTERNAL://kafka:19092" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


def test_commands_name_modules_files_and_subcommands_that_exist():
    commands = {name: shlex.split(service["command"]) for name, service in SERVICES.items() if "command" in service}
    modules = {name: words[2] for name, words in commands.items() if words[:2] == ["python", "-m"]}
    assert modules == {"topics": "smartmeter", "sink": "store.sink", "dashboard": "smartmeter"}
    assert all(importlib.util.find_spec(module) for module in modules.values())
    assert all(parser().parse_args(commands[name][3:]) for name in ("topics", "dashboard"))
    assert (ROOT / commands["pipeline"][-1]).is_file()


def test_passwords_have_no_default_and_each_is_in_the_example():
    text = (ROOT / "docker-compose.yml").read_text()
    uses = re.findall(r"\$\{(\w+)(:\?)?", text)
    assert all(required for _, required in uses)
    example = re.findall(r"^(\w+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert {name for name, _ in uses} == set(example)
    users = (ROOT / "docker" / "clickhouse-users.xml").read_text()
    assert set(re.findall(r'<password from_env="(\w+)"/>', users)) == set(example)


def test_what_the_image_copies_exists_and_is_not_ignored():
    sources = re.findall(r"^COPY ([\w.]+) ", DOCKERFILE, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert sources == ["pom.xml", "requirements.txt", "avro", "smartmeter", "generator", "store", "jobs", "dashboard"]
    assert all((ROOT / source).exists() and f"!{source}" in ignored for source in sources)
