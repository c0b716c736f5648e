"""Benchmarks: ./smw bench [NAME]. Each prints a table of figures measured in one run, and saves them as JSON."""
