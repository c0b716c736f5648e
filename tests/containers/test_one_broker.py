"""docker-compose.yml in a Docker engine: whatever happens to its containers, the tables are what the oracle finds."""

from __future__ import annotations

import json

import pytest
from packaging.utils import canonicalize_name
from paho.mqtt import publish

from smartmeter.settings import ROOT, Settings
from stack.flink import Flink
from store.client import reader
from tests.containers.engine import Compose, docker
from tests.containers.images import PROJECT, build
from tests.faults.pieces import AFTER, BEFORE, MOVE, pieces_of_a_log
from tests.pipeline.conftest import without
from tests.pipeline.flow import Flow, all_read, judge_stack
from tests.stack.containers import DOCKERFILE, SECRETS
from tests.waiting import until

MQTT = {"username": "meters", "password": "the meters'"}
METER = (90, 1)
"""House and meter that files/meters.yaml describes."""
IMAGE = f"{PROJECT}:local"
SHARE_S = 10
PUBLISHED = {9092, 8080, 8123, 8081, 8501, 1883}


@pytest.fixture(scope="module")
def compose(started):
    return started(COMPOSE_PROFILES="mqtt,notify", MQTT_PASSWORD=MQTT["password"])


def from_outside(home) -> Settings:
    """Settings of a program on this machine."""
    return Settings().but(
        home=home,
        clickhouse_password=SECRETS["SMW_CLICKHOUSE_PASSWORD"],
        clickhouse_reader_password=SECRETS["SMW_CLICKHOUSE_READER_PASSWORD"],
        schema_registry_url="http://127.0.0.1:8080/apis/ccompat/v7",
        partitions=4,
        window_days=2,
    )


def test_every_container_is_healthy_limited_and_has_no_rights(compose):
    containers = compose.containers()
    assert all(compose.healthy(name) for name in containers if name != "topics-1")
    assert containers["topics-1"]["State"]["ExitCode"] == 0
    for name, container in containers.items():
        host = container["HostConfig"]
        assert host["Memory"] and host["NanoCpus"] and host["CapDrop"] == ["ALL"], name
        assert host["ReadonlyRootfs"] == (container["Config"]["Image"] == IMAGE), name
        assert all(binding["HostIp"] == "127.0.0.1" for bindings in host["PortBindings"].values() for binding in bindings)
    assert {int(port.partition("/")[0]) for c in containers.values() for port in c["HostConfig"]["PortBindings"]} == PUBLISHED


def test_the_image_is_small_and_has_a_user_labels_and_a_bill_of_materials(compose):
    [image] = json.loads(docker("image", "inspect", IMAGE))
    assert image["Size"] < 1.2e9
    assert image["Config"]["User"] == "10001"
    assert image["Config"]["Labels"]["org.opencontainers.image.title"] == "Smart Meter Watchdog"
    assert image["Config"]["Healthcheck"]["Test"] == ["CMD", "python", "docker/health.py"]
    bill = json.loads(docker("run", "--rm", IMAGE, "cat", "bill-of-materials.json"))
    pins = dict(line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line)
    assert bill["bomFormat"] == "CycloneDX"
    listed = {canonicalize_name(part["name"]): part["version"] for part in bill["components"]}
    assert {name: listed.get(name) for name in pins} == {name: None if name.startswith("chdb") else pin for name, pin in pins.items()}


def test_the_dashboard_asks_nobody_for_its_address(compose):
    assert "External" not in compose("logs", "dashboard") and "external" not in compose("logs", "dashboard")


def test_no_process_is_roots_and_none_may_gain_rights(compose):
    for name, container in compose.containers().items():
        if container["State"]["Running"]:
            status = dict(
                line.split(":\t", 1) for line in docker("exec", container["Id"], "cat", "/proc/1/status").splitlines() if ":\t" in line
            )
            assert status["Uid"].split()[0] != "0" and int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1", name


def test_what_a_device_publishes_becomes_a_row(compose, tmp_path):
    settings = from_outside(tmp_path)
    payload = json.dumps({"ENERGY": {"Power": 1234}})
    publish.single("tele/plug/SENSOR", payload, qos=1, auth=MQTT)
    client = until(lambda: reader(settings))
    rows = "SELECT house_id, meter_id FROM daily_energy FINAL WHERE readings = 1"
    assert until(lambda: client.query(rows).result_rows) == [METER]


def test_whatever_happens_to_containers(compose, tmp_path):
    settings = from_outside(tmp_path)
    log, pieces = pieces_of_a_log(seed=23)
    kill_each(compose, settings, pieces[BEFORE])
    until(lambda: all_read(settings))
    restart(compose, settings, pieces[MOVE])
    until(lambda: all_read(settings))
    flow = Flow(settings, pieces[AFTER], 60, shares=2)
    flow.start()
    scale(compose)
    flow.go_on()
    upgrade(compose)
    flow.end()
    judge_stack(compose, settings, without(settings, METER[:1]), log)
    status = compose("run", "--rm", "smw")
    assert "All is well." in status, status


def kill_each(compose: Compose, settings: Settings, messages: list) -> None:
    """kill -9 each container while messages are sent."""
    names = [name for name, container in compose.containers().items() if container["State"]["Running"]]
    flow = Flow(settings, messages, SHARE_S * len(names), shares=len(names))
    flow.start()
    for name in sorted(names):
        compose.kill(name)
        flow.go_on()
    flow.end()


def restart(compose: Compose, settings: Settings, messages: list) -> None:
    """Restart all containers at once while messages are sent."""
    flow = Flow(settings, messages, SHARE_S)
    flow.start()
    compose("restart")
    flow.end()
    compose.up()


def scale(compose: Compose) -> None:
    """Have two TaskManagers and four slots in use, as docs/compose.md has it."""
    compose.environ["SMW_PARALLELISM"] = "4"
    compose.up("--scale=taskmanager=2")
    until(lambda: Flink("127.0.0.1:8081").slots() == (0, 4))


def upgrade(compose: Compose) -> None:
    """Another image over a savepoint, as docs/upgrade.md has it."""
    before = compose.containers()["sink-1"]["Image"]
    compose("stop", "pipeline")
    savepoint = ("run", "--rm", "smw", "savepoint", "--jobmanager", "jobmanager:8081", "--stop")
    until(lambda: compose.run(*savepoint).returncode == 0)  # not while the tasks of the job are still starting
    build(DOCKERFILE, IMAGE, "--label=release=next")
    compose.up("--scale=taskmanager=2")
    assert compose.containers()["sink-1"]["Image"] != before
    assert "/savepoints/" in compose("logs", "pipeline").rpartition("Starting it as job")[2]
    until(lambda: Flink("127.0.0.1:8081").slots() == (0, 4))
