"""./smw status: what runs, its lags and its newest results, on one screen or as JSON.

It queries all services at the same time, at the addresses in the settings, on this machine or elsewhere, and reports why one does not
answer. docs/observability.md lists the JSON keys.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gateway.metrics import KAFKA_UP, MQTT_UP, SILENT, WAITING
from notify.metrics import FAILING_SINCE, PENDING, UP
from smartmeter import logs
from smartmeter.errors import UserError
from smartmeter.kafka.consumers import JOBS, ConsumerLags, group_of
from smartmeter.kafka.offsets import Offsets
from smartmeter.settings import SMW, Settings
from smartmeter.terminal import printable
from smartmeter.text_tables import aligned
from stack import ports, services
from stack.flink import RECENT_S, Flink, Json
from stack.processes import STACK_LOG
from store import client as clickhouse

ASK_S = 3
BLOCK_BYTES = 512
FOLDERS = ("kafka", "clickhouse", "checkpoints", "savepoints", "logs")
GOOD = ("RUNNING", "INITIALIZING", "CREATED")
PLACES_SHOWN = 3
RATE_S = 60
"""The time over which Flink averages its read rate."""
SECOND_LOOK_S = 12
TIME_CHARACTERS = len("2026-11-25T12:00:00")

A_TIME = "formatDateTime({}, '%FT%TZ', 'UTC')"
RESULTS = f"""
    SELECT toString((SELECT maxOrNull(date) FROM daily_energy)) AS newest_day,
           {A_TIME.format("(SELECT maxOrNull(minute) FROM power_profile WHERE minute >= (SELECT max(date) FROM daily_energy) - 1)")} AS newest_minute,
           {A_TIME.format("(SELECT maxOrNull(start) FROM alerts FINAL)")} AS newest_alert,
           (SELECT countIf(open) FROM alerts FINAL) AS open_alerts,
           (SELECT mapFromArrays(groupArray(kind), groupArray(number)) FROM
               (SELECT toString(kind) AS kind, count() AS number FROM alerts FINAL WHERE open GROUP BY kind ORDER BY kind)) AS open_alerts_by_kind,
           (SELECT sum(readings) FROM late FINAL) AS late_readings,
           (SELECT sum(refused) FROM daily_energy FINAL
               WHERE house_id IN (SELECT house_id FROM daily_energy WHERE refused > 0)) AS refused_readings,
           (SELECT count() FROM sparse_meters WHERE last_sparse_day = last_day) AS sparse_meters,
           (SELECT count() FROM refused FINAL) AS refused_messages,
           (SELECT count() FROM dead_letter FINAL) AS dead_letters,
           {A_TIME.format("(SELECT maxOrNull(received) FROM dead_letter)")} AS newest_dead_letter,
           (SELECT argMaxOrNull(reason, (received, offset)) FROM dead_letter) AS newest_dead_letter_reason"""
"""Times as text: a message may hold any time, and Python's datetimes end with the year 9999. A repeated row counts once where FINAL is written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw status."""
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    parser.add_argument("--jobmanager", metavar="HOST:PORT", help="REST address of the Flink to query (default: the local one)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the status. Returns 1 when there is a problem, else 0."""
    status = look(settings, args.jobmanager or f"{ports.LOOPBACK}:{settings.flink.ui_port}")
    print(json.dumps(status, indent=1) if args.json else screen(status))
    return 1 if status["problems"] else 0


def look(settings: Settings, jobmanager: str) -> Json:
    """The status under its JSON keys; None for unknown values."""
    flink = Flink(jobmanager, ASK_S)
    urls = services.metrics_urls(settings)
    queries = {
        "kafka": lambda: lags(settings),
        "clickhouse": lambda: services.endpoint_answers(settings),
        "results": lambda: results(settings),
        "flink": flink.described_jobs,
        "registry": lambda: registry_answers(settings),
        "sink": lambda: "sink" in urls and services.answers(urls["sink"]),
        "notify": lambda: failing_routes(urls["notify"]) if "notify" in urls else [],
        "gateway": lambda: gateway_problems(urls["gateway"]) if "gateway" in urls else [],
        "dashboard": lambda: services.answers(f"{services.dashboard_url(settings)}/_stcore/health"),
        "disk": lambda: disk(settings),
    }
    with ThreadPoolExecutor(len(queries)) as pool:
        answers = dict(zip(queries, pool.map(answer, queries.values())))
    (unread, _), (found, no_results), (jobs, no_flink) = (answers[name] for name in ("kafka", "results", "flink"))
    rows = service_rows(settings, urls, flink.url, answers)
    problems = [row["reason"] for row in rows if not row["up"] and row["part"] != "dashboard"]
    if answers["clickhouse"][0] and no_results:
        problems.append(no_results)
    if not no_flink:
        problems += job_problems(jobs, flink.url, settings)
        problems += unread_problems(settings, flink, jobs, unread or {})
    problems += (answers["notify"][0] or []) + (answers["gateway"][0] or [])
    problems += mended(settings)
    return {
        "time": iso_s(time.time()),
        "problems": problems,
        "parts": rows,
        "jobs": jobs or [],
        "unread_messages": unread and {name: messages for name, messages in unread.items() if name != "sink"},
        "unstored_messages": unread and unread["sink"],
        "results": found,
        "disk": answers["disk"][0],
    }


def service_rows(settings: Settings, urls: dict[str, str], flink_url: str, answers: dict[str, tuple[Any, str | None]]) -> list[Json]:
    """A row for each service that has an address.

    urls: of metrics, by service. answers: the result of each query by its name, as `answer` returns it.
    """
    sink_url, no_notify, no_gateway = urls.get("sink"), answers["notify"][1], answers["gateway"][1]
    is_up = {name: bool(found) for name, (found, _) in answers.items()}
    no_kafka, no_registry, no_flink = (answers[name][1] for name in ("kafka", "registry", "flink"))
    rows = (
        service_row("kafka", settings.kafka.address, not no_kafka, no_kafka),
        service_row("registry", settings.registry.url, not no_registry, no_registry),
        service_row("clickhouse", settings.clickhouse.url, is_up["clickhouse"], f"ClickHouse does not answer at {settings.clickhouse.url}"),
        service_row("flink", flink_url, not no_flink, no_flink),
        service_row("sink", sink_url, is_up["sink"], f"no sink answers at {sink_url}"),
        service_row("notify", urls.get("notify"), not no_notify, no_notify),
        service_row("gateway", urls.get("gateway"), not no_gateway, no_gateway),
        service_row("dashboard", services.dashboard_url(settings), is_up["dashboard"], f"it is not needed: {SMW} dashboard starts it"),
    )
    return [row for row in rows if row["at"]]


def answer(query: Callable[[], Any]) -> tuple[Any, str | None]:
    """(the query's result, None), or (None, the reason of its failure)."""
    try:
        return query(), None
    except UserError as error:
        return None, str(error)


def service_row(name: str, at: str | None, up: bool, reason: str | None) -> Json:
    """The row of a service. reason: why it is not up."""
    return {"part": name, "at": at, "up": up, "reason": None if up else reason}


def job_problems(jobs: list[Json], url: str, settings: Settings) -> list[str]:
    """A sentence for each problem of the jobs, now or within the last RECENT_S."""
    running = {job["name"] for job in jobs if job["state"] in GOOD}
    wrong = [
        f"the job {job['name']} is {job['state']}: see {url}" for job in jobs if job["state"] not in GOOD and job["name"] not in running
    ]
    for job in jobs:
        if job["recent_failures"]:
            wrong.append(failure(job, settings))
        elif job["recent_failed_checkpoints"]:
            wrong.append(f"{job['recent_failed_checkpoints']} of the last checkpoints of {job['name']} failed: {job['checkpoint_failure']}")
        newest_s = max(job["checkpoint_unix_s"] or 0, job["running_since_unix_s"])
        if job["state"] == "RUNNING" and (passed_s := time.time() - newest_s) > settings.flink.standstill_s:
            wrong.append(f"the job {job['name']} has completed no checkpoint for {passed_s:.0f} s")
    return wrong if jobs else [f"no job runs in the Flink at {url}"]


def failure(job: Json, settings: Settings) -> str:
    """How often a job failed within the last RECENT_S, when and why it last did, and at which message, or which ones are unread."""
    number = job["recent_failures"]
    times = "once" if number == 1 else f"{number} times"
    sentence = (
        f"the job {job['name']} has failed {times} in the last {RECENT_S // 60} minutes, last at {iso_s(job['failure_unix_s'])}: "
        f"{job['failure']}"
    )
    if message := job["failure_message"]:
        return f"{sentence}; at the message of partition {message['partition']}, offset {message['offset']}"
    begins = unread_from(settings, job["name"])
    return sentence + (f"; its unread messages begin with {', '.join(begins)}" if begins else "")


def unread_from(settings: Settings, job: str) -> list[str]:
    """The next offset of a job in the first few partitions that it has not read to the end."""
    with suppress(UserError), Offsets(settings, JOBS[job], group_of(settings, job)) as offsets:
        committed = offsets.committed()
        unread = [
            (name, partition, max(committed[name, partition], begin))
            for (name, partition), (begin, end) in offsets.bounds().items()
            if committed[name, partition] < end
        ]
        return [f"{name} partition {partition} offset {offset}" for name, partition, offset in unread[:PLACES_SHOWN]]
    return []


def unread_problems(settings: Settings, flink: Flink, jobs: list[Json], unread: dict[str, int | None]) -> list[str]:
    """Jobs that have read nothing for a minute although messages are unread.

    Flink's rate lags a little, and jobs commit offsets to Kafka only at checkpoints. So this checks a suspected job a second time.
    """

    def idle(jobs: list[Json]) -> set[str]:
        return {
            job["name"]
            for job in jobs
            if job["state"] == "RUNNING" and job["records_per_s"] == 0 and time.time() - job["running_since_unix_s"] > RATE_S
        }

    suspects = {name: before for name in idle(jobs) if (before := unread.get(name))}
    if not suspects:
        return []
    time.sleep(SECOND_LOOK_S)
    try:
        still_idle, now = idle(flink.described_jobs()), lags(settings)
    except UserError as error:
        return [str(error)]
    return [
        f"the job {name} reads nothing, though {now[name]:,} messages are unread"
        for name, before in suspects.items()
        if name in still_idle and (now.get(name) or 0) >= before
    ]


def mended(settings: Settings) -> list[str]:
    """What the local stack's supervisor restarted within the last RECENT_S."""
    log, since = settings.stack.home / "logs" / STACK_LOG, datetime.fromtimestamp(time.time() - RECENT_S, UTC)
    lines = map(logs.LINE.fullmatch, log.read_text(errors="replace").splitlines()) if log.is_file() else ()
    return [
        f"{line['message'].removesuffix('.')} ({line[0][:TIME_CHARACTERS]}Z)"
        for line in lines
        if line and datetime.fromisoformat(line[0].partition(" ")[0]) > since
    ]


def lags(settings: Settings) -> dict[str, int | None]:
    """Messages that each job and the sink have not committed, without jobs that have committed nothing. Raises UserError."""
    found = ConsumerLags(settings).by_name(ASK_S)
    return {job: found[job] for job in JOBS if found[job] is not None} | {"sink": found["sink"]}


def failing_routes(url: str) -> list[str]:
    """A sentence for each route of ./smw notify whose last attempt failed. Raises UserError when the service does not answer."""
    families = metrics_at(url, f"no notify answers at {url}: nobody is notified of alerts; {SMW} notify starts it")
    values = {(sample.name, sample.labels["route"]): sample.value for name in (UP, PENDING, FAILING_SINCE) for sample in families[name]}
    return [
        f"the route {route} of notify has failed since {iso_s(values[FAILING_SINCE, route])}, and {values[PENDING, route]:,.0f} messages wait: "
        "notify's log has the reason"
        for (name, route), value in values.items()
        if name == UP and not value
    ]


def gateway_problems(url: str) -> list[str]:
    """A sentence for each problem of ./smw gateway. Raises UserError when it does not answer."""
    families = metrics_at(url, f"no gateway answers at {url}: no readings of meters come in; {SMW} gateway starts it")
    [mqtt_up], [kafka_up], [waiting] = (families[name] for name in (MQTT_UP, KAFKA_UP, WAITING))
    problems = [] if mqtt_up.value else ["the gateway is not connected to its MQTT broker: its log has the reason"]
    if not kafka_up.value and waiting.value:
        problems.append(f"Kafka does not take the readings of the gateway, and {waiting.value:,.0f} wait on disk: its log has the reason")
    return problems + [
        "the meter {label} ({meter}) of house {house} is silent: no reading has come for its silent_s".format_map(sample.labels)
        for sample in families[SILENT]
        if sample.value
    ]


def metrics_at(url: str, no_answer: str) -> dict[str, list[Sample]]:
    """Name -> samples of the metrics that a service serves. Raises UserError with the sentence no_answer if it does not answer."""
    try:
        with urlopen(url, timeout=ASK_S) as answer:
            return {family.name: family.samples for family in text_string_to_metric_families(answer.read().decode())}
    except (OSError, ValueError):
        raise UserError(no_answer) from None


def registry_answers(settings: Settings) -> None:
    """Query the schema registry, if there is one. Raises UserError when it does not answer."""
    if settings.registry.url:
        from smartmeter.messages.registry import Registry  # its client takes a third of a second to load

        Registry.of(settings).query(lambda client: client.get_subjects())


def results(settings: Settings) -> Json:
    """The newest results in the tables, and their counts. Raises UserError."""
    try:
        row: Json
        [row] = clickhouse.reader(settings).query(RESULTS, settings={"final": 0}).named_results()
    except ClickHouseError as error:
        raise UserError(clickhouse.reason(error, settings)) from None
    return row


def disk(settings: Settings) -> dict[str, int]:
    """Bytes of each existing folder of the local stack, and of free space."""
    present = [settings.stack.home / name for name in FOLDERS if (settings.stack.home / name).is_dir()]
    free = {"free_bytes": shutil.disk_usage(settings.stack.home).free} if present else {}
    return {f"{folder.name}_bytes": size(folder) for folder in present} | free


def size(folder: Path) -> int:
    """Bytes of the files in a folder. Files may disappear meanwhile."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * BLOCK_BYTES
    return total


def iso_s(unix_s: float) -> str:
    """A time as text, in UTC."""
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


# The screen


def screen(status: Json) -> str:
    """The status as text."""
    lines = [f"Smart Meter Watchdog at {status['time']}", "", services_table(status["parts"])]
    if status["jobs"]:
        lines += ["", jobs_table(status["jobs"])]
    lines += ["", *facts(status)]
    lines += ["", *(f"! {problem}" for problem in status["problems"])] if status["problems"] else ["", "All is well."]
    return printable("\n".join(lines), keep="\n")


def services_table(rows: list[Json]) -> str:
    """A line for each service."""
    return left_aligned(("part", "state", "where"), [(row["part"], "up" if row["up"] else "down", row["at"]) for row in rows])


def jobs_table(jobs: list[Json]) -> str:
    """A line for each job."""
    names = ("job", "state", "since", "parallelism", "restarts", "last checkpoint", "state kept", "took")
    now = time.time()
    return left_aligned(
        names,
        [
            (
                job["name"],
                job["state"],
                iso_s(job["since_unix_s"]),
                known(job["parallelism"]),
                known(job["restarts"]),
                known(job["checkpoint_unix_s"], lambda at: f"{max(now - at, 0):.0f} s ago"),
                known(job["checkpoint_bytes"], amount),
                known(job["checkpoint_s"], "{:.2f} s".format),
            )
            for job in jobs
        ],
    )


def facts(status: Json) -> list[str]:
    """Lags, results and disk, a line each."""
    unread, found = status["unread_messages"], status["results"]
    lines = [
        "unread:    "
        + ("?" if unread is None else ", ".join(f"{name} {lag:,} messages" for name, lag in unread.items()) or "no job has read yet"),
        "unstored:  " + known(status["unstored_messages"], "{:,} messages".format),
    ]
    if found:
        kinds = printable(", ".join(f"{number:,} {kind}" for kind, number in found["open_alerts_by_kind"].items()))
        lines += [
            f"newest:    day {known(found['newest_day'])}, minute {known(found['newest_minute'])}, alert {known(found['newest_alert'])}",
            f"alerts:    {found['open_alerts']:,} open" + (f" ({kinds})" if kinds else ""),
            f"refused:   {found['late_readings']:,} readings late, {found['refused_readings']:,} of no possible power or time; "
            f"{found['refused_messages']:,} messages in refused, {found['dead_letters']:,} in dead_letter"
            + (
                f", the newest of {found['newest_dead_letter']}: {printable(found['newest_dead_letter_reason'])}"
                if found["dead_letters"]
                else ""
            ),
        ]
        if found["sparse_meters"]:
            lines.append(
                f"sparse:    {found['sparse_meters']:,} meters whose readings lie farther apart than they hold, so energy is missing: see the "
                "page Quality, or the view sparse_meters"
            )
    if status["disk"]:
        lines.append(
            "disk:      " + ", ".join(f"{name.removesuffix('_bytes')} {amount(number)}" for name, number in status["disk"].items())
        )
    return lines


def left_aligned(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of text without its row count."""
    return aligned(names, rows, [False] * len(names))


def known(value: Any, form: Callable[[Any], str] = str) -> str:
    """A value as text; ? for None."""
    return "?" if value is None else form(value)


def amount(number: int) -> str:
    """A number of bytes with its unit."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number / 1e3:.0f} kB"
