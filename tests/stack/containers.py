"""docker-compose.yml without an engine: what Docker Compose makes of it, and its services as plain processes on this machine.

The processes run in a folder that holds what the image would, with the image's environment and the service's. Host names and ports
become ports of the loopback address, volumes become folders.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from functools import partial
from pathlib import Path
from runpy import run_path
from typing import TypeVar

import compose

from smartmeter.settings import JARS, ROOT, Settings
from stack import broker, ports
from stack.processes import Processes
from tests.processes import CLOCK
from tests.stack.compiled import copy_compiled
from tests.waiting import STILL_S, until

T = TypeVar("T")

DOCKER_COMPOSE = Path(compose.__file__).with_name("docker-compose")  # the command beside it always ends with 0
COMPOSE, CLUSTER = "docker-compose.yml", "docker-compose.cluster.yml"
DOCKERFILE = ROOT / "docker" / "Dockerfile"
_HEALTH = run_path(str(ROOT / "docker" / "health.py"))
SECRETS = {name: f"the {name.lower()}'s" for name in re.findall(r"^(\w+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE)}
BIN = Path(sys.executable).parent
FLINK_BIN = Path(sysconfig.get_path("purelib")) / "pyflink" / "bin"
LISTENS = {
    "clickhouse": (8123,),
    "jobmanager": (8081, 6123, 9249),
    "flink-page": (8081,),
    "taskmanager": (9249,),
    "dashboard": (8501,),
    "registry": (8080,),
    "sink": (9250,),
    "notify": (9251,),
    "gateway": (9252,),
}
"""Service -> the ports in its container, beside Kafka's."""
KAFKA_LISTENS = (19092, 9092, 9093)
QUICK_START = " ".join(broker.QUICK_START)


def docker_compose(*words: str, environ: dict[str, str] = SECRETS) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose itself on the project's files; what it prints is for who asks."""
    return subprocess.run([DOCKER_COMPOSE, *words], cwd=ROOT, env=environ, text=True, capture_output=True)


def services(*files: str, **environ: str) -> dict[str, dict]:
    """The services of the files as Docker Compose merges, checks and fills them in, of all profiles, with the passwords SECRETS."""
    done = docker_compose(
        *(word for file in files for word in ("--file", file)), "--profile", "*", "config", "--format", "json", environ=SECRETS | environ
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.replace("$$", "$"))["services"]  # it doubles each $, as in a file


def addresses(service: dict) -> list[str]:
    """The addresses that the image's health check asks, by the command of a service."""
    return _HEALTH["addresses"](service["command"] or [])


