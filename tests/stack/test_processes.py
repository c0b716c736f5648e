"""Real processes: nothing is left behind, and nothing foreign is touched."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smartmeter import logs, reports
from smartmeter.errors import CRASHED, UserError
from smartmeter.settings import JARS
from stack import machine
from stack.processes import MARK, Processes, Watch, end, marked
from tests.waiting import until

# A process and its child. Both ignore SIGTERM; the process prints a line when it is ready.
STUBBORN = ["bash", "-c", "trap '' TERM; sleep 300 & echo ready; while :; do sleep 1; done"]

REPORTING = f"""echo '{{"error": "no broker answers"}}' >> "${reports.FILE}" """

PARENT = """
import sys, time
from pathlib import Path
from stack.processes import Processes
with Processes(Path(sys.argv[1])) as processes:
    processes.start("stubborn", sys.argv[2:], {})
    processes.wait_until(lambda: processes.printed("stubborn") == ["ready"], "not ready")
    print("started", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def parent(tmp_path):
    """A process that has started STUBBORN in tmp_path."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path, *STUBBORN], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "started\n"
    yield parent
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for pid_file in (tmp_path / "run").glob("*.pid"):
        end(pid_file, patience_s=0)


def test_leaving_ends_a_process_and_its_children(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("a", ["bash", "-c", "sleep 300 & sleep 300"], {})
        pid_file = tmp_path / "run" / "a.pid"
        until(lambda: len(marked(pid_file)) == 3)
        assert int(pid_file.read_text()) == processes.children["a"].pid
    assert marked(pid_file) == []
    assert not pid_file.exists()


def test_the_last_started_ends_first(tmp_path):
    ended = tmp_path / "ended"
    with Processes(tmp_path) as processes:
        for name in ("first", "second", "third"):
            processes.start(name, ["bash", "-c", f"trap 'echo {name} >> {ended}; exit' TERM; echo ready; while :; do sleep 0.05; done"], {})
            processes.wait_until(lambda: processes.printed(name), "not ready")
    assert ended.read_text().split() == ["third", "second", "first"]


def test_orphans_of_a_killed_parent_end_at_the_next_start(parent, tmp_path):
    pid_file = tmp_path / "run" / "stubborn.pid"
    parent.kill()
    parent.wait()
    orphans = marked(pid_file)
    assert len(orphans) >= 2  # stubborn and its child
    os.kill(int(pid_file.read_text()), signal.SIGKILL)  # even when only the child is left
    with Processes(tmp_path):
        assert marked(pid_file) == []
        assert not pid_file.exists()


def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    source = PARENT.replace('printed("stubborn") == ["ready"]', 'log("stubborn").exists()')
    parent = subprocess.Popen([sys.executable, "-c", source, tmp_path, "sleep", "infinity"], stdout=subprocess.PIPE, text=True)
    with parent.stdout:
        assert parent.stdout.readline() == "started\n"
        pid_file = tmp_path / "run" / "stubborn.pid"
        until(lambda: [Path(f"/proc/{pid}/comm").read_text() for pid in marked(pid_file)] == ["sleep\n"])  # setpriv has done its work
        parent.kill()
        parent.wait()
    until(lambda: marked(pid_file) == [])


def test_a_pid_that_belongs_to_another_program_now_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    with subprocess.Popen(["sleep", "300"]) as other:
        (tmp_path / "run" / "kafka.pid").write_text(f"{other.pid}\n")
        with Processes(tmp_path):
            assert other.poll() is None
        other.kill()
    assert not (tmp_path / "run" / "kafka.pid").exists()


def test_a_home_in_use_is_refused(parent, tmp_path):
    with pytest.raises(UserError, match=f"another smw runs in {tmp_path}"):
        Processes(tmp_path).__enter__()
    assert marked(tmp_path / "run" / "stubborn.pid")


def test_a_home_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "home").touch()
    with pytest.raises(UserError, match="home.* cannot be written .*SMW_HOME"):
        Processes(tmp_path / "home").__enter__()


def test_a_process_that_ends_is_reported_with_the_end_of_its_log(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("kafka", ["bash", "-c", "seq 9; exit 3"], {})
        processes.children["kafka"].wait()
        with pytest.raises(UserError) as caught:
            processes.check()
    assert str(caught.value).splitlines() == [f"kafka ended (code 3); {tmp_path}/logs/kafka.log ends with:", *"56789"]


def test_the_innermost_cause_of_a_java_trace_is_reported(tmp_path):
    trace = "org.X: submit failed\n\tat org.Y\nCaused by: org.A: outer\n\tat org.B\nCaused by: org.C: no state\n\tat org.D\nCaused by: X: Python process exits with code: 1"
    with Processes(tmp_path) as processes:
        processes.start("pipeline", ["bash", "-c", f"echo '{trace}'; exit 1"], {})
        processes.children["pipeline"].wait()
        with pytest.raises(UserError, match=f"^pipeline ended \\(code 1\\): org.C: no state; its log is {tmp_path}/logs/pipeline.log$"):
            processes.check()


def test_the_sentence_of_a_program_of_ours_is_passed_on(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("sink", ["bash", "-c", f"{REPORTING}; echo something; exit 1"], {})
        processes.children["sink"].wait()
        with pytest.raises(UserError, match="^no broker answers$"):
            processes.check()


def test_the_sentence_is_passed_on_though_a_java_trace_follows(tmp_path):
    trace = "org.X: submit failed\n\tat org.Y\nCaused by: X: Python process exits with code: 1"
    with Processes(tmp_path) as processes:
        processes.start("pipeline", ["bash", "-c", f"{REPORTING}; echo '{trace}'; exit 1"], {})
        processes.children["pipeline"].wait()
        with pytest.raises(UserError, match="^no broker answers$"):
            processes.check()


def test_what_a_process_reported_belongs_to_it_alone(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("sink", ["bash", "-c", f"{REPORTING}; exit 1"], {reports.FILE: "/nonexistent"})
        processes.children["sink"].wait()
        assert processes.reported("sink") == reports.Report(error="no broker answers")
        processes.stop("sink")
        processes.start("sink", ["bash", "-c", "exit 1"], {})
        processes.children["sink"].wait()
        assert processes.reported("sink") == reports.Report()
        with pytest.raises(UserError, match=r"^sink ended \(code 1\)"):
            processes.check()


def test_a_process_that_is_about_to_run_another_program_is_found_and_ended(tmp_path):
    with Processes(tmp_path) as processes:
        pid_file = tmp_path / "run" / "late.pid"
        processes.start("late", ["env", "-i", "bash", "-c", f"sleep 0.3; exec -c env {MARK}={pid_file} sleep 300"], {})
        child = processes.children["late"]
        until(lambda: Path(f"/proc/{child.pid}/environ").read_bytes() == b"")
        processes.stop("late")
        assert child.returncode == -signal.SIGTERM and marked(pid_file) == []


def test_a_lost_process_is_restarted_though_it_runs(tmp_path):
    with Processes(tmp_path) as processes:

        def start():
            processes.start("job", ["sleep", "300"], {})
            processes.watched["job"] = Watch(lambda: "has stood still" if processes.children["job"] is first else None, start)

        start()
        first = processes.children["job"]
        processes.check()
        second = processes.children["job"]
        assert first.returncode is not None and second.poll() is None and marked(tmp_path / "run" / "job.pid") == [second.pid]
        processes.check()
        assert processes.children["job"] is second
        assert logs.LINE.fullmatch(processes.log("stack").read_text().strip())["message"] == "job has stood still: it is started again."
        processes.stop("job")
        assert not processes.watched


# A real JVM that runs out of memory, as those of a stack do.
OUT_OF_MEMORY = [machine.java(), "-XX:MaxMetaspaceSize=9m", machine.END_WITHOUT_MEMORY, "-cp", str(JARS / "kafka" / "*"), "kafka.Kafka"]


def test_a_watched_process_is_restarted_when_out_of_memory(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("job", OUT_OF_MEMORY, {})
        processes.watched["job"] = Watch(lambda: None, lambda: processes.start("job", ["sleep", "300"], {}))
        assert processes.children["job"].wait(60) == 3
        processes.check()
        assert processes.children["job"].poll() is None
        assert "job has run out of memory: it is started again." in processes.log("stack").read_text()
        processes.start("other", OUT_OF_MEMORY, {})
        processes.children["other"].wait(60)
        with pytest.raises(UserError, match="^other has run out of memory; its log is "):
            processes.check()


@pytest.mark.parametrize("end", ["kill -SEGV $$", f"exit {CRASHED}"])
def test_a_watched_process_is_restarted_after_a_crash(tmp_path, end):
    with Processes(tmp_path) as processes:
        processes.start("endpoint", ["bash", "-c", end], {})
        processes.watched["endpoint"] = Watch(lambda: None, lambda: processes.start("endpoint", ["sleep", "300"], {}))
        processes.children["endpoint"].wait()
        processes.check()
        assert processes.children["endpoint"].poll() is None
        assert "endpoint has crashed: it is started again." in processes.log("stack").read_text()
        processes.start("kafka", ["bash", "-c", end], {})
        processes.children["kafka"].wait()
        with pytest.raises(UserError, match=f"^kafka has crashed; its log is {tmp_path}/logs/kafka.log$"):
            processes.check()


def test_a_killed_process_is_reported_as_killed_whatever_its_log_holds(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start(
            "kafka", ["bash", "-c", "echo 'org.X: asked again'; echo 'Caused by: org.NotControllerException: no'; sleep 300"], {}
        )
        processes.wait_until(lambda: len(processes.printed("kafka")) == 2, "it prints nothing")
        processes.children["kafka"].kill()
        processes.children["kafka"].wait()
        with pytest.raises(UserError, match=f"^kafka was ended from outside, by SIGKILL; its log is {tmp_path}/logs/kafka.log$"):
            processes.check()


def test_only_some_processes_may_end_and_only_with_success(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("generator", ["true"], {}, ends=True)
        processes.children["generator"].wait()
        processes.check()
        processes.start("job", ["true"], {})
        processes.children["job"].wait()
        with pytest.raises(UserError, match="job ended"):
            processes.check()


def test_waiting_has_an_end(tmp_path):
    with Processes(tmp_path) as processes, pytest.raises(UserError, match="no answer after 0 s; the logs are in"):
        processes.wait_until(lambda: False, "no answer", timeout_s=0.2)


def test_the_mark_and_the_settings_are_in_the_environment(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("env", ["bash", "-c", f"echo $SMW_KAFKA ${MARK}"], {"SMW_KAFKA": "host:1"}, ends=True)
        processes.children["env"].wait()
        assert processes.printed("env") == [f"host:1 {tmp_path}/run/env.pid"]
