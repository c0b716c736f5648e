"""docker-compose.yml as Docker Compose itself reads it: every name in it exists, and nothing is open to others."""

import json
import os
import re
import subprocess
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
import yaml
from paho.mqtt import MQTTException, publish

from smartmeter.settings import ROOT, Settings
from stack import machine
from stack.mosquitto import program
from stack.ports import free_port, is_listening
from stack.processes import Processes
from tests.stack.containers import BIN, CLUSTER, COMPOSE, DOCKERFILE, SECRETS, addresses, docker_compose, services

ONE, THREE = services(COMPOSE), services(COMPOSE, CLUSTER)
ALL = list(THREE.items())
RUN_TO_THEIR_END = {"topics": "on-failure", "smw": "no"}
"""Service -> whether it is started again."""
OBSERVE = {"prometheus", "grafana"}
MQTT = {"mosquitto", "gateway"}
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
        *MQTT,
        "generator",
        "smw",
        *OBSERVE,
    }
    assert set(THREE) - set(ONE) == {"kafka-2", "kafka-3"}


@pytest.mark.parametrize(
    "profiles, left_out",
    [
        ("", {"generator", "smw", "notify", *MQTT, *OBSERVE}),
        ("demo", {"smw", "notify", *MQTT, *OBSERVE}),
        ("mqtt", {"generator", "smw", "notify", *OBSERVE}),
        ("gateway", {"generator", "smw", "notify", "mosquitto", *OBSERVE}),
        ("observe", {"generator", "smw", "notify", *MQTT}),
        ("demo,mqtt,notify,observe,tools", set()),
    ],
)
def test_profiles(profiles, left_out):
    found = docker_compose("config", "--services", environ=SECRETS | {"COMPOSE_PROFILES": profiles}).stdout.split()
    assert set(found) == set(ONE) - left_out


def test_the_example_has_readings_made_up():
    assert "COMPOSE_PROFILES=demo" in (ROOT / ".env.example").read_text().splitlines()


def test_prometheus_scrapes_every_metrics_endpoint():
    configs = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())["scrape_configs"]
    flink, sink, *others = configs
    [found] = flink["dns_sd_configs"]
    assert {name for name, service in ONE.items() if f"metrics.reporter.prom.port={found['port']}" in str(service["command"])} == set(
        found["names"]
    )
    assert (
        sink["static_configs"] == [{"targets": [f"sink:{Settings().stack.sink_metrics_port}"]}]
        and "SMW_METRICS_ADDRESS" in ONE["sink"]["environment"]
    )
    ports = {"notify": Settings().notify.metrics_port, "gateway": Settings().gateway.metrics_port}
    assert [config["dns_sd_configs"] for config in others] == [
        [{"names": [name], "type": "A", "port": port}] for name, port in ports.items()
    ]
    assert all("SMW_METRICS_ADDRESS" in ONE[name]["environment"] for name in ports)


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
    assert [bool(addresses(service)), "healthcheck" in service].count(True) == (name not in RUN_TO_THEIR_END)
    assert service.get("read_only", False) == ("build" in service)
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
def test_the_compose_linter_reports_only_images_without_digests_writable_files_and_where_java_unpacks_libraries(files, tmp_path):
    merged = tmp_path / COMPOSE
    docker_compose(*(f"--file={file}" for file in files), "--profile=*", "config", "--no-interpolate", f"--output={merged}")
    lint = subprocess.run([BIN / "compose-lint", "check", "--format", "json", merged], capture_output=True, text=True)
    findings = json.loads(lint.stdout)["findings"]
    assert {finding["rule_id"] for finding in findings} == {"CL-0007", "CL-0019", "CL-0022"}
    assert {finding["service"] for finding in findings if finding["rule_id"] == "CL-0022"} == {"jobmanager", "taskmanager", "pipeline"}


def test_the_image_finds_what_it_checks_under_an_init_and_nothing_to_check_of_other_programs():
    ports = {
        "store.sink": Settings().stack.sink_metrics_port,
        "notify.service": Settings().notify.metrics_port,
        "gateway.service": Settings().gateway.metrics_port,
    }
    for module, port in ports.items():
        under_an_init = {"command": ["/sbin/docker-init", "--", "python", "-m", module]}
        assert addresses(under_an_init) == [f"http://127.0.0.1:{port}/metrics"]
    assert addresses({"command": ["python", "-m", "commands", "status"]}) == []


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
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE) if image not in stages)
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


def command_of_mosquitto(folder: Path, port: int) -> list[str]:
    """The command of the service mosquitto, with its files in a folder, at a port of the loopback address."""
    config = (ROOT / "docker" / "mosquitto.conf").read_text()
    config = (
        config.replace("listener 1883", f"listener {port} 127.0.0.1").replace("/tmp/", f"{folder}/").replace("/mosquitto/data", str(folder))
    )
    (folder / "mosquitto.conf").write_text(f"{config}user root\n")
    command = services(COMPOSE, MQTT_PASSWORD="the meters'")["mosquitto"]["command"]
    return [word.replace("/tmp/", f"{folder}/").replace("/mosquitto/config", str(folder)) for word in command]


def test_mosquitto_takes_its_user_alone_and_keeps_messages(tmp_path):
    port = free_port()
    command, path = command_of_mosquitto(tmp_path, port), f"{os.environ['PATH']}:{Path(program()).parent}"
    refused = subprocess.run(command, env={"PATH": path, "MQTT_PASSWORD": ""}, capture_output=True, text=True)
    assert refused.returncode and refused.stderr.endswith("MQTT_PASSWORD: it is empty: set it in .env\n")
    with Processes(tmp_path / "processes") as processes:
        processes.start("mosquitto", command, {"PATH": path, "MQTT_PASSWORD": "the meters'"})
        processes.wait_until(lambda: is_listening(f"127.0.0.1:{port}"), "no broker listens")
        for user in (None, {"username": "meters", "password": ""}):
            with pytest.raises(MQTTException, match="Not authorized"):
                publish.single("a", "1", hostname="127.0.0.1", port=port, auth=user)
        publish.single("a", "1", 1, True, "127.0.0.1", port, auth={"username": "meters", "password": "the meters'"})
    assert (tmp_path / "mosquitto.db").stat().st_size and "the meters'" not in (tmp_path / "passwords").read_text()


def test_the_brokers_password_goes_to_the_broker_and_the_gateway_alone():
    own = services(COMPOSE, MQTT_PASSWORD="s3cr3t-9b1c", MQTT_ADDRESS="192.0.2.1")
    assert {name for name, service in own.items() if "s3cr3t-9b1c" in str(service)} == MQTT
    assert all(own[name]["environment"].pop("MQTT_PASSWORD") for name in MQTT) and "s3cr3t-9b1c" not in str(own)
    assert [port["host_ip"] for port in own["mosquitto"]["ports"]] == ["192.0.2.1"]
