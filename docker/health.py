"""A container's health check: exits with 0 if an address answers, and the answer contains a text.

python docker/health.py             the address of the program that the container runs; without one, the program is healthy while it runs
python docker/health.py URL [TEXT]  another address
"""

import sys
from pathlib import Path
from urllib.request import urlopen

ADDRESS_OF = {
    "store.sink": "http://127.0.0.1:9250/metrics",
    "notify.service": "http://127.0.0.1:9251/metrics",
    "gateway.service": "http://127.0.0.1:9252/metrics",
    "dashboard/server.py": "http://127.0.0.1:8501/_stcore/health",
    "stack.flink_page": "http://127.0.0.1:8081/overview",
    "jobmanager.sh": "http://127.0.0.1:8081/overview",
}
"""Argument of a command -> the address at which its program answers."""


def addresses(arguments: list[str]) -> list[str]:
    """The addresses at which a program answers, by the arguments with which it was started."""
    return [ADDRESS_OF[argument] for argument in arguments if argument in ADDRESS_OF]


if __name__ == "__main__":
    first_process = Path("/proc/1/cmdline").read_text().split("\0")
    if wanted := sys.argv[1:] or addresses(first_process):
        url, *texts = wanted
        with urlopen(url, timeout=5) as answer:
            body = answer.read().decode()
        sys.exit(not all(text in body for text in texts))
