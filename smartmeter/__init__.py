"""What all of Smart Meter Watchdog shares: settings, errors, logs, local time, messages and Kafka."""

__version__ = "0.1.0"
