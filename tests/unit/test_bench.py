"""The benchmarks' arithmetic, their use of /proc, and the copies of houses that they send."""

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from pathlib import Path

import numpy as np
import pytest

from bench import comparison, devices, live, long, measure, scaling, utility
from bench.copies import READINGS_PER_DAY, TIMEZONE, Copies
from bench.measure import Run, Target, Usage
from bench.peers import why
from bench.sender import RAISED_S, RAISED_WATTS, Spikes
from smartmeter import reports
from smartmeter.errors import UserError
from smartmeter.messages.codec import decode_burst, encode_burst
from smartmeter.reports import Report
from smartmeter.settings import ROOT, Settings
from stack.processes import Processes

LOG = """\
2026-11-25T02:00:00.000Z INFO pipeline: ExecutionGraph: Source (1/2) (b1_0) switched from CREATED to SCHEDULED.
2026-11-25T02:00:01.500Z INFO pipeline: ExecutionGraph: Source (1/2) (b1_0) switched from INITIALIZING to RUNNING.
2026-11-25T02:00:03.250Z INFO pipeline: ExecutionGraph: houses (2/2) (b2_0) switched from INITIALIZING to RUNNING.
2026-11-25T02:00:07.000Z INFO pipeline: ExecutionGraph: Source (1/2) (b1_0) switched from RUNNING to FINISHED.
2026-11-25T02:00:09.750Z INFO pipeline: ExecutionGraph: houses (2/2) (b2_0) switched from RUNNING to FINISHED.
2026-11-25T02:00:10.000Z INFO pipeline: ExecutionGraph: Job pipeline (1) switched from state RUNNING to FINISHED.
"""

CHILD_THAT_ENDS = """
import subprocess, sys, time
busy = "import time; filled = bytearray(200 << 20)\\nwhile time.process_time() < 0.75: pass\\ntime.sleep(1)"
subprocess.run([sys.executable, "-c", busy])
print('{"seconds": 3.5}', flush=True)
time.sleep(60)
"""


def test_a_jobs_time_runs_from_its_last_tasks_start_to_its_last_tasks_end(tmp_path):
    (tmp_path / "pipeline.log").write_text(LOG)
    assert measure.task_seconds(tmp_path / "pipeline.log") == 6.5


