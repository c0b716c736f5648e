"""What every part of Smart Meter Watchdog shares: settings, codec, topics, the local stack, the command line."""
