"""The settings of Kafka as they travel to a job's workers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from smartmeter.certificates import trusted
from smartmeter.settings import Settings


class Carried:
    """Settings with which a worker on another machine reaches Kafka. The trusted authorities travel with them: a node needs no file."""

    def __init__(self, settings: Settings):
        ca = trusted(settings.kafka.ca, "SMW_KAFKA_CA")
        self._settings, self._authorities = settings, Path(ca).read_text() if ca else ""

    def unpacked(self) -> Settings:
        """The settings, as they hold in this process for as long as this object exists."""
        if not self._authorities:
            return self._settings
        self._folder = TemporaryDirectory(prefix="smw_kafka_")
        file = Path(self._folder.name) / "authorities.pem"
        file.write_text(self._authorities)
        return self._settings.but(kafka_ca=str(file))
