"""A Flink cluster as remote as one on this machine can be: its processes have no access to this checkout or its packages.

Unless they stand for nodes of the project's image: sending the packages with each of eight jobs takes minutes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smartmeter.errors import UserError
from smartmeter.settings import ROOT
from stack import broker, local_flink, ports
from stack.flink import Flink, TaskManagers
from stack.processes import MARK, Processes, marked
from tests.processes import CLOCK
from tests.waiting import STILL_S, until

TASKMANAGERS = ("taskmanager1", "taskmanager2")
NODES = ("jobmanager", *TASKMANAGERS)
SLOTS = 2
CONFIGURATION = """\
env.java.opts.all: {java_options}
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc_port}
jobmanager.bind-host: 127.0.0.1
jobmanager.memory.process.size: 900m
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.memory.process.size: 1384m
taskmanager.memory.jvm-metaspace.size: 640m
taskmanager.memory.managed.size: 64m
taskmanager.memory.network.fraction: 0.1
taskmanager.numberOfTaskSlots: {slots}
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest_port}
heartbeat.interval: 1000
task.cancellation.timeout: 10000
io.tmp.dirs: {folder}/tmp
"""


class Cluster:
    """A JobManager and two TaskManagers, of two slots each.

    Its nodes have the code and packages, as the project's image does. Those that replace_nodes puts in their place have none.
    """

    def __init__(self, processes: Processes, folder: Path):
        self.processes, self.folder = processes, folder
        self.have_packages = True
        rpc_port, rest_port = ports.free_port(), ports.free_port()
        self.address = f"127.0.0.1:{rest_port}"
        self.flink = Flink(self.address)
        self.home = local_flink.FLINK
        [java_options] = [
            line.split(": ", 1)[1]
            for line in (self.home / "conf" / "config.yaml").read_text().splitlines()
            if line.strip().startswith("all: ")
        ]
        shutil.copytree(self.home / "conf", folder / "conf")
        (folder / "conf" / "config.yaml").write_text(
            CONFIGURATION.format(java_options=java_options, folder=folder, rpc_port=rpc_port, rest_port=rest_port, slots=SLOTS)
        )
        for name in NODES:
            self.start(name)
        self.complete()

    def start(self, name: str) -> None:
        """Start one of its processes: with no environment variable but these, and in a folder of its own."""
        java = os.defpath if shutil.which("java", path=os.defpath) else f"{Path(shutil.which('java')).parent}:{os.defpath}"
        packages = {"PATH": f"{Path(sys.executable).parent}:{java}", "PYTHONPATH": str(ROOT)} if self.have_packages else {}
        environ = CLOCK | {
            "PATH": java,
            "HOME": str(self.folder),
            "FLINK_CONF_DIR": f"{self.folder}/conf",
            "FLINK_LOG_DIR": f"{self.folder}/log",
            "JAVA_TOOL_OPTIONS": " ".join(broker.QUICK_START),  # also of the JVMs that Flink's scripts start before it
            MARK: str(self.processes.run / f"{name}.pid"),
            **packages,
        }
        self.processes.start(
            name,
            [
                "env",
                "--ignore-environment",
                f"--chdir={self.folder}",
                *(f"{key}={value}" for key, value in environ.items()),
                str(self.home / "bin" / f"{name.rstrip('12')}.sh"),
                "start-foreground",
            ],
            {},
        )

    def replace_nodes(self) -> None:
        """Have bare nodes in place of the TaskManagers, once the cluster has noticed that those are lost."""
        lost = TaskManagers(self.flink)
        assert not lost.are_lost()
        for name in TASKMANAGERS:
            self.processes.stop(name)
        until(lost.are_lost)
        self.have_packages = False
        for name in TASKMANAGERS:
            self.start(name)
        until(lambda: not lost.are_lost())
        self.complete()

    def complete(self) -> None:
        """Wait until all nodes are there, those included that ended by themselves."""
        until(lambda: self.tend() or self.slots() == 2 * SLOTS)

    def slots(self) -> int:
        try:
            return self.flink.slots()[1]
        except UserError:
            return 0

    def kill(self, name: str) -> None:
        """kill -9 one of its processes with all its children, and start it again, as a supervisor would."""
        for pid in marked(self.processes.run / f"{name}.pid"):
            os.kill(pid, signal.SIGKILL)
        self.processes.stop(name)
        self.start(name)

    def tend(self) -> None:
        """Start again what has ended by itself, as a supervisor would. PyFlink 2.2 may end a TaskManager whose tasks are cancelled."""
        for name in NODES:
            if self.processes.children[name].poll() is not None:
                self.processes.stop(name)
                self.start(name)

    def smw(self, settings, *arguments: str) -> str:
        """The output of ./smw with these arguments, for this cluster."""
        done = self.run(settings, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        print(done.stderr)
        return done.stdout if arguments[0] == "savepoint" else done.stderr

    def refused(self, settings, *arguments: str) -> str:
        """The one sentence with which ./smw with these arguments ends."""
        done = self.run(settings, *arguments)
        [sentence] = done.stderr.splitlines()
        assert done.returncode == 1 and sentence.startswith("smw: ")
        return sentence

    def run(self, settings, *arguments: str) -> subprocess.CompletedProcess:
        begun = self.begin(settings, *arguments)
        out, err = begun.communicate(timeout=STILL_S)
        return subprocess.CompletedProcess(begun.args, begun.returncode, out, err)

    def begin(self, settings, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [ROOT / "smw", *arguments, "--jobmanager", self.address],
            env=os.environ | settings.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="package")
def cluster(processes, tmp_path_factory):
    cluster = Cluster(processes, tmp_path_factory.mktemp("cluster"))
    yield cluster
    for name in reversed(NODES):
        processes.stop(name)
