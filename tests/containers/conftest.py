from __future__ import annotations

import pytest

from tests.containers.engine import Compose, require_engine
from tests.containers.images import provide_images


@pytest.fixture(scope="session", autouse=True)
def images():
    """The images of all containers, in an engine."""
    require_engine()
    provide_images()


@pytest.fixture(scope="module")
def started():
    """Start docker-compose.yml with other files and variables; each is removed in the end, with its volumes."""
    begun: list[Compose] = []

    def start(*files: str, **environ: str) -> Compose:
        begun.append(Compose(*files, **environ))
        begun[-1].down()  # what a run left that was killed
        begun[-1].up()
        return begun[-1]

    yield start
    for compose in begun:
        compose.down()