def test_a_child_that_has_ended_counts(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("parent", [sys.executable, "-c", CHILD_THAT_ENDS], {})
        usage, deadline, most_mb = Usage(processes, "parent"), time.monotonic() + 30, 0
        while not processes.printed("parent") and time.monotonic() < deadline:
            most_mb = max(most_mb, usage.sample().resident_mb)
            time.sleep(0.05)
        usage.sample()
        assert measure.reported(processes.printed("parent")) == {"seconds": 3.5}
    assert 0.7 <= usage.cpu_s < 5
    assert usage.peak_mb > 200 and most_mb > 200 > usage.resident_mb > 0
    assert usage.peak_mb == pytest.approx(sum(usage.peak_mb_of.values())) and all(name.startswith("python") for name in usage.peak_mb_of)


def test_the_programs_own_figure_is_its_last_line_of_json():
    lines = ['{"seconds": 1}', "warming up", '{"seconds": 2.5, "rows": 3}', "WARN: the JVM has ended"]
    assert measure.reported(lines) == {"seconds": 2.5, "rows": 3}


def test_a_segment_that_goes_meanwhile_has_no_size(tmp_path):
    for name in ("readings-0", "readings-1", "alerts-0"):
        (tmp_path / "kafka" / name).mkdir(parents=True)
        (tmp_path / "kafka" / name / "0.log").write_bytes(b"12345")
    (tmp_path / "kafka" / "readings-1" / "1.log").symlink_to("no such file")
    assert measure.kafka_bytes(Settings().but(home=tmp_path)) == 10


def test_a_quantity():
    assert (measure.quantity("20"), measure.quantity("12e9")) == (20, 12_000_000_000)
    for text in ("0", "1.5", "-3", "many"):
        with pytest.raises((ArgumentTypeError, ValueError)):
            measure.quantity(text)


@pytest.mark.parametrize(
    "target, text, met",
    [
        (Target("a, times b", 10.0, least=10), "a, times b: 10 (at least 10): met", True),
        (Target("a, times b", 9.99, least=10), "a, times b: 9.99 (at least 10): MISSED", False),
        (Target("p99, s", 2.0, most=2), "p99, s: 2 (at most 2): met", True),
        (Target("p99, s", 2.01, most=2), "p99, s: 2.01 (at most 2): MISSED", False),
        (Target("readings/s", 210_000.0, least=200_000), "readings/s: 210,000 (at least 200,000): met", True),
    ],
)
def test_a_target_and_its_verdict(target, text, met):
    assert (target.met, str(target)) == (met, text)


def runs():
    return [
        Run("producer", "generator", "makes and sends", 100_000_000, 5.0, 10.0),
        Run("blackhole", "Flink", "only reads", 100_000_000, 4.0, 20.0, 800.4),
        Run("three_jobs", "ours", "three in one job", 100_000_000, 8.0, 30.0, 1500.0),
        Run("pipeline", "ours", "all four in one job", 100_000_000, 10.0, 36.0, 1600.0),
        Run("spark_batch", "PySpark batch", "daily energy", 100_000_000, 100.0, 190.0, 4000.0, "equal: days 10"),
        Run("flink_sql", "Flink SQL (JVM)", "daily energy", 100_000_000, answers="failed: no memory"),
    ]


def test_the_comparisons_table():
    assert (
        comparison.report(runs())
        == """\
engine           work                 seconds  M readings/s  times blackhole  three in one is times  CPU s per M  peak MB
---------------  -------------------  -------  ------------  ---------------  ---------------------  -----------  -------
generator        makes and sends          5.0         20.00            0.800                   0.62         0.10
Flink            only reads               4.0         25.00            1.000                   0.50         0.20      800
ours             three in one job         8.0         12.50            0.500                   1.00         0.30    1,500
ours             all four in one job     10.0         10.00            0.400                   1.25         0.36    1,600
PySpark batch    daily energy           100.0          1.00            0.040                  12.50         1.90    4,000
Flink SQL (JVM)  daily energy

PySpark batch, daily energy: equal: days 10
Flink SQL (JVM), daily energy: failed: no memory"""
    )


def test_the_comparison_has_a_target_only_where_both_sides_ran():
    assert [(target.what, target.value, target.met) for target in comparison.targets(runs())] == [
        ("ours (three in one job), times PySpark batch (daily energy)", 12.5, True),
        ("ours (three in one job), times Flink (only reads)", 0.5, True),
    ]
    assert comparison.targets(runs()[:2]) == []


def test_the_comparison_finds_a_jobs_log_by_the_stem_of_its_file():
    jobs = {program.name: program.file for program in comparison.PROGRAMS if not program.python}
    assert {name: Path(file).stem for name, file in jobs.items()} == {name: name for name in jobs}
    assert all((ROOT / program.file).is_file() for program in comparison.PROGRAMS)


def test_the_comparisons_targets_are_of_programs_that_it_runs():
    names = [program.name for program in comparison.PROGRAMS]
    assert {name for a, b, _ in comparison.TARGETS for name in (a, b)} <= set(names)
    assert max(names.index(name) for name in comparison.WHOLE) < names.index("spark_batch")


class Failing:
    """Processes; one of them has ended with the given log, and has reported the error."""

    def __init__(self, logs: Path, text: str, error: str | None):
        self.logs, self.error = logs, error
        self.log("spark_batch").write_text(text)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def printed(self, name: str) -> list[str]:
        return self.log(name).read_text().splitlines()

    def reported(self, name: str) -> Report:
        return Report(error=self.error)


@pytest.mark.parametrize("error, reason", [("no memory", "no memory"), (None, "WARN")])
def test_a_failed_program_is_reported_with_its_reason(tmp_path, monkeypatch, error, reason):
    def fail(*_):
        raise UserError("spark_batch ended (code 1)")

    monkeypatch.setattr(comparison.Comparison, "run_peer", fail)
    found = comparison.Comparison(Settings().but(home=tmp_path), Failing(tmp_path, "Traceback\nWARN\n", error), tmp_path / "kept")
    [program] = [program for program in comparison.PROGRAMS if program.name == "spark_batch"]
    run = found.measure(program)
    assert (run.seconds, run.answers) == (None, f"failed: {reason}; its log is {tmp_path}/kept/spark_batch.log")
    assert found.runs == [run] and (tmp_path / "kept" / "spark_batch.log").read_text().startswith("Traceback")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("java.lang.RuntimeException: it\nCaused by: java.io.IOException: full\n\tat here\n", "java.io.IOException: full"),
        (
            f"ImportError: no jobs\n{measure.ABORTED}: Python process\n\tat here\nCaused by: java.lang.RuntimeException: Python process exits with code: 1\n"
            "\t... 14 more\n",
            "ImportError: no jobs",
        ),
        ("ModuleNotFoundError: No module named 'pyspark'\n\n", "ModuleNotFoundError: No module named 'pyspark'"),
        ("", "no reason given"),
    ],
)
def test_why_a_program_has_failed(text, reason):
    assert measure.last_words([line for line in text.splitlines() if line]) == reason


