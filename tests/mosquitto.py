"""A real MQTT broker for tests: Debian's mosquitto, with a user, and what it keeps on disk."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Self

from stack.mosquitto import program
from stack.ports import free_port, is_listening
from tests.waiting import until

USER = "meters"


class Mosquitto:
    """A broker in a folder. certificate: the files of its certificate and key; None: without TLS. more: further lines of its configuration."""

    def __init__(self, folder: Path, password: str, certificate: tuple[Path, Path] | None = None, more: str = ""):
        self.port, passwords = free_port(), folder / "passwords"
        passwords.touch(mode=0o600)
        subprocess.run(["mosquitto_passwd", "-b", passwords, USER, password], check=True, capture_output=True)
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
            + (f"certfile {certificate[0]}\nkeyfile {certificate[1]}\n" if certificate else "")
            + more
        )
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self) -> None:
        self._process = subprocess.Popen([program(), "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: is_listening(f"127.0.0.1:{self.port}"))

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
