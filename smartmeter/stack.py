"""The local stack: a Kafka broker in KRaft mode, the ClickHouse endpoint, the sink, jobs on a local Flink, the dashboard.

Each start_ function returns once its part answers; `processes` ends them all.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic

from smartmeter import gateway, kafka, logs, machine, rest_keys, topics
from smartmeter.errors import UserError
from smartmeter.flink import Flink, Standstill, TaskManagers
from smartmeter.folders import private_folder
from smartmeter.framing import framing
from smartmeter.processes import Processes, Watch, marked
from smartmeter.reserved_ports import reserve
from smartmeter.savepoints import newest_state, restore_options, state_to_start_from
from smartmeter.settings import JARS, ROOT, Settings

LOOPBACK = "127.0.0.1"
FLINK_PAGE = "flink_page"
FIRST_OUTGOING_PORT = 32_768  # Linux gives outgoing connections ports from here on
FLINK = Path(sysconfig.get_path("purelib")) / "pyflink"
END_WITHOUT_MEMORY = "-XX:+ExitOnOutOfMemoryError"
"""A JVM that has lost a thread to the want of memory stands still, and seems to run."""
PIPELINE_JOB = ROOT / "jobs" / "pipeline.py"

BROKER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://{address}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.cleaner.dedupe.buffer.size=16777216
message.max.bytes=8388608
# A message's time is that of its readings, which may be years ago: no message is too old, none is deleted by age.
log.message.timestamp.type=CreateTime
log.message.timestamp.before.max.ms=9223372036854775807
log.message.timestamp.after.max.ms=9223372036854775807
log.retention.ms=-1
"""


def start(processes: Processes, settings: Settings, savepoint: str | None = None) -> None:
    """Start all of it: broker and topics, endpoint, sink, job (from the savepoint, where one is given)."""
    start_broker(processes, settings)
    create_topics(settings)
    start_endpoint(processes, settings)
    start_sink(processes, settings)
    start_gateway(processes, settings)
    start_job(processes, settings, ends=True, savepoint=savepoint)


def stay(processes: Processes) -> None:
    """Keep the stack until its job is stopped with a savepoint. Raises UserError when one of its processes ends by itself."""
    while processes.children[PIPELINE_JOB.stem].poll() != 0:
        processes.check()
        time.sleep(1)


def demo_home(settings: Settings) -> Path:
    """The folder of ./smw demo, which begins anew each time, so that it takes nothing from the stack that is there."""
    return settings.home.resolve() / "demo"


def of_what_runs(settings: Settings) -> Settings:
    """The settings for what runs at settings.kafka: those of the demo, while its broker is there, else as they are."""
    home = demo_home(settings)
    properties = home / "kafka.properties"
    is_demo = properties.is_file() and f"listeners=PLAINTEXT://{settings.kafka}," in properties.read_text() and marked(home / "run" / "kafka.pid")
    return replace(settings, home=home) if is_demo else settings


def start_broker(processes: Processes, settings: Settings) -> None:
    """Start the broker at settings.kafka; its data is kept in settings.home/kafka."""
    if settings.kafka_tls or settings.kafka_user:
        raise UserError("the local broker takes neither TLS nor users: unset SMW_KAFKA_TLS and SMW_KAFKA_USER")
    require_free_port(settings.kafka, "SMW_KAFKA")
    require_free_port(f"{LOOPBACK}:{settings.kafka_controller_port}", "SMW_KAFKA_CONTROLLER_PORT")
    data = settings.home / "kafka"
    private_folder(data)
    properties = settings.home / "kafka.properties"
    properties.write_text(BROKER_PROPERTIES.format(
        address=settings.kafka, controller_port=settings.kafka_controller_port, data=data))
    java = [machine.java(), "-Xms128m", "-Xmx768m", END_WITHOUT_MEMORY, *logs.java_options("kafka", "WARN"), "-cp", str(JARS / "kafka" / "*")]
    if not (data / "meta.properties").exists():
        cluster_id = f"--cluster-id={secrets.token_urlsafe(16)}"
        subprocess.run([*java, "kafka.tools.StorageTool", "format", cluster_id, "--config", str(properties)],
                       check=True, capture_output=True)
    processes.start("kafka", [*java, "kafka.Kafka", str(properties)], {})
    processes.wait_until(lambda: broker_answers(settings), f"no Kafka broker answers at {settings.kafka}")