def test_a_peer_that_fails_ends_with_its_reason(tmp_path):
    program = "from bench.peers import carry_out\ndef main():\n    raise ValueError('no burst\\nat all') from None\ncarry_out(main)"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, env={reports.FILE: str(tmp_path / "report")}
    )
    first, *_, last = ended.stderr.splitlines()
    assert reports.read(tmp_path / "report").error == "ValueError: no burst"
    assert (ended.returncode, first, last) == (1, "Traceback (most recent call last):", "failed: ValueError: no burst")


def test_a_peers_reason_is_the_innermost_cause():
    outer = RuntimeError("a partition failed")
    outer.__cause__ = KeyError("house_id")
    assert why(outer) == "KeyError: 'house_id'"
    assert (
        why(RuntimeError("o1.save\n: org.SparkException: aborted\nCaused by: java.io.IOException: full\n\tat x"))
        == "java.io.IOException: full"
    )


def test_of_several_runs_the_middle_counts():
    three = [Run("", "", "2", 60, seconds, cpu_s, mb) for seconds, cpu_s, mb in ((1, 30, 200), (3, 10, 300), (2, 20, 100))]
    assert measure.median(three) == Run("", "", "2", 60, 2, 20, 200, seconds_of_runs=(1, 3, 2))
    assert measure.median(three[:1]).seconds == 1
    failed = Run("", "", "2", 60, answers="failed: no memory")
    assert measure.median([three[0], failed, three[1]]) == failed


def test_what_is_saved(tmp_path):
    path = measure.save(tmp_path / "new", "figures", Settings().but(home=tmp_path, bundle_ms=100), runs=[runs()[2].record()])
    saved = json.loads(path.read_text())
    assert path.name == "figures.json" and saved["settings"] == {"bundle_ms": 100}
    assert {"cores", "memory_gb", "processor", "java", "kafka", "apache-flink"} <= saved["machine"].keys()
    [run] = saved["runs"]
    assert (run["readings_per_s"], run["cpu_s_per_million_readings"], run["peak_mb"]) == (12_500_000, 0.3, 1500)


def test_scalings_cases_have_as_many_readings():
    cases = scaling.cases((10, 40), 60_000_000, 10_000)
    assert [(case.kind, case.size, case.houses, case.steps, case.parallelism) for case in cases] == [
        ("days", 10, 20, 2880, None),
        ("days", 40, 20, 11520, None),
        ("parallelism", 1, 20, 1250, 1),
        ("parallelism", 2, 20, 1250, 2),
        ("houses", 10, 10, 8000, None),
        ("houses", 100, 100, 800, None),
        ("houses", 1000, 1000, 80, None),
        ("houses", 10000, 10000, 8, None),
    ]


def test_what_is_started_meanwhile_has_so_many_cores():
    cores = os.sched_getaffinity(0)
    for count, expected in ((1, 1), (None, len(cores))):
        with scaling.on_cores(count):
            nproc = subprocess.run(["nproc"], capture_output=True, text=True, check=True)
        assert int(nproc.stdout) == expected and os.sched_getaffinity(0) == cores


def test_scalings_targets_are_compared_with_the_middle_run():
    _, _, one, two, *houses = scaling.cases((10, 40), 60_000_000, 10_000)
    three = [Run("", "", "2", 60, seconds, cpu_s, mb) for seconds, cpu_s, mb in ((1, 30, 200), (3, 10, 300), (2, 20, 100))]
    middle = {one: Run("", "", "1", 60, 3, 1, 1), two: measure.median(three)} | {
        case: Run("", "", str(case.size), 60, seconds, 1, 1) for case, seconds in zip(houses, (10, 11, 13, 11))
    }
    assert [(target.value, target.met) for target in scaling.targets(middle)] == [(1.5, False), (1.3, False)]


def test_the_time_from_a_reading_to_its_alert():
    sent = {f"1/{n}/0": 10.0 * n for n in range(1, 8)}
    seen = {alert: at + (0.3 if at < 40 else 0.6) for alert, at in sent.items() if alert != "1/7/0"} | {"another": 5.0}
    results = live.latency(sent, seen)
    assert (results["alerts"], results["missing"]) == (6, 1)
    assert results == pytest.approx(
        {"alerts": 6, "missing": 1, "p50_s": 0.45, "p95_s": 0.6, "p99_s": 0.6, "max_s": 0.6, "last_of_first": 2.0}
    )
    assert live.latency(sent, {}) == {"alerts": 0, "missing": 7}


def test_an_alert_belongs_to_the_device_that_was_raised_shortly_before():
    sent = {"1/2": 100.0, "1/3": 200.0, "4/20": 300.0}
    seen = {
        "1/2/100004": 101.5,
        "1/2/100009/percentile": 101.2,
        "1/3/190000": 201.0,  # began before
        "1/3/240000": 241.0,  # began long after
        "7/7/300001": 301.0,
        "4/20/300000": 302.0,
    }
    assert devices.first_seen(sent, seen) == {"1/2": 101.2, "4/20": 302.0}


