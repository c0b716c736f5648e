"""Spark batch: the topic as a table with a row a reading, sums by local day, and lead() for the time between two bursts.

from_avro decodes in the JVM, and no Python touches a reading. A burst's arrays are cut into *pieces* by meter and local day, and
exploded. A reading holds for the next one's delta, so energy is summed within a piece before anything is shuffled or sorted.
Window functions over all readings took four times as long. lead() over the pieces gives how long the last reading of each holds.

--work all computes thresholds from one histogram for each meter and day (bins of 2 %, so within 1 %), summed over the days of the
window. percentile_approx would need every reading once for each of the 7 days. percentile with a frequency would interpolate
between two readings; the quantile here is one of the readings, as ours is. For alerts, only pieces with a reading over the
meter's lowest limit are exploded again. Tables that are read twice are cached.

Tuned: local[2] with 4 GB of heap and the parallel collector; 8 splits of the topic and 8 shuffle partitions, so that neither core waits.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

from bench.peers import CORES, JARS, MAINS, MAX_GAP_MS, RULE, WATT_MS_PER_KWH, arguments, carry_out, report
from smartmeter.messages.schemas import HEADER_BYTES, SCHEMA_DIR

PARTITIONS = 8
GAMMA = 1.01 / 0.99
LATENESS_MS = round(RULE.rules.allowed_lateness_s * 1000)
LEAST_HISTORY_MS = 20 * 3_600_000
FEW_DAYS = 4
METER = ["house_id", "meter_id"]


def session(**options) -> SparkSession:
    """A Spark of its own on two cores, with the jars of bench/pom.xml."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(f"local[{CORES}]").appName("smart meter peer")
    for key, value in {
        "spark.driver.memory": "4g",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.jars": ",".join(str(jar) for jar in sorted((JARS / "spark").glob("*.jar"))),
        "spark.driver.extraJavaOptions": "-XX:+UseParallelGC",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.adaptive.coalescePartitions.enabled": "false",
        "spark.sql.shuffle.partitions": PARTITIONS,
        "spark.log.level": "ERROR",
        **options,
    }.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def decoded(messages: DataFrame) -> DataFrame:
    """The bursts in Kafka messages: the columns of avro/reading_burst.avsc."""
    schema = (SCHEMA_DIR / "reading_burst.avsc").read_text()
    body = F.expr(f"substring(value, {HEADER_BYTES + 1})")
    return messages.select(from_avro(body, schema).alias("burst")).select("burst.*")


def local_date(time_ms: Column, timezone: Column) -> Column:
    return F.to_date(F.from_utc_timestamp(F.timestamp_millis(time_ms), timezone))


def midnight_ms(date: Column, timezone: Column) -> Column:
    return F.unix_millis(F.to_utc_timestamp(date.cast("timestamp"), timezone))


