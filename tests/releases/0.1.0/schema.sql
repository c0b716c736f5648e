-- Tables and views of Smart Meter Watchdog. Statements end in a semicolon at the line's end; running them again does no harm.
-- A row that comes again takes the place of the first one: at once where FINAL is used, as the views do.

CREATE TABLE IF NOT EXISTS houses
(
    house_id   Int64,
    timezone   LowCardinality(String)  COMMENT 'IANA time zone',
    source     String                  COMMENT 'where its readings come from',
    zip        LowCardinality(String)  COMMENT 'postal code; empty when unknown',
    city       LowCardinality(String)  COMMENT 'empty when unknown',
    state      LowCardinality(String)  COMMENT 'two letters; empty when unknown',
    latitude   Nullable(Float64)       COMMENT 'degrees north of the zip''s centre',
    longitude  Nullable(Float64)       COMMENT 'degrees east of the zip''s centre',
    population Nullable(Int64)         COMMENT 'people living in the zip',
    updated    DateTime64(3, 'UTC')    COMMENT 'when this description was made'
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY house_id
COMMENT 'Houses and where they stand';

CREATE TABLE IF NOT EXISTS meters
(
    house_id Int64,
    meter_id Int32,
    label    LowCardinality(String) COMMENT 'what it measures, such as mains or refrigerator',
    kind     LowCardinality(String) COMMENT 'mains or appliance',
    updated  DateTime64(3, 'UTC')   COMMENT 'when this description was made'
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY (house_id, meter_id)
COMMENT 'The meters of the houses';

CREATE TABLE IF NOT EXISTS daily_energy
(
    house_id   Int64   CODEC(Delta, ZSTD),
    meter_id   Int32   CODEC(Delta, ZSTD),
    date       Date32  CODEC(Delta, ZSTD)      COMMENT 'the house''s local day',
    kwh        Float64 CODEC(Gorilla, ZSTD)    COMMENT 'energy of the day, kWh',
    readings   Int64   CODEC(T64, ZSTD)        COMMENT 'readings used',
    duplicates Int64   CODEC(T64, ZSTD)        COMMENT 'readings dropped as duplicates',
    covered_s  Float64 CODEC(Gorilla, ZSTD)    COMMENT 'time over which some reading held, s',
    max_gap_s  Float64 CODEC(Gorilla, ZSTD)    COMMENT 'longest stretch without a reading, s',
    day_s      Int32   CODEC(Delta, ZSTD)      COMMENT 'length of the local day, s',
    final      Bool                            COMMENT 'true once no later revision follows',
    revision   Int64   CODEC(DoubleDelta, ZSTD) COMMENT 'rises with each result: ms since 1970-01-01T00:00Z'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (house_id, meter_id, date)
COMMENT 'Energy of each meter and local day, as known so far';

CREATE TABLE IF NOT EXISTS thresholds
(
    house_id         Int64   CODEC(Delta, ZSTD),
    meter_id         Int32   CODEC(Delta, ZSTD),
    date             Date32  CODEC(Delta, ZSTD)       COMMENT 'the house''s local day on which it comes into force',
    valid_from       DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'first time that it holds for',
    valid_to         DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'first time that it no longer holds for; the next one''s valid_from',
    quantile         Float64 CODEC(Gorilla, ZSTD)     COMMENT 'which quantile percentile_watts is, such as 0.97',
    window_days      Int32   CODEC(Delta, ZSTD)       COMMENT 'how many local days it was made from, at most',
    percentile_watts Float64 CODEC(Gorilla, ZSTD)     COMMENT 'that quantile of the readings over 1e-5 W, in W, within 1 %',
    readings         Int64   CODEC(T64, ZSTD)         COMMENT 'how many such readings it was made from',
    covered_s        Float64 CODEC(Gorilla, ZSTD)     COMMENT 'time of those days over which some reading held, s',
    warming_up       Bool                             COMMENT 'true while there is too little history',
    limit_watts      Nullable(Float64) CODEC(Gorilla, ZSTD) COMMENT 'power over which a reading is a spike, W; NULL while warming up',
    revision         Int64   CODEC(DoubleDelta, ZSTD) COMMENT 'when it was made: ms since 1970-01-01T00:00Z'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (house_id, meter_id, date)
COMMENT 'What each meter''s power usually stays under, by the local day on which that comes into force';

CREATE TABLE IF NOT EXISTS alerts
(
    alert_id         String  CODEC(ZSTD)              COMMENT 'house_id/meter_id/start in ms',
    house_id         Int64   CODEC(Delta, ZSTD),
    meter_id         Int32   CODEC(Delta, ZSTD),
    date             Date32  CODEC(Delta, ZSTD)       COMMENT 'the house''s local day in which it starts',
    start            DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'its first reading',
    end              DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'until when its last reading held; while open, has held so far',
    open             Bool                             COMMENT 'true while no reading under the limit has followed',
    retracted        UInt8                            COMMENT '1 once it is known that no episode starts here; FINAL leaves such rows out',
    readings         Int64   CODEC(T64, ZSTD)         COMMENT 'readings in it',
    peak_watts       Float64 CODEC(Gorilla, ZSTD)     COMMENT 'the highest of them, W',
    percentile_watts Float64 CODEC(Gorilla, ZSTD)     COMMENT 'the meter''s percentile in force at its start, W',
    limit_watts      Float64 CODEC(Gorilla, ZSTD)     COMMENT 'the limit in force at its start, W',
    excess_kwh       Float64 CODEC(Gorilla, ZSTD)     COMMENT 'energy over the limit, kWh',
    revision         Int64   CODEC(DoubleDelta, ZSTD) COMMENT 'rises with each alert of a house: ms since 1970-01-01T00:00Z',
    stored           DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD) COMMENT 'when it reached the table'
)
ENGINE = ReplacingMergeTree(revision, retracted)
ORDER BY (house_id, meter_id, start)
COMMENT 'Episodes of a meter''s readings over its limit, as known so far';

CREATE TABLE IF NOT EXISTS power_profile
(
    house_id   Int64           CODEC(Delta, ZSTD),
    meter_id   Int32           CODEC(Delta, ZSTD),
    minute     DateTime('UTC') CODEC(Delta, ZSTD) COMMENT 'start of the minute',
    part       Int64           CODEC(ZSTD)        COMMENT '0: the readings that came before the minute was told; else the start, in ms, of a span that came later',
    readings   Int32           CODEC(T64, ZSTD)   COMMENT 'readings in it',
    min_watts  Float32         CODEC(ZSTD(4))     COMMENT 'the lowest of them, W',
    mean_watts Float32         CODEC(ZSTD(4))     COMMENT 'their mean, W',
    max_watts  Float32         CODEC(ZSTD(4))     COMMENT 'the highest of them, W'
)
ENGINE = ReplacingMergeTree(readings)
ORDER BY (house_id, meter_id, minute, part)
COMMENT 'Power of each meter and minute with readings, some 5.2 kB a meter and day; a minute is all of its parts, see power_by_minute';

CREATE TABLE IF NOT EXISTS acknowledgements
(
    alert_id     String  CODEC(ZSTD),
    house_id     Int64   CODEC(Delta, ZSTD),
    note         String  CODEC(ZSTD)             COMMENT 'what was found; empty when nothing was written',
    author       String  CODEC(ZSTD)             COMMENT 'who has seen it; empty when there is no login',
    withdrawn    UInt8                           COMMENT '1 when it is taken back; FINAL leaves such rows out',
    acknowledged DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'when it was seen, or taken back',
    stored       DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD) COMMENT 'when it reached the table'
)
ENGINE = ReplacingMergeTree(acknowledged, withdrawn)
ORDER BY (house_id, alert_id)
COMMENT 'Alerts that somebody has seen';

CREATE TABLE IF NOT EXISTS late
(
    partition  Int32,
    offset     Int64               CODEC(Delta, ZSTD),
    house_id   Int64,
    date       Date32              COMMENT 'local day that the readings belong to',
    start      DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'start of the late part',
    end        DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'end of the late part',
    readings   Int64               COMMENT 'readings in that part',
    kwh        Float64             COMMENT 'energy between each meter''s first and last reading in that part, kWh',
    house_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'the house''s newest reading soon after the burst came',
    reason     LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (partition, offset, date)
COMMENT 'Readings that came after their day had been closed, by their place in the topic readings';

CREATE TABLE IF NOT EXISTS dead_letter
(
    partition Int32,
    offset    Int64               CODEC(Delta, ZSTD),
    received  DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'Kafka timestamp of the message',
    reason    String              COMMENT 'what is wrong with it',
    payload   String              CODEC(ZSTD(3)) COMMENT 'the bytes as they came'
)
ENGINE = ReplacingMergeTree
ORDER BY (partition, offset)
COMMENT 'Messages that cannot be used, by their place in the topic readings';

-- Energy of each meter and day with the meter's label; label and kind are empty while the meter is unknown.
CREATE OR REPLACE VIEW daily_energy_by_label AS
SELECT
    e.house_id AS house_id,
    e.date AS date,
    e.meter_id AS meter_id,
    m.label AS label,
    m.kind AS kind,
    e.kwh AS kwh,
    e.readings AS readings,
    e.duplicates AS duplicates,
    e.covered_s AS covered_s,
    e.max_gap_s AS max_gap_s,
    e.day_s AS day_s,
    e.final AS final
FROM daily_energy AS e FINAL
LEFT JOIN (SELECT house_id, meter_id, label, kind FROM meters FINAL) AS m
    ON e.house_id = m.house_id AND e.meter_id = m.meter_id;

-- Share of each appliance in its house's mains, in %; NULL where the mains measured nothing.
CREATE OR REPLACE VIEW appliance_share AS
SELECT house_id, date, meter_id, label, kwh, mains_kwh, 100 * kwh / nullIf(mains_kwh, 0) AS share_percent
FROM
(
    SELECT *, sumIf(kwh, kind = 'mains') OVER (PARTITION BY house_id, date) AS mains_kwh
    FROM daily_energy_by_label
)
WHERE kind = 'appliance';

-- Energy of a zip's houses by day, from their mains: in sum, and for each house counted.
CREATE OR REPLACE VIEW energy_by_zip AS
SELECT
    h.zip AS zip,
    h.city AS city,
    h.state AS state,
    h.latitude AS latitude,
    h.longitude AS longitude,
    h.population AS population,
    e.date AS date,
    uniqExact(e.house_id) AS houses,
    sum(e.kwh) AS kwh,
    kwh / houses AS kwh_per_house
FROM daily_energy_by_label AS e
INNER JOIN (SELECT * FROM houses FINAL) AS h ON e.house_id = h.house_id
WHERE e.kind = 'mains'
GROUP BY zip, city, state, latitude, longitude, population, date;

-- Power of each meter and minute, the parts of a minute put together; label and kind are empty while the meter is unknown.
CREATE OR REPLACE VIEW power_by_minute AS
SELECT
    p.house_id AS house_id,
    p.meter_id AS meter_id,
    m.label AS label,
    m.kind AS kind,
    p.minute AS minute,
    p.readings AS readings,
    p.min_watts AS min_watts,
    p.mean_watts AS mean_watts,
    p.max_watts AS max_watts
FROM
(
    SELECT
        house_id,
        meter_id,
        minute,
        sum(r.readings) AS readings,
        min(r.min_watts) AS min_watts,
        sum(r.mean_watts * r.readings) / sum(r.readings) AS mean_watts,
        max(r.max_watts) AS max_watts
    FROM power_profile AS r FINAL
    GROUP BY house_id, meter_id, minute
) AS p
LEFT JOIN (SELECT house_id, meter_id, label, kind FROM meters FINAL) AS m
    ON p.house_id = m.house_id AND p.meter_id = m.meter_id;

-- How well a house was measured on a day: coverage in % over all of its meters and over its mains (NULL without mains).
CREATE OR REPLACE VIEW data_quality AS
SELECT
    house_id,
    date,
    count() AS meters,
    100 * sum(covered_s) / sum(day_s) AS coverage_percent,
    100 * sumIf(covered_s, kind = 'mains') / nullIf(sumIf(day_s, kind = 'mains'), 0) AS mains_coverage_percent,
    max(max_gap_s) AS longest_gap_s,
    sum(e.readings) AS readings,
    sum(e.duplicates) AS duplicates,
    min(e.final) AS final
FROM daily_energy_by_label AS e
GROUP BY house_id, date;

-- Alerts with the meter's label and the house's place, open ones included; both are empty while they are unknown. Whoever has
-- seen an alert is told at its end; acknowledged is NULL where nobody has.
CREATE OR REPLACE VIEW alert_list AS
SELECT
    a.alert_id AS alert_id,
    a.house_id AS house_id,
    a.meter_id AS meter_id,
    m.label AS label,
    m.kind AS kind,
    h.city AS city,
    h.zip AS zip,
    a.date AS date,
    a.start AS start,
    a.end AS end,
    dateDiff('millisecond', a.start, a.end) / 1000 AS duration_s,
    a.open AS open,
    a.readings AS readings,
    a.peak_watts AS peak_watts,
    a.percentile_watts AS percentile_watts,
    a.limit_watts AS limit_watts,
    a.excess_kwh AS excess_kwh,
    k.acknowledged AS acknowledged,
    k.note AS note,
    k.author AS author,
    a.stored AS stored
FROM alerts AS a FINAL
LEFT JOIN (SELECT house_id, meter_id, label, kind FROM meters FINAL) AS m
    ON a.house_id = m.house_id AND a.meter_id = m.meter_id
LEFT JOIN (SELECT house_id, city, zip FROM houses FINAL) AS h ON a.house_id = h.house_id
LEFT JOIN
(
    SELECT house_id, alert_id, toNullable(acknowledged) AS acknowledged, note, author FROM acknowledgements FINAL
) AS k ON a.house_id = k.house_id AND a.alert_id = k.alert_id;

-- Alerts that are still going on, newest first.
CREATE OR REPLACE VIEW open_alerts AS
SELECT * FROM alert_list WHERE open ORDER BY start DESC;

-- Alerts of a zip's houses by the day in which they start; houses counts all that stand there, with an alert or without.
CREATE OR REPLACE VIEW alerts_by_zip AS
SELECT
    h.zip AS zip,
    h.city AS city,
    h.state AS state,
    h.latitude AS latitude,
    h.longitude AS longitude,
    h.population AS population,
    a.date AS date,
    count() AS alerts,
    uniqExact(a.house_id) AS houses_with_alert,
    any(h.houses) AS houses,
    sum(a.excess_kwh) AS excess_kwh
FROM alerts AS a FINAL
INNER JOIN
(
    SELECT *, count() OVER (PARTITION BY zip, city, state, latitude, longitude, population) AS houses
    FROM houses FINAL
) AS h ON a.house_id = h.house_id
GROUP BY zip, city, state, latitude, longitude, population, date;

-- The meters that gave alerts, most alerts first.
CREATE OR REPLACE VIEW top_meters AS
SELECT
    a.house_id AS house_id,
    a.meter_id AS meter_id,
    a.label AS label,
    a.kind AS kind,
    count() AS alerts,
    sum(a.excess_kwh) AS excess_kwh,
    sum(a.duration_s) AS duration_s,
    max(a.peak_watts) AS peak_watts,
    max(a.start) AS last_start
FROM alert_list AS a
GROUP BY house_id, meter_id, label, kind
ORDER BY alerts DESC, excess_kwh DESC;
