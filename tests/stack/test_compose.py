"""docker-compose.yml as Docker Compose itself reads it: every name in it exists, and nothing is open to others."""

import json
import re
import subprocess
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
import yaml

from smartmeter.settings import ROOT, Settings
from stack import machine
from tests.stack.containers import BIN, CLUSTER, COMPOSE, DOCKERFILE, SECRETS, docker_compose, services

ONE, THREE = services(COMPOSE), services(COMPOSE, CLUSTER)
ALL = list(THREE.items())
RUN_TO_THEIR_END = {"topics": "on-failure", "smw": "no"}
"""Service -> whether it is started again."""
OBSERVE = {"prometheus", "grafana"}
USERS = ROOT / "docker" / "clickhouse-users.xml"


def test_services():
    assert set(ONE) == {
        "kafka",
        "registry",
        "topics",
        "clickhouse",
        "sink",
        "jobmanager",
        "flink-page",
        "taskmanager",
        "pipeline",
        "dashboard",
        "notify",
        "generator",
        "smw",
        *OBSERVE,
    }
    assert set(THREE) - set(ONE) == {"kafka-2", "kafka-3"}


@pytest.mark.parametrize(
    "profiles, left_out",
    [
        ("", {"generator", "smw", "notify", *OBSERVE}),
        ("demo", {"smw", "notify", *OBSERVE}),
        ("observe", {"generator", "smw", "notify"}),
        ("demo,notify,observe,tools", set()),
    ],
)
def test_profiles(profiles, left_out):
    found = docker_compose("config", "--services", environ=SECRETS | {"COMPOSE_PROFILES": profiles}).stdout.split()
    assert set(found) == set(ONE) - left_out


def test_the_example_has_readings_made_up():
    assert "COMPOSE_PROFILES=demo" in (ROOT / ".env.example").read_text().splitlines()


def test_prometheus_scrapes_every_metrics_endpoint():
    configs = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())["scrape_configs"]
    flink, sink, notify = (next(config for config in configs if config["job_name"] == name) for name in ("flink", "sink", "notify"))
    [found] = flink["dns_sd_configs"]
    assert {name for name, service in ONE.items() if f"metrics.reporter.prom.port={found['port']}" in str(service["command"])} == set(
        found["names"]
    )
    assert (
        sink["static_configs"] == [{"targets": [f"sink:{Settings().stack.sink_metrics_port}"]}]
        and "SMW_METRICS_ADDRESS" in ONE["sink"]["environment"]
    )
    [found] = notify["dns_sd_configs"]
    assert (found["names"], found["port"]) == (["notify"], Settings().notify.metrics_port)
    assert "SMW_METRICS_ADDRESS" in ONE["notify"]["environment"]


def test_grafana_finds_prometheus_and_the_dashboard_and_lets_nobody_in_as_more_than_a_viewer():
    [source] = yaml.safe_load((ROOT / "docker" / "grafana-datasource.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((ROOT / "docker" / "grafana-dashboards.yml").read_text())["providers"]
    mounted = {volume["source"]: volume["target"] for volume in ONE["grafana"]["volumes"]}
    assert source["url"] == f"http://prometheus:{ONE['prometheus']['ports'][0]['target']}"
    assert mounted[str(ROOT / "observability" / "grafana-dashboard.json")].startswith(provider["options"]["path"])
    assert all(Path(file).is_file() for file in mounted)
    environ = ONE["grafana"]["environment"]
    assert (environ["GF_AUTH_BASIC_ENABLED"], environ["GF_AUTH_DISABLE_LOGIN_FORM"]) == ("false", "true") and "ROLE" not in str(environ)


@pytest.mark.parametrize("name", SECRETS)
def test_a_missing_password_is_named(name):
    for environ in ({key: value for key, value in SECRETS.items() if key != name}, SECRETS | {name: ""}):
        done = docker_compose("config", environ=environ)
        assert done.returncode and f"{name} is missing a value: copy .env.example to .env and set it" in done.stderr


def test_passwords_are_in_the_environment_of_those_who_need_them_alone():
    holders = {name: {service for service, definition in THREE.items() if secret in str(definition)} for name, secret in SECRETS.items()}
    assert holders == {
        "SMW_CLICKHOUSE_PASSWORD": {"clickhouse", "sink"},
        "SMW_CLICKHOUSE_READER_PASSWORD": {"clickhouse", "dashboard", "smw"},
    }
    for service in THREE.values():
        rest = {key: value for key, value in service.items() if key != "environment"}
        assert not any(secret in str(rest) for secret in SECRETS.values())


@pytest.mark.parametrize("name, service", ALL)
def test_settings_are_real(name, service):
    found = {key: value for key, value in service.get("environment", {}).items() if key.startswith("SMW_")}
    assert set(found) <= set(Settings().environ())
    assert Settings.load(found).clickhouse.database == "smartmeter"


@pytest.mark.parametrize("name, service", ALL)
def test_each_is_bounded_watched_and_without_rights_that_it_does_not_need(name, service):
    assert int(service["mem_limit"]) > 0 and service["cpus"] <= 2  # Docker refuses more than the machine has
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"] and not service.get("privileged")
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert service["restart"] == RUN_TO_THEIR_END.get(name, "unless-stopped")
    assert ("healthcheck" in service) == (name not in RUN_TO_THEIR_END)
    assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))
    for other, wanted in service.get("depends_on", {}).items():
        assert wanted["condition"] == ("service_completed_successfully" if other in RUN_TO_THEIR_END else "service_healthy")