def cut(bursts: DataFrame) -> DataFrame:
    """A row for each piece, with the deltas and watts of its readings. The first delta counts from base_ms."""
    timezone = F.col("timezone")
    first_count = F.aggregate(F.slice("counts", 1, F.col("m")), F.lit(1), lambda total, count: total + count)
    count = F.element_at("counts", F.col("m") + 1)
    days = F.sequence(local_date(F.col("start_ms"), timezone), local_date(F.col("end_ms") - 1, timezone))

    def readings_before(time_ms: Column) -> Column:
        count = F.aggregate(
            "deltas",
            F.struct(F.col("start_ms").alias("time_ms"), F.lit(0).alias("readings")),
            lambda total, delta: F.struct(
                (total.time_ms + delta * F.col("tick_ms")).alias("time_ms"),
                (total.readings + (total.time_ms + delta * F.col("tick_ms") < time_ms).cast("int")).alias("readings"),
            ),
        )
        return F.when(time_ms <= F.col("start_ms"), 0).when(time_ms >= F.col("end_ms"), F.size("deltas")).otherwise(count.readings)

    ticks_before = F.aggregate(F.slice("deltas", 1, F.col("first")), F.lit(0).cast("long"), lambda total, delta: total + delta)
    of_day = F.col("first") + 1, F.col("end") - F.col("first")
    return (
        bursts.select("*", F.unix_millis("start").alias("start_ms"), F.unix_millis("end").alias("end_ms"))
        .select("*", F.explode(days).alias("date"))
        .select(
            "*",
            midnight_ms(F.col("date"), timezone).alias("begin_ms"),
            midnight_ms(F.date_add("date", 1), timezone).alias("midnight_ms"),
            F.posexplode("meter_ids").alias("m", "meter_id"),
        )
        .withColumns({"deltas": F.slice("deltas", first_count, count), "watts": F.slice("watts", first_count, count)})
        .withColumns({"first": readings_before(F.col("begin_ms")), "end": readings_before(F.col("midnight_ms"))})
        .where("end > first")
        .select(
            *METER,
            "date",
            "begin_ms",
            "midnight_ms",
            "tick_ms",
            (F.col("start_ms") + ticks_before * F.col("tick_ms")).alias("base_ms"),
            F.slice("deltas", *of_day).alias("deltas"),
            F.slice("watts", *of_day).alias("watts"),
        )
    )


def summed(pieces: DataFrame) -> DataFrame:
    """A row for each piece, with the sums of its readings. Its last reading holds until until_ms."""
    next_deltas = F.slice("deltas", 2, F.greatest(F.size("deltas") - 1, F.lit(0)))
    readings = pieces.select(
        *METER,
        "date",
        "begin_ms",
        "midnight_ms",
        "base_ms",
        "tick_ms",
        (F.element_at("deltas", 1) * F.col("tick_ms")).alias("first_delta_ms"),
        F.inline(F.arrays_zip(F.col("deltas").alias("delta"), next_deltas.alias("next_delta"), F.col("watts").alias("watts"))),
    )
    watts, is_last = F.col("watts").cast("double"), F.col("next_delta").isNull()
    held_ms = F.when(is_last, 0).otherwise(F.least(F.col("next_delta").cast("long") * F.col("tick_ms"), F.lit(MAX_GAP_MS)))
    sums = readings.groupBy(*METER, "date", "begin_ms", "midnight_ms", "base_ms", "tick_ms", "first_delta_ms").agg(
        F.count("*").alias("readings"),
        F.sum(watts * held_ms).alias("energy"),
        F.sum(held_ms).alias("covered_ms"),
        F.sum("delta").alias("ticks"),
        F.sum(F.when(is_last, watts)).alias("last_watts"),
    )
    of_meter = Window.partitionBy(*METER).orderBy("first_ms")
    newest_ms = F.max("last_ms").over(Window.partitionBy("house_id"))
    return (
        sums.withColumns({"first_ms": F.expr("base_ms + first_delta_ms"), "last_ms": F.expr("base_ms + ticks * tick_ms")})
        .withColumn("next_ms", F.lead("first_ms").over(of_meter))
        .withColumn("until_ms", F.least(F.coalesce("next_ms", newest_ms), F.col("last_ms") + MAX_GAP_MS))
    )


def daily(sums: DataFrame) -> DataFrame:
    """Energy in W ms, covered time and readings of each meter and local day. A piece's last reading may hold across midnight."""
    return (
        sums.withColumns(
            {"held_ms": F.expr("least(until_ms, midnight_ms) - last_ms"), "rest_ms": F.expr("greatest(until_ms - midnight_ms, 0)")}
        )
        .selectExpr(
            *METER,
            """stack(2, date, energy + last_watts * held_ms, covered_ms + held_ms, readings,
                                     date_add(date, 1), last_watts * rest_ms, rest_ms, 0L) AS (date, energy, covered_ms, readings)""",
        )
        .where("readings > 0 OR covered_ms > 0")
        .groupBy(*METER, "date")
        .agg(*(F.sum(name).alias(name) for name in ("energy", "covered_ms", "readings")))
    )


