"""Spark Structured Streaming: micro-batches through applyInPandasWithState, over the whole topic (availableNow).

lag() is not available on a stream. from_avro decodes in the JVM. Python gets a house's bursts of a micro-batch as a data frame,
sums each in NumPy, and keeps the house's days and each meter's last reading as state. Each batch emits the days of its houses
so far. The newest row of a key counts, as in a table that is written by key.

Tuned: local[2] with 2 GB of heap; as many shuffle partitions as cores, since each costs a state store; 10,000 bursts a micro-batch;
state in memory.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Iterator

import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.streaming.state import GroupState, GroupStateTimeout

from bench.peers import CORES, arguments, carry_out, report
from bench.peers.house_days import HouseDays, summarise
from bench.peers.spark_batch import decoded, session, write

RESULT = "house_id LONG, meter_id INT, date DATE, kwh DOUBLE, readings LONG"
COLUMNS = ["timezone", "start_ms", "tick_ms", "meter_ids", "counts", "deltas", "watts"]


def days(key: tuple[int], frames: Iterator[pd.DataFrame], state: GroupState) -> Iterator[pd.DataFrame]:
    """Yield the days of a house after the bursts of a micro-batch."""
    house = pickle.loads(state.get[0]) if state.exists else HouseDays()
    bursts = pd.concat(frames).sort_values("start_ms")
    for burst in bursts[COLUMNS].itertuples(index=False, name=None):
        house.add(summarise(*burst))
    state.update((pickle.dumps(house),))
    yield pd.DataFrame([(*key, *row) for row in house.results()], columns=["house_id", "meter_id", "date", "kwh", "readings"])


def main() -> None:
    args = arguments(__doc__)
    spark = session(**{"spark.driver.memory": "2g", "spark.sql.shuffle.partitions": CORES})
    with tempfile.TemporaryDirectory() as folder:
        updates = f"{folder}/updates"

        def keep(batch: DataFrame, number: int) -> None:
            batch.withColumn("batch", F.lit(number)).write.mode("append").parquet(updates)

        begun = time.monotonic()
        messages = (
            spark.readStream.format("kafka")
            .options(
                **{
                    "kafka.bootstrap.servers": args.kafka,
                    "subscribe": args.topic,
                    "startingOffsets": "earliest",
                    "maxOffsetsPerTrigger": 10_000,
                }
            )
            .load()
        )
        query = (
            decoded(messages)
            .withColumn("start_ms", F.unix_millis("start"))
            .select("house_id", *COLUMNS)
            .groupBy("house_id")
            .applyInPandasWithState(days, RESULT, "house BINARY", "update", GroupStateTimeout.NoTimeout)
            .writeStream.outputMode("update")
            .foreachBatch(keep)
            .trigger(availableNow=True)
            .option("checkpointLocation", f"{folder}/checkpoint")
            .start()
        )
        query.awaitTermination()
        newest = Window.partitionBy("house_id", "meter_id", "date").orderBy(F.desc("batch"))
        rows = spark.read.parquet(updates).withColumn("age", F.row_number().over(newest)).where("age = 1").drop("age", "batch")
        write(rows, args.out, "daily_energy")
        report(time.monotonic() - begun)
        spark.stop()


if __name__ == "__main__":
    carry_out(main)
