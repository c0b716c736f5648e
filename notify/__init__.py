"""Sends alerts to people and programs: by routes, each with its receiver and its rules."""