def broker_answers(settings: Settings) -> bool:
    if not is_listening(settings.kafka):
        return False
    try:
        kafka.admin(settings).list_topics(timeout=1)
        return True
    except KafkaException:
        return False


def create_topics(settings: Settings) -> None:
    """Create the topics that are not there yet, and have a registry know their schemas. Raises UserError when either cannot be used, or refuses."""
    framing(settings)
    kafka.require_broker(settings)
    client = kafka.admin(settings)  # its futures end with it
    there = client.list_topics(timeout=kafka.PATIENCE_S).topics
    new = [
        NewTopic(full, settings.partitions, settings.replication or -1, config=topics.configuration(settings, name, settings.partitions))
        for name in topics.SCHEMA_OF if (full := topics.topic(settings, name)) not in there
    ]
    for created in client.create_topics(new, request_timeout=5).values() if new else ():
        try:
            created.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise kafka.failure(error, settings) from None


def start_endpoint(processes: Processes, settings: Settings) -> None:
    """Start the ClickHouse endpoint at settings.clickhouse_url, and again whenever it crashes; its data is kept in settings.home."""
    require_free_port(urlsplit(settings.clickhouse_url).netloc, "SMW_CLICKHOUSE_URL")
    processes.start("endpoint", [sys.executable, "-P", "-m", "store.endpoint"], settings.environ())
    processes.wait_until(lambda: endpoint_answers(settings), f"no ClickHouse endpoint answers at {settings.clickhouse_url}")
    processes.watched["endpoint"] = Watch(lambda: None, lambda: start_endpoint(processes, settings))


def endpoint_answers(settings: Settings) -> bool:
    return answers(f"{settings.clickhouse_url}/ping", settings.clickhouse_ca)


def answers(url: str, authorities: str = "") -> bool:
    """Whether an HTTP server answers; authorities: the PEM file of those to be trusted, if not the system's."""
    try:
        with urlopen(url, timeout=1, context=ssl.create_default_context(cafile=authorities or None)) as answer:
            return answer.status == 200
    except OSError:
        return False


def start_sink(processes: Processes, settings: Settings) -> None:
    """Start the sink, from the topics to ClickHouse."""
    if settings.sink_metrics_port:
        require_free_port(f"{settings.metrics_address}:{settings.sink_metrics_port}", "SMW_SINK_METRICS_PORT")
    processes.start("sink", [sys.executable, "-P", "-m", "store.sink"], settings.environ())


def start_gateway(processes: Processes, settings: Settings) -> None:
    """Start what serves Flink's metrics, unless SMW_FLINK_METRICS_PORT is 0."""
    if settings.flink_metrics_port:
        require_free_port(f"{settings.metrics_address}:{settings.flink_metrics_port}", "SMW_FLINK_METRICS_PORT")
        processes.start("metrics", [sys.executable, "-P", "-m", "smartmeter.gateway"], settings.environ())


def start_dashboard(processes: Processes, settings: Settings) -> None:
    """Start the dashboard at settings.dashboard_address and _port."""
    require_free_port(f"{settings.dashboard_address}:{settings.dashboard_port}", "SMW_DASHBOARD_PORT")
    processes.start("dashboard", [
        sys.executable, "-P", "-m", "streamlit", "run", str(ROOT / "dashboard" / "server.py"),
        "--server.address", settings.dashboard_address, "--server.port", str(settings.dashboard_port),
        "--logger.messageFormat", "%(levelname)s %(message)s"], settings.environ())
    url = dashboard_url(settings)
    processes.wait_until(lambda: answers(f"{url}/_stcore/health"), f"no dashboard answers at {url}")


def dashboard_url(settings: Settings) -> str:
    return f"http://{settings.dashboard_address}:{settings.dashboard_port}"


