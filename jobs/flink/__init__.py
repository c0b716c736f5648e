"""What connects jobs.core to Flink: the flow, tables, the keyed operator, metrics."""