def make_image(folder: Path) -> None:
    """Copy into a folder what the Dockerfile's last stage copies into /smw, and what is compiled there."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    leave_out = shutil.ignore_patterns(*(line.removeprefix("**/") for line in ignored if line.startswith("**/")))
    for stage, source, target in re.findall(
        r"^COPY (--from=\S+ )?(\S+) (\S+)$", DOCKERFILE.read_text().rpartition("FROM ")[2], re.MULTILINE
    ):
        source = source.removeprefix("/smw/")
        if source.startswith("/"):
            continue  # Java and the packages
        assert stage or f"!{source}" in ignored, f"{source} is not in the build's context"
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / target, ignore=leave_out)
        else:
            file = folder / (source if target == "." else target)
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / source, file)
    copy_compiled(folder)  # as RUN python -m jobs.warm_up has them


class Containers:
    """Services as processes of `processes`, in `folder`; its image/ holds the image."""

    def __init__(self, services: dict[str, dict], folder: Path, processes: Processes):
        self._services, self._folder, self._processes = services, folder, processes
        self._start_again: dict[str, Callable[[], None]] = {}
        self.image = folder / "image"
        self.brokers = [name for name in services if name.startswith("kafka")]
        ends = [(name, port) for name, listens in (LISTENS | dict.fromkeys(self.brokers, KAFKA_LISTENS)).items() for port in listens]
        self._port_of = {end: ports.free_port() for end in ends}
        (folder / "without").mkdir()
        (folder / "without" / "chdb.py").write_text("raise ImportError('the image has no chdb')\n")

    def address(self, name: str, port: int) -> str:
        """Where a port of a service is."""
        return f"127.0.0.1:{self._port_of[name, port]}"

    def start(self, name: str, number: int = 1, ends: bool = False, **instead: str) -> None:
        """Start a service; instead: what the test has in place of a word of its command."""
        words = [instead.get(word, word) for word in self._in_image(name, self._services[name]["command"])]
        self._processes.start(f"{name}.{number}", words, self._environ(name), ends)
        if name in ("taskmanager", "pipeline"):
            self._start_again[f"{name}.{number}"] = partial(self.start, name, number)

    def check(self) -> None:
        """Fails when a process has ended by itself, except a TaskManager or who submits the job: they start again, as Docker would have it.

        PyFlink 2.2 may end a TaskManager whose tasks are cancelled. A job is not submitted while Kafka is too busy to answer.
        """
        for name, start_again in list(self._start_again.items()):
            if self._processes.children[name].poll() is not None:
                self.stop(name)
                start_again()
        self._processes.check()

    def until(self, condition: Callable[[], T], progress: Callable[[], object] = lambda: None) -> T:
        """The first true value of condition(), as tests.waiting.until has it. Meanwhile the processes are checked."""
        return until(lambda: self.check() or condition(), progress)

    def run(self, name: str) -> None:
        """Run a service that ends; again while it fails, as Docker would do."""
        assert self._services[name]["restart"] == "on-failure"
        self.until(lambda: self._succeeds(name))

    def _succeeds(self, name: str) -> bool:
        self.start(name, ends=True)
        code = self.ended(f"{name}.1")
        self.stop(f"{name}.1")
        return code == 0

    def smw(self, *words: str) -> subprocess.CompletedProcess[str]:
        """docker compose run smw; without words its own command."""
        service = self._services["smw"]
        command = self._in_image("smw", [*service["entrypoint"], *(words or service["command"])])
        return subprocess.run(command, env=self._environ("smw"), capture_output=True, text=True)

    def start_broker(self, name: str) -> None:
        """As the image does: Kafka's own program makes its properties of the environment, and formats the storage once."""
        folder = self._folder / f"{name}.config"
        for kind in ("default", "mounted", "final"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        for file in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
            (folder / "default" / file).touch()
        java = f"java {QUICK_START} -Dlog4j2.level=WARN -cp '{JARS}/kafka/*'"
        self._processes.start(
            name,
            [
                "sh",
                "-ec",
                f"""cd '{folder}'
            dirs="--default-configs-dir default --mounted-configs-dir mounted --final-configs-dir final"
            result=$({java} kafka.docker.KafkaDockerWrapper setup $dirs 2>&1) ||
                echo "$result" | grep "already formatted" || {{ echo "$result"; exit 1; }}
            exec {java} $KAFKA_HEAP_OPTS kafka.Kafka final/server.properties""",
            ],
            self._environ(name),
        )

    def start_registry(self) -> None:
        """As its image does, but in memory: its kind that keeps schemas in Kafka comes as an image only."""
        host, port = self.address("registry", 8080).split(":")
        [jar] = (JARS / "registry").glob("*-runner.jar")
        self._processes.start(
            "registry",
            ["java", *broker.QUICK_START, "-Xmx256m", f"-Dquarkus.http.host={host}", f"-Dquarkus.http.port={port}", "-jar", str(jar)],
            self._environ("registry"),
        )

    def ended(self, name: str) -> int:
        """What a process that ends by itself ends with."""
        return self._processes.children[name].wait(STILL_S)

    def stop(self, name: str) -> None:
        self._start_again.pop(name, None)
        self._processes.stop(name)

    def healthy(self, name: str) -> bool:
        """Whether a service passes its health check, or the image's with the address that it finds by the container's first process."""
        service = self._services[name]
        of_image = ["CMD", "python", "docker/health.py", *addresses(service)]
        kind, *words = service.get("healthcheck", {}).get("test", of_image)
        command = self._in_image(name, words if kind == "CMD" else ["sh", "-c", *words])
        return subprocess.run(command, env=self._environ(name), capture_output=True).returncode == 0

    def _in_image(self, name: str, words: list[str]) -> list[str]:
        return ["env", f"--chdir={self.image}", *(self._here(name, word) for word in words)]

    def _environ(self, name: str) -> dict[str, str]:
        """A service's environment, and that of the image."""
        folder = self._folder
        return (
            CLOCK
            | {
                "PATH": f"{FLINK_BIN}:{BIN}:{os.environ['PATH']}",
                "PYTHONPATH": f"{self.image}:{folder / 'without'}",
                "SMW_HOME": str(folder / "home"),
                "SMW_SINK_METRICS_PORT": str(self._port_of["sink", Settings().stack.sink_metrics_port]),
                "SMW_NOTIFY_METRICS_PORT": str(self._port_of["notify", Settings().notify.metrics_port]),
                "SMW_GATEWAY_METRICS_PORT": str(self._port_of["gateway", Settings().gateway.metrics_port]),
                "FLINK_LOG_DIR": str(folder),
                "FLINK_PID_DIR": str(folder),
                "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1",  # also of the JVMs that Flink's scripts start first
                "JVM_ARGS": f"-XX:+UseSerialGC -Djava.io.tmpdir={folder}",
            }
            | {key: self._here(name, value) for key, value in self._services[name].get("environment", {}).items()}
        )

    def _here(self, name: str, text: str) -> str:
        """A text of a service with this machine's addresses and folders."""
        if text in LISTENS:
            return "127.0.0.1"
        for volume in self._services[name].get("volumes", []):
            if "source" in volume:
                text = text.replace(volume["target"], str(self._folder / volume["source"]))
        for port in self._services[name].get("ports", []):
            if name in self.brokers:
                text = text.replace(f"EXTERNAL://127.0.0.1:{port['published']}", f"EXTERNAL://{self.address(name, port['target'])}")
        text = re.sub(r"brokers:(\d+)", lambda found: ",".join(self.address(broker, int(found[1])) for broker in self.brokers), text)
        for (host, port), here in sorted(self._port_of.items(), key=lambda item: item[0][0] != name):  # its own ports first
            text = re.sub(rf"(?<![\w-]){host}:{port}\b", f"127.0.0.1:{here}", text)
            if host == name:
                text = text.replace(f"/dev/tcp/127.0.0.1/{port}", f"/dev/tcp/127.0.0.1/{here}")
                text = re.sub(rf"(//)?(127\.0\.0\.1|localhost|(?<=//)):{port}\b", lambda found: f"{found[1] or ''}127.0.0.1:{here}", text)
            if host in LISTENS:
                text = re.sub(rf"port={port}\b", f"port={here}", text)
        return re.sub(r"0\.0\.0\.0|\$\(hostname\)|(?<==)jobmanager\b", "127.0.0.1", text)