def start_job(processes: Processes, settings: Settings, job_file: Path = PIPELINE_JOB, ends: bool = False,
              savepoint: str | None = None) -> None:
    """Submit a job to a Flink of its own, whose web page is at settings.flink_ui_port.

    It goes on from the savepoint, else from its newest checkpoint or savepoint, else it begins anew. ends: it may end
    by itself. Raises UserError when Kafka cannot be used: Flink would try again for ever.

    PyFlink 2.2 may end the TaskManager when tasks are cancelled, such as when a Python worker has died. A Flink within one process
    starts no other, and its job would wait for ever. So both are started again then, as when the job stands still or memory runs out.
    """
    kafka.require_broker(settings)
    page = f"{LOOPBACK}:{settings.flink_ui_port}"
    shutil.rmtree(settings.home / "tmp", ignore_errors=True)  # what a Flink that was killed left there
    private_folder(settings.home / "tmp")  # for the job, which holds the password of Kafka
    if not settings.checkpoint_dir:
        private_folder(settings.home / "checkpoints")
        private_folder(settings.home / "savepoints")
    state, newest = state_to_start_from(settings, job_file.stem, savepoint), newest_state(settings, job_file.stem)
    rest_port = free_port()
    command = flink_run_command(settings, job_file, restore_options(state), rest_port)
    start_page(processes, settings, job_file.stem, rest_port)
    processes.start(job_file.stem, command, flink_environ(settings, job_file.stem), ends)

    def start_again() -> None:
        none_since = newest_state(settings, job_file.stem) == newest
        start_job(processes, settings, job_file, ends, savepoint if none_since else None)

    flink = Flink(page, timeout_s=1)
    task_managers, standstill = TaskManagers(flink), Standstill(flink, settings.standstill_s)

    def fault() -> str | None:
        if task_managers.are_lost():
            return "has lost its TaskManager"
        return f"has stood still for {settings.standstill_s:.0f} s" if standstill.is_found() else None

    processes.watched[job_file.stem] = Watch(fault, start_again)


def start_page(processes: Processes, settings: Settings, job: str, rest_port: int) -> None:
    """Start what serves the web page of a job's Flink, in the place of what served an earlier Flink's."""
    if FLINK_PAGE in processes.children:
        processes.stop(FLINK_PAGE)
    require_free_port(f"{LOOPBACK}:{settings.flink_ui_port}", "SMW_FLINK_UI_PORT")
    processes.start(FLINK_PAGE, [
        sys.executable, "-P", "-m", "smartmeter.flink_page", f"{LOOPBACK}:{rest_port}", f"--keys={rest_keys_of(settings, job)}"], settings.environ())


def rest_keys_of(settings: Settings, job: str) -> Path:
    """The folder of the keys of the REST port of a job's Flink."""
    return settings.home.resolve() / "run" / "rest_keys" / job


def flink_run_command(settings: Settings, job_file: Path, options: Sequence[str] = (), rest_port: int = 0) -> list[str]:
    """The command line that runs a job on a Flink within its own process, until the job ends.

    rest_port: where it answers REST; 0: at one that is free. It speaks with holders of a key alone, which this makes: a page in a browser could
    find any port. So nothing needs what can submit or end jobs, and that is off beside.
    """
    keys = rest_keys_of(settings, job_file.stem)
    rest_keys.make(keys)
    values = {
        "taskmanager.numberOfTaskSlots": settings.parallelism,
        "rest.bind-port": rest_port,
        "rest.bind-address": LOOPBACK,
        **rest_keys.flink_options(keys),
        "web.submit.enable": "false",
        "web.cancel.enable": "false",
        "web.rescale.enable": "false",
        "web.access-control-allow-origin": f"http://{LOOPBACK}:{settings.flink_ui_port}",
        "io.tmp.dirs": settings.home / "tmp",
        "python.pythonpath": ROOT,
        **reporter_options(settings),
    }
    return [
        str(FLINK / "bin" / "flink"), "run", "--target", "local", *options,
        *(part for name, value in values.items() for part in ("-D", f"{name}={value}")),
        "-pyexec", sys.executable, "-pyclientexec", sys.executable,
        "-py", str(job_file),
    ]


def reporter_options(settings: Settings) -> dict[str, str]:
    """Options that let Flink push its metrics to smartmeter.gateway."""
    if not settings.flink_metrics_port:
        return {}
    options = {
        "factory.class": "org.apache.flink.metrics.prometheus.PrometheusPushGatewayReporterFactory",
        "hostUrl": f"http://{settings.metrics_address}:{settings.flink_metrics_port}",
        "jobName": "flink",
        "randomJobNameSuffix": "false",
        "interval": f"{gateway.PUSH_EVERY_S} s",
    }
    return {f"metrics.reporter.prom.{name}": value for name, value in options.items()}


