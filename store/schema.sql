-- Tables and views of Smart Meter Watchdog, as a new database gets them. Statements end in a semicolon at the line's end; running them again
-- does no harm. A table that exists stays as it is: a change of a column also needs a file in migrations/, which brings such a table here.
-- A row that comes again takes the place of the first one: at once where FINAL is used, as the views do.

CREATE TABLE IF NOT EXISTS migrations
(
    number  Int32,
    name    String,
    applied DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the last of its statements had run'
)
ENGINE = ReplacingMergeTree(applied)
ORDER BY number
COMMENT 'Files of store/migrations that this database has';

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
    kind     LowCardinality(String) COMMENT 'mains, appliance, solar, battery or ev',
    updated  DateTime64(3, 'UTC')   COMMENT 'when this description was made',
    parent   Int32                  COMMENT 'the meter that measures this one''s power too; 0: none but the mains',
    role     LowCardinality(String) DEFAULT if(kind = 'mains', 'grid', 'load') COMMENT 'as what it counts in house_balance: grid, solar, battery or load; within: as part of another'
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY (house_id, meter_id)
COMMENT 'The meters of the houses';

CREATE TABLE IF NOT EXISTS daily_energy
(
    house_id   Int64   CODEC(Delta, ZSTD),
    meter_id   Int32   CODEC(Delta, ZSTD),
    date       Date32  CODEC(Delta, ZSTD)      COMMENT 'the house''s local day',
    kwh        Float64 CODEC(Gorilla, ZSTD)    COMMENT 'energy drawn in the day, kWh',
    readings   Int64   CODEC(T64, ZSTD)        COMMENT 'readings used',
    duplicates Int64   CODEC(T64, ZSTD)        COMMENT 'readings dropped as duplicates',
    covered_s  Float64 CODEC(Gorilla, ZSTD)    COMMENT 'time over which some reading held, s',
    max_gap_s  Float64 CODEC(Gorilla, ZSTD)    COMMENT 'longest stretch without a reading, s',
    day_s      Int32   CODEC(Delta, ZSTD)      COMMENT 'length of the local day, s',
    final      Bool                            COMMENT 'true once no later revision follows',
    revision   Int64   CODEC(DoubleDelta, ZSTD) COMMENT 'rises with each result: ms since 1970-01-01T00:00Z',
    refused    Int64   CODEC(T64, ZSTD)        COMMENT 'readings left out: no possible power, or times not in order',
    hour_starts    Array(DateTime64(3, 'UTC')) CODEC(Delta, ZSTD) COMMENT 'starts of the local hours in which some reading held, see energy_by_hour',
    hours          Array(UInt8) CODEC(ZSTD)            COMMENT 'what the local clock shows at each of them, 0 to 23',
    hour_kwh       Array(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy drawn in each of these hours, kWh; they add up to kwh',
    hour_covered_s Array(Float64) CODEC(Gorilla, ZSTD) COMMENT 'time of each of them over which some reading held, s',
    exported_kwh      Float64        CODEC(Gorilla, ZSTD) COMMENT 'energy fed in during the day, kWh; at the grid meter it is export',
    hour_exported_kwh Array(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy fed in during each of the hours, kWh; they add up to exported_kwh; empty: none',
    gaps       Int64   CODEC(T64, ZSTD)        COMMENT 'readings that hold neither until the next one nor to the day''s end, see sparse_meters',
    power_kwh Nullable(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy drawn, kWh, by power alone; NULL without power, or without a register',
    power_exported_kwh Nullable(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy fed in, kWh, by power alone; NULL likewise',
    register_kwh Nullable(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy drawn, kWh, by the register of import alone; NULL without one',
    register_exported_kwh Nullable(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy fed in, kWh, by the register of export alone; NULL without one',
    register_faults Int32 CODEC(T64, ZSTD) COMMENT 'readings of registers after which nothing counts: it fell, or rose by more than the connection delivers'
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
    revision         Int64   CODEC(DoubleDelta, ZSTD) COMMENT 'when it was made: ms since 1970-01-01T00:00Z',
    mains                Nullable(Bool)           COMMENT 'whether it is judged as mains; NULL, as all below, with too little history',
    longest_run_minutes  Array(Int32) CODEC(ZSTD) COMMENT 'the longest that it usually stays over 30 W, 60 W, 120 W and so on without a pause, min',
    longest_off_minutes  Nullable(Int32)          COMMENT 'the longest that it is usually off, min',
    longest_same_minutes Nullable(Int32)          COMMENT 'the longest that its readings usually stay the same while on, min',
    longest_gap_minutes  Nullable(Int32)          COMMENT 'the longest that it usually sends nothing while other meters of the house do, min',
    hour_watts           Array(Float64) CODEC(Gorilla, ZSTD) COMMENT 'of mains: the power that it may hold in each hour since midnight, W',
    standby_watts        Nullable(Float64)        COMMENT 'of mains: the power that it falls to within a day, W',
    dead_watts           Nullable(Float64)        COMMENT 'of mains: the power that it stays over, W',
    rare_watts           Array(Float64) CODEC(Gorilla, ZSTD) COMMENT 'of appliances: spans of power that it seldom draws, W: from, to, from, to, rising',
    longest_silence_minutes Nullable(Int32)       COMMENT 'the longest that the house usually sends nothing, min; the same for all of its meters'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (house_id, meter_id, date)
COMMENT 'What each meter''s power usually stays under, and what else is usual for it, by the local day on which that comes into force';

CREATE TABLE IF NOT EXISTS alerts
(
    alert_id         String  CODEC(ZSTD)              COMMENT 'house_id/meter_id/start in ms, and /kind for alerts of duration',
    house_id         Int64   CODEC(Delta, ZSTD),
    meter_id         Int32   CODEC(Delta, ZSTD)       COMMENT '0: the whole house',
    date             Date32  CODEC(Delta, ZSTD)       COMMENT 'the house''s local day in which it starts',
    start            DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'its first reading; of alerts of duration: when the rule is broken',
    end              DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'until when its last reading held; while open, has held so far',
    open             Bool                             COMMENT 'true while it may go on',
    retracted        UInt8                            COMMENT '1 once it is known that no episode starts here; FINAL leaves such rows out',
    readings         Int64   CODEC(T64, ZSTD)         COMMENT 'readings in it; 0 for alerts of duration',
    peak_watts       Float64 CODEC(Gorilla, ZSTD)     COMMENT 'the highest of them, W',
    percentile_watts Float64 CODEC(Gorilla, ZSTD)     COMMENT 'the meter''s percentile in force at its start, W; 0 for alerts of duration',
    limit_watts      Float64 CODEC(Gorilla, ZSTD)     COMMENT 'the limit in force at its start, W; 0 for kinds without one',
    excess_kwh       Float64 CODEC(Gorilla, ZSTD)     COMMENT 'energy over the limit, kWh; 0 for alerts of duration',
    revision         Int64   CODEC(DoubleDelta, ZSTD) COMMENT 'rises with each alert of a house: ms since 1970-01-01T00:00Z',
    kind             LowCardinality(String) DEFAULT 'level' COMMENT 'the rule that opened it',
    severity         LowCardinality(String) DEFAULT 'warning' COMMENT 'info, warning or critical',
    reason           String  CODEC(ZSTD)              COMMENT 'why it was opened, with its figures',
    ends_when        String  CODEC(ZSTD)              COMMENT 'what ends it',
    stored           DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD) COMMENT 'when it reached the table',
    rule             LowCardinality(String)           COMMENT 'kind of an alert that may start together with others; empty for level and glitch'
)
ENGINE = ReplacingMergeTree(revision, retracted)
ORDER BY (house_id, meter_id, start, rule)
PRIMARY KEY (house_id, meter_id, start)
COMMENT 'Episodes in which a meter, or its house, broke a rule, as known so far';

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

CREATE TABLE IF NOT EXISTS rules
(
    house_id            Int64   CODEC(Delta, ZSTD),
    meter_id            Int32   CODEC(Delta, ZSTD)       COMMENT '0: the house itself, and its meters without a rule of their own',
    valid_from          DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'from when on it holds, by the time of the readings',
    withdrawn           Bool                             COMMENT 'true when the meter has no rule from then on; all below is then without meaning',
    sensitivity         LowCardinality(String)           COMMENT 'low, normal or high',
    limit_watts         Nullable(Float64)                COMMENT 'power that the meter may not exceed for longer than limit_minutes, W; NULL: none',
    limit_minutes       Int32                            COMMENT 'for how many minutes it may',
    longest_on_minutes  Nullable(Int32)                  COMMENT 'how long the meter may be over 30 W without a pause, min; NULL: no matter how long',
    longest_off_minutes Nullable(Int32)                  COMMENT 'how long the meter may be off, min; NULL: no matter how long',
    off_from            Nullable(Int32)                  COMMENT 'from when on it must be off each day, minutes of the house''s clock; NULL: never',
    off_to              Nullable(Int32)                  COMMENT 'until when, likewise; if not after off_from, on the next day',
    muted_until         Nullable(DateTime64(3, 'UTC'))   COMMENT 'until when there are no alerts, by the time of the readings; NULL: not muted',
    normal_kinds        Array(LowCardinality(String))    COMMENT 'kinds of alerts that were normal',
    normal_minutes      Array(Int32)                     COMMENT 'for how many more minutes than otherwise the condition of each may hold',
    normal_watts        Array(Float64)                   COMMENT 'up to which power readings are no alert of each, W; 0 for kinds of duration',
    author              String  CODEC(ZSTD)              COMMENT 'who has set it; empty when there is no login',
    written             DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'when it was set',
    stored              DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD) COMMENT 'when it reached the table'
)
ENGINE = ReplacingMergeTree
ORDER BY (house_id, meter_id, valid_from)
COMMENT 'What users have set for the alerts of meters; of two with the same valid_from, the later message counts, whatever its writer''s clock shows';

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

CREATE TABLE IF NOT EXISTS refused
(
    topic     LowCardinality(String) COMMENT 'full name of the topic: any but readings, whose messages go to dead_letter',
    partition Int32,
    offset    Int64                CODEC(Delta, ZSTD),
    received  DateTime64(3, 'UTC') CODEC(Delta, ZSTD) COMMENT 'Kafka timestamp of the message',
    reason    String               COMMENT 'what is wrong with it',
    payload   String               CODEC(ZSTD(3)) COMMENT 'the bytes as they came'
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, offset)
COMMENT 'Messages of other topics than readings that cannot be stored in their tables, by their place';

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
    e.refused AS refused,
    e.covered_s AS covered_s,
    e.max_gap_s AS max_gap_s,
    e.day_s AS day_s,
    e.final AS final,
    e.exported_kwh AS exported_kwh,
    m.parent AS parent,
    m.role AS role
FROM daily_energy AS e FINAL
LEFT JOIN (SELECT house_id, meter_id, label, kind, parent, role FROM meters FINAL) AS m
    ON e.house_id = m.house_id AND e.meter_id = m.meter_id;

-- Both figures of the days of meters that have a register: what it gives, what power gives, and by how much they differ. What is decided
-- are kwh and exported_kwh of daily_energy. Figures are NULL where the meter has no such quantity.
CREATE OR REPLACE VIEW sum_check AS
SELECT
    e.house_id AS house_id,
    e.meter_id AS meter_id,
    m.label AS label,
    e.date AS date,
    e.final AS final,
    e.register_kwh AS register_kwh,
    e.power_kwh AS power_kwh,
    e.register_kwh - e.power_kwh AS difference_kwh,
    e.register_exported_kwh AS register_exported_kwh,
    e.power_exported_kwh AS power_exported_kwh,
    e.register_exported_kwh - e.power_exported_kwh AS difference_exported_kwh,
    e.register_faults AS register_faults
FROM daily_energy AS e FINAL
LEFT JOIN (SELECT house_id, meter_id, label FROM meters FINAL) AS m
    ON e.house_id = m.house_id AND e.meter_id = m.meter_id
WHERE e.register_kwh IS NOT NULL OR e.register_exported_kwh IS NOT NULL OR e.register_faults > 0;

-- Energy of each meter and local hour, from the row of its day: the hours of a day add up to it. Hours in which no reading held have no row,
-- and no hour has one in a day of which a release without hours received a part; label and kind are empty while the meter is unknown.
CREATE OR REPLACE VIEW energy_by_hour AS
SELECT
    e.house_id AS house_id,
    e.meter_id AS meter_id,
    m.label AS label,
    m.kind AS kind,
    e.hour_start AS hour_start,
    e.date AS date,
    e.hour AS hour,
    e.energy AS kwh,
    e.covered AS covered_s,
    e.final AS final,
    e.exported AS exported_kwh,
    m.parent AS parent,
    m.role AS role
FROM
(
    SELECT house_id, meter_id, date, final, hour_start, hour, energy, covered, exported
    FROM daily_energy FINAL
    ARRAY JOIN
        hour_starts AS hour_start,
        hours AS hour,
        hour_kwh AS energy,
        hour_covered_s AS covered,
        if(empty(hour_exported_kwh), arrayWithConstant(length(hours), 0.), hour_exported_kwh) AS exported
) AS e
LEFT JOIN (SELECT house_id, meter_id, label, kind, parent, role FROM meters FINAL) AS m
    ON e.house_id = m.house_id AND e.meter_id = m.meter_id;

-- What each house imported, exported, produced and consumed on a local day, in kWh, and its rates in % (docs/data.md has the formulas and their
-- source; they are NULL where undefined). The role of a meter sees to it that each watt counts once. Where no meter of solar or of a battery
-- has a result, the consumption is what was imported; without mains, it is what the meters drew that lie under none. appliances are all other
-- meters; own_kwh is what no meter under it measures.
CREATE OR REPLACE VIEW house_balance AS
SELECT
    house_id,
    date,
    has_mains,
    has_sources,
    imported_kwh,
    exported_kwh,
    produced_kwh,
    charged_kwh,
    discharged_kwh,
    multiIf(
        NOT has_mains, loads_kwh,
        has_sources, greatest(0, imported_kwh - exported_kwh + produced_kwh + discharged_kwh - charged_kwh),
        imported_kwh
    ) AS consumption_kwh,
    if(has_mains AND produced_kwh > 0, 100 * least(1, greatest(0, (produced_kwh - exported_kwh) / produced_kwh)), NULL)
        AS self_consumption_percent,
    if(has_mains AND has_sources AND consumption_kwh > 0, 100 * least(1, greatest(0, (consumption_kwh - imported_kwh) / consumption_kwh)), NULL)
        AS self_sufficiency_percent,
    coverage_percent,
    final,
    CAST(
        arrayMap(
            a -> (a.1, a.2, a.3, a.4, a.5, greatest(0, a.6 - arraySum(b -> if(b.2 = a.1, b.6, 0), measured))),
            arrayFilter(a -> a.4 NOT IN ('mains', 'solar', 'battery'), measured)
        ),
        'Array(Tuple(meter_id Int32, parent Int32, label String, kind String, kwh Float64, own_kwh Float64))'
    ) AS appliances
FROM
(
    SELECT
        e.house_id AS house_id,
        e.date AS date,
        countIf(e.role = 'grid') > 0 AS has_mains,
        countIf(e.role IN ('solar', 'battery')) > 0 AS has_sources,
        sumIf(e.kwh, e.role = 'grid') AS imported_kwh,
        sumIf(e.exported_kwh, e.role = 'grid') AS exported_kwh,
        sumIf(e.exported_kwh, e.role = 'solar') AS produced_kwh,
        sumIf(e.kwh, e.role = 'battery') AS charged_kwh,
        sumIf(e.exported_kwh, e.role = 'battery') AS discharged_kwh,
        sumIf(e.kwh, e.role IN ('load', '')) AS loads_kwh,
        100 * if(
            has_mains,
            sumIf(e.covered_s, e.role = 'grid') / sumIf(e.day_s, e.role = 'grid'),
            sum(e.covered_s) / sum(e.day_s)
        ) AS coverage_percent,
        min(e.final) AS final,
        groupArray((e.meter_id, e.parent, e.label, e.kind, e.kwh, e.kwh - e.exported_kwh)) AS measured
    FROM daily_energy_by_label AS e
    GROUP BY house_id, date
);

-- The same by local hour, from energy_by_hour: the flows of a day's hours add up to those of the day.
CREATE OR REPLACE VIEW house_balance_by_hour AS
SELECT
    house_id,
    hour_start,
    date,
    hour,
    has_mains,
    has_sources,
    imported_kwh,
    exported_kwh,
    produced_kwh,
    charged_kwh,
    discharged_kwh,
    multiIf(
        NOT has_mains, loads_kwh,
        has_sources, greatest(0, imported_kwh - exported_kwh + produced_kwh + discharged_kwh - charged_kwh),
        imported_kwh
    ) AS consumption_kwh,
    if(has_mains AND produced_kwh > 0, 100 * least(1, greatest(0, (produced_kwh - exported_kwh) / produced_kwh)), NULL)
        AS self_consumption_percent,
    if(has_mains AND has_sources AND consumption_kwh > 0, 100 * least(1, greatest(0, (consumption_kwh - imported_kwh) / consumption_kwh)), NULL)
        AS self_sufficiency_percent,
    final
FROM
(
    SELECT
        e.house_id AS house_id,
        e.hour_start AS hour_start,
        any(e.date) AS date,
        any(e.hour) AS hour,
        countIf(e.role = 'grid') > 0 AS has_mains,
        countIf(e.role IN ('solar', 'battery')) > 0 AS has_sources,
        sumIf(e.kwh, e.role = 'grid') AS imported_kwh,
        sumIf(e.exported_kwh, e.role = 'grid') AS exported_kwh,
        sumIf(e.exported_kwh, e.role = 'solar') AS produced_kwh,
        sumIf(e.kwh, e.role = 'battery') AS charged_kwh,
        sumIf(e.exported_kwh, e.role = 'battery') AS discharged_kwh,
        sumIf(e.kwh, e.role IN ('load', '')) AS loads_kwh,
        min(e.final) AS final
    FROM energy_by_hour AS e
    GROUP BY house_id, hour_start
);

-- Share of each appliance in what its house consumed, in %; NULL without mains, or where nothing was consumed. What a meter under it measures
-- counts there alone, so own_kwh is without that, and the shares of a day add up to what is metered.
CREATE OR REPLACE VIEW appliance_share AS
SELECT
    house_id,
    date,
    appliance.meter_id AS meter_id,
    appliance.parent AS parent,
    appliance.label AS label,
    appliance.kwh AS kwh,
    appliance.own_kwh AS own_kwh,
    consumption_kwh,
    if(has_mains, 100 * own_kwh / nullIf(consumption_kwh, 0), NULL) AS share_percent
FROM house_balance
ARRAY JOIN appliances AS appliance
WHERE appliance.kind != '';

-- What a zip's houses with mains consumed by day: in sum, and for each house counted.
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
    sum(e.consumption_kwh) AS kwh,
    kwh / houses AS kwh_per_house
FROM house_balance AS e
INNER JOIN (SELECT * FROM houses FINAL) AS h ON e.house_id = h.house_id
WHERE e.has_mains
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
    sum(e.refused) AS refused,
    min(e.final) AS final
FROM daily_energy_by_label AS e
GROUP BY house_id, date;

-- Meters whose readings lie farther apart than they hold: of a day that is over, three or more, and a tenth, do not hold until the next one.
-- The time after them is not covered, so energy is missing: a burst may name how long a reading holds (holds_s), else it is SMW_MAX_GAP_S.
-- For each meter that has such a day: their number, the first and the last of them, and of the last the mean time between two readings
-- and the share of the day that is not covered. last_day is the meter's last day with a final result, whether it is such a day or not.
CREATE OR REPLACE VIEW sparse_meters AS
SELECT
    e.house_id AS house_id,
    e.meter_id AS meter_id,
    m.label AS label,
    m.kind AS kind,
    e.sparse_days AS sparse_days,
    e.first_sparse_day AS first_sparse_day,
    e.last_sparse_day AS last_sparse_day,
    e.last_day AS last_day,
    e.apart_s AS apart_s,
    e.missing_percent AS missing_percent
FROM
(
    SELECT
        house_id,
        meter_id,
        countIf(sparse) AS sparse_days,
        minIf(date, sparse) AS first_sparse_day,
        maxIf(date, sparse) AS last_sparse_day,
        max(date) AS last_day,
        argMaxIf(day_s / greatest(readings, 1), date, sparse) AS apart_s,
        argMaxIf(100 * (1 - covered_s / day_s), date, sparse) AS missing_percent
    FROM
    (
        SELECT *, gaps >= 3 AND 10 * gaps >= readings AS sparse
        FROM daily_energy FINAL
        WHERE final AND (house_id, meter_id) IN (SELECT house_id, meter_id FROM daily_energy WHERE gaps >= 3 AND 10 * gaps >= readings)
    )
    GROUP BY house_id, meter_id
    HAVING sparse_days > 0
) AS e
LEFT JOIN (SELECT house_id, meter_id, label, kind FROM meters FINAL) AS m
    ON e.house_id = m.house_id AND e.meter_id = m.meter_id;

-- Alerts with the meter's label and the house's place, open ones included; both are empty while they are unknown. An alert of the whole
-- house has meter_id 0 and the label 'the house'. kind is that of the meter, alert_kind that of the alert. Whoever has seen an alert is named at its end; acknowledged is NULL where nobody has.
CREATE OR REPLACE VIEW alert_list AS
SELECT
    a.alert_id AS alert_id,
    a.house_id AS house_id,
    a.meter_id AS meter_id,
    if(a.meter_id = 0, 'the house', m.label) AS label,
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
    a.kind AS alert_kind,
    a.severity AS severity,
    a.reason AS reason,
    a.ends_when AS ends_when,
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

-- The rules of users with the meter's label, each until the next one of its meter takes its place: valid_to is NULL for the last one, and a
-- withdrawn one is a time without a rule. A rule of the whole house has meter_id 0 and the label 'the house'.
CREATE OR REPLACE VIEW rule_list AS
SELECT
    r.house_id AS house_id,
    r.meter_id AS meter_id,
    if(r.meter_id = 0, 'the house', m.label) AS label,
    r.valid_from AS valid_from,
    r.valid_to AS valid_to,
    r.withdrawn AS withdrawn,
    r.sensitivity AS sensitivity,
    r.limit_watts AS limit_watts,
    r.limit_minutes AS limit_minutes,
    r.longest_on_minutes AS longest_on_minutes,
    r.longest_off_minutes AS longest_off_minutes,
    r.off_from AS off_from,
    r.off_to AS off_to,
    r.muted_until AS muted_until,
    r.normal_kinds AS normal_kinds,
    r.normal_minutes AS normal_minutes,
    r.normal_watts AS normal_watts,
    r.author AS author,
    r.written AS written
FROM
(
    SELECT *, leadInFrame(toNullable(valid_from)) OVER (
        PARTITION BY house_id, meter_id ORDER BY valid_from ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) AS valid_to
    FROM rules FINAL
) AS r
LEFT JOIN (SELECT house_id, meter_id, label FROM meters FINAL) AS m
    ON r.house_id = m.house_id AND r.meter_id = m.meter_id;

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
