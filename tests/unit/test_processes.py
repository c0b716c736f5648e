"""Why a part of the stack has ended, from real ends of its log."""

from __future__ import annotations

from stack.processes import fatal_cause

WITHOUT_HARM = """\
2026-11-28T00:54:46.855Z WARN {part}: ChannelManager: Request was refused, asking again
org.apache.kafka.common.errors.NotControllerException: This is not the correct controller for this cluster.
\tat org.apache.kafka.Channel.run(Channel.java:1)
Caused by: java.lang.reflect.InaccessibleObjectException: Unable to make field private final byte[] java.lang.String.value accessible
\t... 14 more
"""
# What Flink's client logs and prints when a job's Python program has ended.
CLIENT_ENDS = """\
2026-11-28T00:55:07.094Z INFO pipeline: PythonDriver: --------------------------- Python Process Exited ---------------------------
2026-11-28T00:55:07.111Z ERROR pipeline: PythonDriver: Run python process failed
java.lang.RuntimeException: Python process exits with code: 1
\tat org.apache.flink.client.python.PythonDriver.main(PythonDriver.java:130) ~[flink-python-2.2.1.jar:2.2.1]
2026-11-28T00:55:07.237Z ERROR pipeline: CliFrontend: Fatal error while running command line interface.
org.apache.flink.client.program.ProgramAbortException: java.lang.RuntimeException: Python process exits with code: 1
\tat org.apache.flink.client.python.PythonDriver.main(PythonDriver.java:140) ~[?:?]
Caused by: java.lang.RuntimeException: Python process exits with code: 1
\tat org.apache.flink.client.python.PythonDriver.main(PythonDriver.java:130) ~[?:?]
\t... 14 more
org.apache.flink.client.program.ProgramAbortException: java.lang.RuntimeException: Python process exits with code: 1
\tat org.apache.flink.client.python.PythonDriver.main(PythonDriver.java:140)
Caused by: java.lang.RuntimeException: Python process exits with code: 1
\tat org.apache.flink.client.python.PythonDriver.main(PythonDriver.java:130)
\t... 14 more
"""


def program(text: str) -> str:
    """What a job's Python program prints, as Flink's client repeats it, each line beside the line itself."""
    return "".join(f"{line}\n2026-11-28T00:55:04.892Z INFO pipeline: PythonDriver: {line}\n" for line in text.splitlines())


def cause(*parts: str) -> str | None:
    return fatal_cause("".join(parts).format(part="pipeline").splitlines())


def test_an_error_of_the_jobs_program():
    trace = (
        'Traceback (most recent call last):\n  File "/smw/jobs/pipeline.py", line 15, in <module>\n    from jobs import flow\n'
        "ImportError: cannot import name 'x' from 'jobs.flow' (/smw/jobs/flow.py)"
    )
    assert cause(WITHOUT_HARM, program(trace), CLIENT_ENDS) == "ImportError: cannot import name 'x' from 'jobs.flow' (/smw/jobs/flow.py)"


def test_an_error_of_java_in_the_jobs_program_is_that_of_java():
    trace = (
        'Traceback (most recent call last):\n  File "/smw/jobs/flow.py", line 260, in send\n    job.wait()\n'
        "py4j.protocol.Py4JJavaError: An error occurred while calling o99.await.\n: java.util.concurrent.ExecutionException: job failed\n"
        "\tat java.base/java.util.concurrent.CompletableFuture.get(CompletableFuture.java:1)\n"
        "Caused by: java.lang.IllegalStateException: Failed to rollback to checkpoint/savepoint file:/x\n\tat org.X\n\t... 4 more\n"
    )
    assert (
        cause(WITHOUT_HARM, program(trace), CLIENT_ENDS)
        == "java.lang.IllegalStateException: Failed to rollback to checkpoint/savepoint file:/x"
    )


def test_a_program_that_was_killed_gives_no_cause():
    assert cause(program("reading settings"), WITHOUT_HARM, CLIENT_ENDS.replace("code: 1", "code: 137")) is None
    assert cause(WITHOUT_HARM) is None and cause(WITHOUT_HARM.replace("WARN", "ERROR")) is None


def test_what_flinks_client_refuses():
    refused = (
        "2026-11-28T00:54:46.855Z ERROR pipeline: CliFrontend: Invalid command line arguments.\n"
        "org.apache.flink.client.cli.CliArgsException: Could not parse -x\n\tat org.apache.flink.client.cli.CliFrontend.run(CliFrontend.java:1)\n"
    )
    assert cause(WITHOUT_HARM, refused) == "org.apache.flink.client.cli.CliArgsException: Could not parse -x"