def in_force(time_ms: str) -> Column:
    """The date of the version that judges a reading of a piece. A version is in force from an hour after midnight."""
    return F.when(F.col(time_ms) < F.col("begin_ms") + LATENESS_MS, F.date_sub("date", 1)).otherwise(F.col("date"))


def thresholds(pieces: DataFrame, sums: DataFrame, days: DataFrame) -> DataFrame:
    """Percentile and limit (null while warming up) of each meter and date, from the local days before it."""
    readings = pieces.select(*METER, "date", F.explode("watts").alias("watts"))
    bins = (
        readings.where("watts > 1e-5")
        .groupBy(*METER, "date", F.floor(F.log("watts") / F.log(F.lit(GAMMA))).alias("bin"))
        .agg(F.count("*").alias("n"))
        .withColumn("value", F.pow(F.lit(GAMMA), F.col("bin")) * 1.01)
    )
    is_second_highest = (F.col("total") > 1) & (F.col("upto") > F.col("total") - 2)
    on = (
        ranked(bins.where(F.col("value") > RULE.rules.on_watts))
        .groupBy(*METER, "date")
        .agg(F.min(F.when(is_second_highest, F.col("value"))).alias("peak_watts"))
    )
    last = sums.groupBy("house_id").agg(F.max(in_force("last_ms")).alias("last_date"))

    def before(rows: DataFrame, count: int, *columns: str) -> DataFrame:
        dates = F.explode(F.sequence(F.date_add("date", 1), F.date_add("date", count))).alias("date")
        return rows.join(F.broadcast(last), "house_id").select(*METER, dates, "last_date", *columns).where("date <= last_date")

    percentiles = quantile(before(bins, RULE.rules.window_days, "value", "n"), RULE.rules.quantile)
    known = days.join(on, [*METER, "date"], "left")
    history = (
        before(known, RULE.rules.limit_days, "covered_ms", "readings", "peak_watts")
        .groupBy(*METER, "date")
        .agg(
            F.sum("covered_ms").alias("covered_ms"),
            F.count(F.when(F.col("readings") > 0, 1)).alias("days_with_readings"),
            F.sort_array(F.collect_list("peak_watts"), asc=False).alias("peaks"),
        )
    )
    peak = F.element_at("peaks", F.when(F.size("peaks") < FEW_DAYS, 1).otherwise(2))
    added = F.when(F.col("meter_id").isin(*MAINS), RULE.rules.mains_watts).otherwise(RULE.rules.min_watts)
    is_seldom_on = (F.size("peaks") < FEW_DAYS) & (2 * F.size("peaks") <= F.col("days_with_readings"))
    least = F.when(is_seldom_on, RULE.rules.mains_watts).otherwise(0.0)
    has_limit = (F.col("covered_ms") >= LEAST_HISTORY_MS) & (F.size("peaks") > 0)
    limit = F.when(has_limit, F.greatest(peak * (1 + RULE.rules.margin) + added, least))
    percentile = F.coalesce("quantile", F.lit(0.0)).alias("percentile_watts")
    return (
        history.join(percentiles, [*METER, "date"], "left")
        .where((F.size("peaks") > 0) | F.col("quantile").isNotNull())
        .select(*METER, "date", percentile, limit.alias("limit_watts"))
    )


def ranked(bins: DataFrame) -> DataFrame:
    """The bins of each meter and date, with the number of readings in all of them, and in those up to each."""
    of_date = Window.partitionBy(*METER, "date")
    return (
        bins.groupBy(*METER, "date", "value")
        .agg(F.sum("n").alias("n"))
        .withColumns({"total": F.sum("n").over(of_date), "upto": F.sum("n").over(of_date.orderBy("value"))})
    )