@pytest.mark.parametrize("name, service", ALL)
def test_images_have_a_version(name, service):
    image, version = service["image"].split(":")
    assert image == "smart-meter-watchdog" if "build" in service else re.match(r"v?\d+\.\d+", version)


def test_nothing_outside_reaches_flinks_own_port_and_a_jvm_without_memory_ends():
    assert "ports" not in ONE["jobmanager"] and "jobmanager:8081" in ONE["flink-page"]["command"]
    for switch in (
        "web.submit.enable=false",
        "web.cancel.enable=false",
        "web.rescale.enable=false",
        "web.access-control-allow-origin=http://127.0.0.1:8081",
    ):
        assert switch in str(ONE["jobmanager"]["command"])
    for name, variable_name in (("jobmanager", "FLINK_ENV_JAVA_OPTS_JM"), ("taskmanager", "FLINK_ENV_JAVA_OPTS_TM")):
        assert ONE[name]["environment"][variable_name] == machine.END_WITHOUT_MEMORY


def test_the_broker_is_that_of_the_tests():
    version = re.search(r"<artifactId>kafka_2.13</artifactId>\s*<version>(.+)</version>", (ROOT / "pom.xml").read_text())[1]
    assert ONE["kafka"]["image"] == f"apache/kafka:{version}"


def test_three_brokers_differ_only_in_their_own_settings():
    brokers = [THREE[name] for name in ("kafka", "kafka-2", "kafka-3")]
    assert [broker["environment"].pop("KAFKA_NODE_ID") for broker in brokers] == ["1", "2", "3"]
    assert [broker["environment"].pop("KAFKA_ADVERTISED_LISTENERS") for broker in brokers] == [
        f"INTERNAL://{name}:19092,EXTERNAL://127.0.0.1:{broker['ports'][0]['published']}"
        for name, broker in zip(("kafka", "kafka-2", "kafka-3"), brokers)
    ]
    assert len({broker["ports"][0]["published"] for broker in brokers}) == len({broker["volumes"][0]["source"] for broker in brokers}) == 3
    for broker in brokers:
        del broker["ports"], broker["volumes"]
    assert brokers[0] == brokers[1] == brokers[2]


@pytest.mark.parametrize("files", [(COMPOSE,), (COMPOSE, CLUSTER)])
def test_the_compose_linter_reports_only_images_without_digests_and_writable_files(files, tmp_path):
    merged = tmp_path / COMPOSE
    docker_compose(*(f"--file={file}" for file in files), "--profile=*", "config", "--no-interpolate", f"--output={merged}")
    lint = subprocess.run([BIN / "compose-lint", "check", "--format", "json", merged], capture_output=True, text=True)
    assert {finding["rule_id"] for finding in json.loads(lint.stdout)["findings"]} == {"CL-0007", "CL-0019"}


def test_the_dockerfile_linter_finds_nothing():
    hadolint = subprocess.run([BIN / "hadolint", DOCKERFILE], capture_output=True, text=True)
    assert hadolint.returncode == 0, hadolint.stdout


def test_the_sources_of_the_image_exist_and_are_not_ignored():
    sources = re.findall(r"^COPY ([\w./]+) ", DOCKERFILE.read_text(), re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {"pom.xml", "requirements.txt", "jobs"} <= set(sources)
    assert all((ROOT / source).exists() and f"!{source}" in ignored for source in sources)


def test_base_images_have_a_version_and_nobody_runs_as_root():
    text = DOCKERFILE.read_text()
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert re.search(r"^USER [1-9]\d+$", text, re.MULTILINE) and "ARG" not in text
    assert ONE["clickhouse"]["user"] == "101:101"


def test_clickhouse_has_no_user_but_those_with_a_password_of_the_env_file():
    users = xml.parse(USERS).getroot().find("users")
    assert users.find("default").attrib == {"remove": "remove"}
    passwords = {user.tag: user.find("password").attrib["from_env"] for user in users if user.tag != "default"}
    assert set(passwords.values()) == set(SECRETS) and set(passwords) == {Settings().clickhouse.user, Settings().clickhouse.reader}
    assert {volume["target"] for volume in ONE["clickhouse"]["volumes"] if volume["source"] == str(USERS)} == {
        "/etc/clickhouse-server/users.d/smartmeter.xml"
    }
