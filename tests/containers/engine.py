"""A Docker engine, and Docker Compose on the project's files in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from smartmeter.settings import ROOT
from tests.stack.containers import COMPOSE, DOCKER_COMPOSE, SECRETS
from tests.waiting import until

NAME = "smw-test"
"""Of the containers, volumes and the network, apart from those of a user."""
OVERRIDE = "tests/containers/override.yml"
INSTALL = "install Docker Engine 25 or later, start it, and run this as root (CONTRIBUTING.md, Containers)"


def docker(*words: str) -> str:
    """What a command of Docker prints. Fails with its errors."""
    return printed(subprocess.run(["docker", *words], text=True, capture_output=True))


def printed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def require_engine() -> None:
    """End the run with one sentence if there is no engine."""
    try:
        answers = subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    except FileNotFoundError:
        answers = False
    if not answers or os.geteuid():
        pytest.exit(f"No Docker engine answers: {INSTALL}.", returncode=1)


class Compose:
    """The services of docker-compose.yml and other files, as containers. environ: what .env would have."""

    def __init__(self, *files: str, **environ: str) -> None:
        self._files = [f"--file={ROOT / file}" for file in (COMPOSE, *files, OVERRIDE)]
        self.environ = os.environ | SECRETS | environ

    def __call__(self, *words: str) -> str:
        """What docker compose prints. Fails with its errors."""
        return printed(self.run(*words))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """docker compose."""
        command = [DOCKER_COMPOSE, f"--project-name={NAME}", f"--project-directory={ROOT}", *self._files, *words]
        return subprocess.run(command, env=self.environ, text=True, capture_output=True)

    def up(self, *words: str) -> None:
        """Start what does not run, and wait until all is healthy. Compose gives up when something is not for too long on a busy machine."""
        until(lambda: self.run("up", "--detach", "--wait", *words).returncode == 0)

    def down(self) -> None:
        """Remove all containers and volumes."""
        self("--profile=*", "down", "--volumes", "--remove-orphans")

    def containers(self) -> dict[str, dict]:
        """Service and number, such as sink-1 -> what the engine reports of its container."""
        ids = docker("ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={NAME}").split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {container["Name"].removeprefix(f"/{NAME}-"): container for container in found}

    def healthy(self, name: str) -> bool:
        """Whether a container passes its health check."""
        return self.containers()[name]["State"].get("Health", {}).get("Status") == "healthy"

    def kill(self, name: str) -> None:
        """kill -9 a container's process, and wait until the engine has started it again, healthy."""
        before = until(lambda: (found := self.containers()[name])["State"]["Pid"] and found)  # it has none while it waits to be restarted
        os.kill(before["State"]["Pid"], signal.SIGKILL)
        until(lambda: self.containers()[name]["RestartCount"] > before["RestartCount"])
        until(lambda: self.healthy(name))

    def check(self) -> None:
        """Fail when a container has not enough memory."""
        assert not [name for name, container in self.containers().items() if container["State"]["OOMKilled"]]
