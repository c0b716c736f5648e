"""The processes on one machine: supervisor, broker, services, local Flink and its REST client, savepoints."""