def flink_environ(settings: Settings, job: str = "flink") -> dict[str, str]:
    """The environment of that command: the settings, and how Flink's JVM runs and logs.

    No password is in it: when a job fails, Flink logs the environment of its Python workers, which is this.
    Flink has little to compute here. A JVM's second compiler would cost more than the whole job does for the first minute.
    """
    options = ["-Xmx1g", END_WITHOUT_MEMORY, "-XX:+UseParallelGC", "-XX:TieredStopAtLevel=1", *logs.java_options(job)]
    # A Flink within one process takes no reporter from its plugins. What this variable names goes onto Flink's own class path.
    classes = [*map(str, FLINK.glob("plugins/metrics-prometheus/*.jar")), *os.environ.get("HADOOP_CLASSPATH", "").split(":")]
    return settings.environ_without_secrets(settings.home / "run") | {
        "FLINK_LOG_DIR": str(settings.home / "logs"), "JVM_ARGS": " ".join(options), "HADOOP_CLASSPATH": ":".join(filter(None, classes))}


def addresses(settings: Settings) -> str:
    """Where the parts of the stack answer, in a few lines of text."""
    return f"""
Kafka:       {settings.kafka}
ClickHouse:  {settings.clickhouse_url} (user {settings.clickhouse_reader}, read-only)
Flink:       http://{LOOPBACK}:{settings.flink_ui_port}
Metrics:     {' '.join(metrics_urls(settings).values()) or 'none'}
Logs:        {settings.home / 'logs'}"""


def metrics_urls(settings: Settings) -> dict[str, str]:
    """Part -> where it serves its metrics for Prometheus, if it does."""
    ports = {"flink": settings.flink_metrics_port, "sink": settings.sink_metrics_port}
    return {part: f"http://{settings.metrics_address}:{port}/metrics" for part, port in ports.items() if port}


def with_free_ports(settings: Settings) -> Settings:
    """The settings with a free port in place of each that is taken, or 0 (but for metrics, where that is none); all are on the loopback address."""
    wanted = [host_and_port(settings.kafka, "SMW_KAFKA")[1], settings.kafka_controller_port,
              urlsplit(settings.clickhouse_url).port or 0, settings.flink_ui_port, settings.dashboard_port,
              settings.flink_metrics_port, settings.sink_metrics_port]
    with ExitStack() as held:  # all at once, so that they differ
        kafka, controller, clickhouse, flink, dashboard, flink_metrics, sink_metrics = (
            held.enter_context(listener_near(port)).getsockname()[1] for port in wanted)
    return replace(settings, kafka=f"{LOOPBACK}:{kafka}", kafka_controller_port=controller,
                   clickhouse_url=f"http://{LOOPBACK}:{clickhouse}", flink_ui_port=flink, dashboard_port=dashboard,
                   flink_metrics_port=settings.flink_metrics_port and flink_metrics,
                   sink_metrics_port=settings.sink_metrics_port and sink_metrics)


def with_free_flink_port(settings: Settings) -> Settings:
    """The settings with a free port for Flink's web page."""
    return replace(settings, flink_ui_port=free_port())


def free_port() -> int:
    """A free port, which listener_near gives to nobody else until this process ends."""
    with listener_near(0) as held:
        return int(held.getsockname()[1])


def listener_near(port: int) -> socket.socket:
    """A socket that listens at `port`, or at a free one that the system does not give to outgoing connections.

    The free one is reserved: who closes the socket and has another program listen there later finds it free.
    """
    for candidate in [*[port] * (port > 0), *random.sample(range(10_000, FIRST_OUTGOING_PORT), 1000)]:
        if candidate == port or reserve(candidate):
            with suppress(OSError):
                return socket.create_server((LOOPBACK, candidate))
    raise UserError(f"no port from 10000 to {FIRST_OUTGOING_PORT} is free at {LOOPBACK}")


def require_free_port(address: str, variable: str) -> None:
    """Raise UserError, naming the setting, when `address` (host:port) cannot be listened at."""
    host, port = host_and_port(address, variable)
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise UserError(f"port {port} at {host} is not free ({os.strerror(error.errno or 0)}): "
                        f"end the program that uses it, or set {variable} to another") from error


def is_listening(address: str) -> bool:
    """Whether anything accepts connections at `address` (host:port)."""
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        return True
    except OSError:
        return False


def host_and_port(address: str, variable: str) -> tuple[str, int]:
    """The parts of host:port. Raises UserError, naming the setting, for anything else."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"{variable}={address}: it takes host:port, such as {LOOPBACK}:9092")
    return host, int(port)