def test_a_streams_tenths_hold_its_first_and_last_look():
    stream = long.Stream.__new__(long.Stream)
    end_s = 421.3460592155324  # times 10, by 10 it is a little less
    stream.looks = [(end_s * n / 20, 1000 * n, 100.0 + n, 0.0) for n in range(20)] + [(end_s, 30_000, 900.0, 0.0)]
    tenths = stream.tenths()
    assert tenths[0] == {"readings_per_s": pytest.approx(2000 / (end_s / 10)), "memory_mb": 101}
    assert tenths[9] == {"readings_per_s": pytest.approx(12_000 / (end_s / 10)), "memory_mb": 119}


def test_copies_of_a_house_measure_the_same_at_other_times():
    copies = Copies(12, 300)
    assert sum(copies.message(3, step, 0)[1] for step in range(288)) == READINGS_PER_DAY
    payload, readings = copies.message(12, 5, 1_700_000_100_000)
    burst, original = decode_burst(payload), decode_burst(copies.message(2, 5 + 37, 0)[0])
    assert (burst.house_id, burst.timezone, burst.start_ms, burst.end_ms) == (12, TIMEZONE, 1_700_000_100_000, 1_700_000_400_000)
    assert readings == len(burst.watts) == 2400 and encode_burst(burst) == payload
    assert np.array_equal(burst.watts, original.watts) and np.array_equal(burst.deltas, original.deltas)


@pytest.mark.parametrize("every_s, burst_s, counts", [(1, 1, [1] * 20), (300, 14_400, [48] * 20), (None, 3, [3, 3] + [1] * 18)])
def test_copies_are_read_at_the_requested_rate(every_s, burst_s, counts):
    payload, readings = Copies(1, burst_s, every_s, range(12, 24)).message(1, 0, 0)
    assert decode_burst(payload).counts.tolist() == counts and readings == sum(counts)


def test_copies_may_have_fewer_meters():
    payload, readings = Copies(1, 21_600, 1800, meters=1).message(1, 0, 0)
    burst = decode_burst(payload)
    assert (burst.meter_ids.tolist(), burst.counts.tolist(), readings) == ([1], [12], 12)


def test_the_newest_checkpoint_of_a_log(tmp_path):
    log = tmp_path / "pipeline.log"
    log.write_text(LOG)
    assert utility.checkpoint(log) is None
    line = "2026-11-25T02:00:0{}.000Z INFO pipeline: CheckpointCoordinator: Completed checkpoint {} for job 4f9d ({} bytes, checkpointDuration={} ms, finalizationTime=4 ms).\n"
    log.write_text(LOG + line.format(1, 1, 1000, 20) + line.format(2, 2, 2_500_000, 1250))
    assert utility.checkpoint(log) == utility.Checkpoint(2.5, 1.25)


def test_memory_of_a_house_is_what_more_houses_add():
    def case(houses: int, burst_h: int, java_mb: float, python_mb: float) -> utility.Case:
        runs = [Run(name, name, "", 1, 2.0, 3.0, 1.0, peak_mb_of={"java": java_mb, "python": python_mb}) for name in ("ours", "chdb")]
        return utility.Case(houses, burst_h, runs)

    cases = [case(1, 6, 500, 300), case(100_001, 6, 900, 1300), case(1, 24, 400, 0)]
    assert [utility.memory_per_house(one, cases) for one in cases] == [{}, {"ours": {"java": 4, "python": 10}}, {}]
    assert [line.split()[:9] for line in utility.report(cases[1], {"ours": {"java": 4, "python": 10}}).splitlines()[2:3]] == [
        ["ours", "2.0", "50,000", "30", "1", "4.00", "10.00"]
    ]


def test_spikes_are_put_in_for_some_seconds():
    copies, spikes, begun = Copies(2, 1, None, range(12, 13)), Spikes({1: [1], 2: []}), time.time()
    spikes.advance(0, 1000)
    assert list(spikes.raised) == [1]
    payload, _ = copies.message(1, 0, 5_000)
    before, raised = decode_burst(payload), decode_burst(spikes.put_in(payload))
    assert (raised.watts - before.watts).tolist() == [RAISED_WATTS] + [0] * (len(before.watts) - 1)
    first, now = spikes.sent["1/1/5000"], time.time()
    spikes.put_in(copies.message(1, 1, 6_000)[0])
    assert spikes.sent == {"1/1/5000": first} and begun <= first <= now
    spikes.advance(RAISED_S - 1, 1000)
    assert list(spikes.raised) == [1]
    spikes.advance(RAISED_S, 1000)
    assert spikes.raised == {}
