"""Which requests reach Flink; tests/stack has the page in front of a real one."""

import pytest

from stack.flink_page import refusal

JOB = "/jobs/" + "0123456789abcdef" * 2
JSON = "application/json"


@pytest.mark.parametrize(
    "method, path, content_type, reason",
    [
        ("GET", "/", "", None),
        ("GET", f"{JOB}/checkpoints", "", None),
        ("HEAD", "/overview", "", None),
        ("GET", f"{JOB}/yarn-cancel", "", "changes something"),
        ("GET", f"{JOB}/yarn-stop", "", "changes something"),
        ("HEAD", "/jars/x/run", "", "changes something"),
        ("GET", "/jarsandmore", "", None),
        ("POST", f"{JOB}/savepoints", JSON, None),
        ("POST", f"{JOB}/stop", JSON, None),
        ("POST", f"{JOB}/stop", "text/plain", "takes application/json"),
        ("POST", f"{JOB}/stop", "", "takes application/json"),
        ("POST", f"{JOB}/stop/more", JSON, "is not passed on: this page reads, and takes savepoints"),
        ("POST", "/jobs/short/stop", JSON, "is not passed on"),
        ("POST", "/jars/upload", JSON, "is not passed on"),
        ("PATCH", JOB, JSON, "is not passed on"),
        ("DELETE", "/cluster", JSON, "is not passed on"),
        ("OPTIONS", "/", "", "is not passed on"),
    ],
)
def test_what_is_passed_on(method, path, content_type, reason):
    found = refusal(method, path, content_type)
    assert found is None if reason is None else found.startswith(f"{method} {path} ") and reason in found
