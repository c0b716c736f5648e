"""What every part of Smart Meter Watchdog shares: settings, codec, topics, the local stack, the command line."""

__version__ = "0.1.0"
