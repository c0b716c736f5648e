"""Kafka: connection, producer, offsets and lags, topic administration, archives."""