def quantile(bins: DataFrame, q: float) -> DataFrame:
    """The quantile of each meter and date: of `total` sorted readings, the one of rank floor(q * (total - 1)), counted from 0."""
    return (
        ranked(bins)
        .where(F.col("upto") > F.floor(F.lit(q) * (F.col("total") - 1)))
        .groupBy(*METER, "date", "total")
        .agg(F.min("value").alias("quantile"))
    )


def alerts(pieces: DataFrame, sums: DataFrame, limits: DataFrame) -> DataFrame:
    """The episodes of readings over the limit in force, each within the hold time of the one before, or next to it within MAX_GAP_MS."""
    limits = limits.where("limit_watts IS NOT NULL").select(*METER, F.col("date").alias("in_force"), "limit_watts")
    lowest = limits.groupBy(*METER).agg(F.min("limit_watts").alias("lowest_watts"))
    piece = Window.partitionBy(*METER, "base_ms").orderBy("i")
    readings = (
        pieces.join(F.broadcast(lowest), METER)
        .where(F.array_max("watts") > F.col("lowest_watts"))
        .join(sums.select(*METER, "base_ms", "next_ms"), [*METER, "base_ms"])
        .select(
            *METER, "date", "begin_ms", "base_ms", "tick_ms", "next_ms", F.posexplode(F.arrays_zip("deltas", "watts")).alias("i", "reading")
        )
        .withColumn("time_ms", F.col("base_ms") + F.sum("reading.deltas").over(piece) * F.col("tick_ms"))
        .withColumn("next_ms", F.coalesce(F.lead("time_ms").over(piece), "next_ms"))
    )
    over = (
        readings.select(*METER, "time_ms", "next_ms", "reading.watts", in_force("time_ms").alias("in_force"))
        .join(F.broadcast(limits), [*METER, "in_force"])
        .where("watts > limit_watts")
    )
    of_meter = Window.partitionBy(*METER).orderBy("time_ms")
    since_ms = F.col("time_ms") - F.lag("time_ms").over(of_meter)
    follows = F.lag("next_ms").over(of_meter) == F.col("time_ms")
    goes_on = (since_ms <= RULE.rules.hold_s * 1000) | follows & (since_ms <= MAX_GAP_MS)
    return (
        over.withColumn("starts", (~F.coalesce(goes_on, F.lit(False))).cast("int"))
        .withColumn("episode", F.sum("starts").over(of_meter))
        .groupBy(*METER, "episode")
        .agg(
            F.min("time_ms").alias("start"),
            F.count("*").alias("readings"),
            F.max("watts").cast("double").alias("peak_watts"),
            F.min_by("limit_watts", "time_ms").alias("limit_watts"),
        )
        .drop("episode")
        .where("readings > 1 OR peak_watts >= 2 * limit_watts")
    )


def main() -> None:
    args = arguments(__doc__, ("energy", "all"))
    spark = session()
    begun = time.monotonic()
    messages = (
        spark.read.format("kafka")
        .options(**{"kafka.bootstrap.servers": args.kafka, "subscribe": args.topic, "minPartitions": PARTITIONS})
        .load()
    )
    keep = DataFrame.persist if args.work == "all" else lambda rows: rows
    pieces = keep(cut(decoded(messages)))
    sums = keep(summed(pieces))
    days = keep(daily(sums))
    write(days.select(*METER, "date", (F.col("energy") / WATT_MS_PER_KWH).alias("kwh"), "readings"), args.out, "daily_energy")
    if args.work == "all":
        limits = keep(thresholds(pieces, sums, days))
        write(limits, args.out, "thresholds")
        write(alerts(pieces, sums, limits), args.out, "alerts")
    report(time.monotonic() - begun)
    spark.stop()


def write(rows: DataFrame, out: Path, name: str) -> None:
    rows.write.mode("overwrite").parquet(str(out.resolve() / f"{name}.parquet"))


if __name__ == "__main__":
    carry_out(main)
