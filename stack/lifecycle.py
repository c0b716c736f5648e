"""The local stack as a whole: starting it, keeping it running, and finding it from other commands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from smartmeter.errors import UserError
from smartmeter.folders import private_folder
from smartmeter.kafka.topic_admin import create_topics
from smartmeter.locks import exclusive
from smartmeter.settings import Settings
from stack.broker import start_broker
from stack.local_flink import PIPELINE_JOB, start_job
from stack.ports import LOOPBACK
from stack.processes import Processes, marked
from stack.services import metrics_urls, start_endpoint, start_gateway, start_meter_gateway, start_notify, start_sink

PAUSE = "run/pause"
"""A file that is locked during a pause. The stack removes it once its job runs again."""
POLL_S = 1


def start(processes: Processes, settings: Settings, savepoint: str | None = None) -> None:
    """Start all of it: broker and topics, endpoint, sink, notify, gateway, metrics gateway, job (from the savepoint, if one is given)."""
    start_broker(processes, settings)
    create_topics(settings)
    start_endpoint(processes, settings)
    start_sink(processes, settings)
    start_notify(processes, settings)
    start_meter_gateway(processes, settings)
    start_gateway(processes, settings)
    start_job(processes, settings, ends=True, savepoint=savepoint)


def stay(processes: Processes, settings: Settings) -> None:
    """Keep the stack running until its job is stopped with a savepoint. Raises UserError when one of its processes ends by itself.

    A job that a command has stopped in a pause is started again after it.
    """
    pause = settings.stack.home / PAUSE
    while processes.children[PIPELINE_JOB.stem].poll() != 0 or pause.exists():
        processes.check()
        time.sleep(POLL_S)
        with ExitStack() as held:
            try:
                held.enter_context(exclusive(pause, create=False))
            except OSError:  # there is no pause, or it goes on
                continue
            if processes.children[PIPELINE_JOB.stem].poll() == 0:
                processes.stop(PIPELINE_JOB.stem)
                start_job(processes, settings, ends=True)
            pause.unlink()


@contextmanager
def paused(settings: Settings) -> Iterator[None]:
    """A pause, in which the end of the stack's job is not the end of the stack. Raises UserError if another command has one.

    It ends with the process, however that ends.
    """
    pause = settings.stack.home / PAUSE
    private_folder(pause.parent)
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(pause))
        except BlockingIOError:
            raise UserError("another command takes in older days: wait until it ends") from None
        if not pause.exists():  # the stack has removed it in between
            raise UserError("the stack has just started its job again: run the command again")
        yield


def demo_home(settings: Settings) -> Path:
    """The folder of ./smw demo, separate from the stack's, as the demo deletes earlier data when it starts."""
    return settings.stack.home.resolve() / "demo"


def of_what_runs(settings: Settings) -> Settings:
    """The settings of whatever runs at settings.kafka.address: the demo's if its broker runs there, else unchanged."""
    home = demo_home(settings)
    properties = home / "kafka.properties"
    listens = f"listeners=PLAINTEXT://{settings.kafka.address},"
    is_demo = properties.is_file() and listens in properties.read_text() and marked(home / "run" / "kafka.pid")
    return settings.but(home=home) if is_demo else settings


def addresses(settings: Settings) -> str:
    """The addresses of the stack's services, as a few lines of text."""
    return f"""
Kafka:       {settings.kafka.address}
ClickHouse:  {settings.clickhouse.url} (user {settings.clickhouse.reader}, read-only)
Flink:       http://{LOOPBACK}:{settings.flink.ui_port}
Metrics:     {" ".join(metrics_urls(settings).values()) or "none"}
Logs:        {settings.stack.home / "logs"}"""
