"""Runs a job on its own Flink on this machine, watches it, and restarts it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from smartmeter import logs
from smartmeter.folders import private_folder
from smartmeter.kafka import connection
from smartmeter.run import LIVE, Run
from smartmeter.settings import ROOT, Settings
from stack import metrics_gateway, rest_keys
from stack.flink import Flink, Standstill, TaskManagers
from stack.machine import END_WITHOUT_MEMORY
from stack.ports import LOOPBACK, free_port, require_free_port
from stack.processes import Processes, Watch
from stack.savepoints import newest_state, restore_options, run_from, state_to_start_from

FLINK_PAGE = "flink_page"
FLINK = Path(sysconfig.get_path("purelib")) / "pyflink"
PIPELINE_JOB = ROOT / "jobs" / "pipeline.py"


def start_job(
    processes: Processes,
    settings: Settings,
    job_file: Path = PIPELINE_JOB,
    ends: bool = False,
    savepoint: str | None = None,
    run: Run = LIVE,
) -> None:
    """Submit a job to its own Flink, whose web page is at settings.flink.ui_port.

    The job starts from the savepoint, else from its newest checkpoint or savepoint, else from the beginning. ends: it may end
    by itself. Raises UserError when Kafka cannot be used, as Flink would retry forever.

    PyFlink 2.2 may end the TaskManager when tasks are cancelled, for example after a Python worker has died. A Flink in one process
    starts no other, so its job would wait forever. This restarts both then, and also if the job stands still or memory runs out.
    """
    connection.require_broker(settings)
    page = f"{LOOPBACK}:{settings.flink.ui_port}"
    shutil.rmtree(settings.stack.home / "tmp", ignore_errors=True)  # left behind by a killed Flink
    if not settings.flink.checkpoint_dir:
        private_folder(settings.stack.home / "checkpoints")
        private_folder(settings.stack.home / "savepoints")
    state, newest = state_to_start_from(settings, job_file.stem, savepoint), newest_state(settings, job_file.stem)
    rest_port = free_port()
    own_run = run_from(state) if run == LIVE else run
    command = flink_run_command(settings, job_file, restore_options(state), rest_port)
    start_page(processes, settings, job_file.stem, rest_port)
    processes.start(job_file.stem, command, flink_environ(settings, job_file.stem, own_run), ends)

    def start_again() -> None:
        none_since = newest_state(settings, job_file.stem) == newest
        start_job(processes, settings, job_file, ends, savepoint if none_since else None, run)

    flink = Flink(page, timeout_s=1)
    task_managers, standstill = TaskManagers(flink), Standstill(flink, settings.flink.standstill_s)

    def fault() -> str | None:
        if task_managers.are_lost():
            return "has lost its TaskManager"
        return f"has stood still for {settings.flink.standstill_s:.0f} s" if standstill.is_found() else None

    processes.watched[job_file.stem] = Watch(fault, start_again)


def start_page(processes: Processes, settings: Settings, job: str, rest_port: int) -> None:
    """Start the server of the web page of a job's Flink. It replaces an earlier Flink's."""
    if FLINK_PAGE in processes.children:
        processes.stop(FLINK_PAGE)
    require_free_port(f"{LOOPBACK}:{settings.flink.ui_port}", "SMW_FLINK_UI_PORT")
    processes.start(
        FLINK_PAGE,
        [sys.executable, "-P", "-m", "stack.flink_page", f"{LOOPBACK}:{rest_port}", f"--keys={rest_keys_of(settings, job)}"],
        settings.environ(),
    )


def rest_keys_of(settings: Settings, job: str) -> Path:
    """The folder of the keys for the REST port of a job's Flink."""
    return settings.stack.home.resolve() / "run" / "rest_keys" / job


def flink_run_command(settings: Settings, job_file: Path, options: Sequence[str] = (), rest_port: int = 0) -> list[str]:
    """The command that runs a job on a Flink in its own process, until the job ends.

    rest_port: its REST port; 0: any free one. As a page in a browser could find any port, the port only accepts clients with the key that
    this function makes. Submitting and ending jobs through it is switched off too, as nothing needs that.
    """
    keys = rest_keys_of(settings, job_file.stem)
    rest_keys.make(keys)
    values = {
        "taskmanager.numberOfTaskSlots": settings.flink.parallelism,
        "rest.bind-port": rest_port,
        "rest.bind-address": LOOPBACK,
        **rest_keys.flink_options(keys),
        "web.submit.enable": "false",
        "web.cancel.enable": "false",
        "web.rescale.enable": "false",
        "web.access-control-allow-origin": f"http://{LOOPBACK}:{settings.flink.ui_port}",
        "io.tmp.dirs": settings.stack.home / "tmp",
        "python.pythonpath": ROOT,
        **reporter_options(settings),
    }
    return [
        str(FLINK / "bin" / "flink"),
        "run",
        "--target",
        "local",
        *options,
        *(argument for name, value in values.items() for argument in ("-D", f"{name}={value}")),
        "-pyexec",
        sys.executable,
        "-pyclientexec",
        sys.executable,
        "-py",
        str(job_file),
    ]


def reporter_options(settings: Settings) -> dict[str, str]:
    """Options that make Flink push its metrics to stack.metrics_gateway."""
    if not settings.stack.flink_metrics_port:
        return {}
    options = {
        "factory.class": "org.apache.flink.metrics.prometheus.PrometheusPushGatewayReporterFactory",
        "hostUrl": f"http://{settings.stack.metrics_address}:{settings.stack.flink_metrics_port}",
        "jobName": "flink",
        "randomJobNameSuffix": "false",
        "interval": f"{metrics_gateway.PUSH_EVERY_S} s",
    }
    return {f"metrics.reporter.prom.{name}": value for name, value in options.items()}


def flink_environ(settings: Settings, job: str = "flink", run: Run = LIVE) -> dict[str, str]:
    """The environment of that command: the settings, the run, and options of Flink's JVM and logs.

    It holds no password: Flink's Python workers inherit this environment, and Flink logs it when a job fails.
    The JVM's second compiler is off: Flink has little to compute here, and for the first minute the compiler would cost more than the job.
    """
    tmp = private_folder(settings.stack.home / "tmp").resolve()  # a job in it holds Kafka's password
    options = ["-Xmx1g", END_WITHOUT_MEMORY, "-XX:+UseParallelGC", "-XX:TieredStopAtLevel=1", *logs.java_options(job)]
    if not re.search(r"[\s*?[]", str(tmp)):  # Flink's script splits the options at blanks, and expands patterns
        options.append(f"-Djava.io.tmpdir={tmp}")  # a killed Flink leaves 42 MB there, and the next start removes them
    # A Flink in one process loads no reporter from its plugins. The jars in this variable are added to Flink's own class path.
    classes = [*map(str, FLINK.glob("plugins/metrics-prometheus/*.jar")), *os.environ.get("HADOOP_CLASSPATH", "").split(":")]
    return (
        settings.environ_without_secrets(settings.stack.home / "run")
        | run.environ()
        | {
            "FLINK_LOG_DIR": str(settings.stack.home / "logs"),
            "JVM_ARGS": " ".join(options),
            "HADOOP_CLASSPATH": ":".join(filter(None, classes)),
        }
    )
