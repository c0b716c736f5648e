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
