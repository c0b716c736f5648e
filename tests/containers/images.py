"""The images that the containers need: the project's own, and stand-ins for those that no registry gives."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from smartmeter.settings import ROOT
from tests.containers.engine import docker
from tests.stack.containers import CLUSTER, COMPOSE, DOCKERFILE, services

PROJECT = "smart-meter-watchdog"
STAND_INS = ROOT / "tests" / "containers" / "images" / "Dockerfile"
AUTHORITIES = Path("/usr/local/share/ca-certificates")
"""Where Debian keeps the certificates that this machine trusts beside the usual ones."""
MARK = "smart-meter-watchdog.stand-in"
"""Label of the stand-ins."""
DEBIAN = "debian:bookworm-slim"
NOT_SLIM = ("usr/share/doc/*", "usr/share/info/*", "usr/share/locale/*", "usr/share/man/*", "var/cache/apt", "var/lib/apt/lists/*")
"""What Debian's slim images do not have."""
STAGE_OF = {
    "python": "python",
    "maven": "maven",
    "apache/kafka": "kafka",
    "apicurio/apicurio-registry-kafkasql": "registry",
    "clickhouse/clickhouse-server": "clickhouse",
    "eclipse-mosquitto": "mosquitto",
}
"""Image -> the stage that makes its stand-in. There is none for Prometheus and Grafana."""


def provide_images() -> None:
    """Have all images that docker-compose.yml needs in the engine, the project's built of its Dockerfile as it is."""
    for image in re.findall(r"^FROM (\S+:\S+)", DOCKERFILE.read_text(), re.MULTILINE):
        provide(image)
    build(DOCKERFILE, f"{PROJECT}:local")
    for image in {service["image"] for service in services(COMPOSE, CLUSTER).values()}:
        if image.partition(":")[0] in STAGE_OF:
            provide(image)


def provide(image: str) -> None:
    """Pull an image unless it is there, or else make its stand-in; a stand-in is brought up to date."""
    is_there, is_stand_in = docker("images", "--quiet", image), docker("images", "--quiet", f"--filter=label={MARK}", image)
    if (is_there and not is_stand_in) or pulled(image):
        return
    if not docker("images", "--quiet", DEBIAN) and not pulled(DEBIAN):
        make_debian()
    name, version = image.split(":")
    options = f"--target={STAGE_OF[name]}", f"--build-arg=version={version}", f"--build-context=authorities={AUTHORITIES}"
    build(STAND_INS, image, f"--label={MARK}", *options)


def pulled(image: str) -> bool:
    return subprocess.run(["docker", "pull", "--quiet", image], capture_output=True).returncode == 0


def make_debian() -> None:
    """Debian of its own packages, without their documentation, as its slim images are."""
    with TemporaryDirectory() as parent:
        folder = f"{parent}/debian"  # all may read it, other than its parent
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", folder], check=True, capture_output=True)
        without = [f"--exclude=./{path}" for path in NOT_SLIM]
        with subprocess.Popen(["tar", "--directory", folder, *without, "--create", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(["docker", "import", "-", DEBIAN], stdin=tar.stdout, check=True, capture_output=True)


def build(dockerfile: Path, image: str, *options: str) -> None:
    """Build an image in the project's folder."""
    docker("buildx", "build", "--quiet", "--provenance=false", f"--file={dockerfile}", f"--tag={image}", *options, str(ROOT))
