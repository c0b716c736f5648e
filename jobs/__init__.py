"""The Flink jobs: one file each, what they compute in core/, and what connects them to Flink in flink/."""
