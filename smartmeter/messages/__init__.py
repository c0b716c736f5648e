"""Messages: schemas, records, codec, framing, schema registry, topics."""
