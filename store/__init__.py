"""ClickHouse: schema, sink, embedded endpoint."""
