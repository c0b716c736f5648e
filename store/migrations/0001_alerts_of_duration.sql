-- Alerts have a kind, and thresholds what is usual for a meter. Alerts of several kinds may start at once, so the kind is in their key.
ALTER TABLE alerts
    ADD COLUMN IF NOT EXISTS kind LowCardinality(String) DEFAULT 'level' COMMENT 'the rule that opened it' AFTER revision,
    ADD COLUMN IF NOT EXISTS severity LowCardinality(String) DEFAULT 'warning' COMMENT 'info, warning or critical' AFTER kind,
    ADD COLUMN IF NOT EXISTS reason String CODEC(ZSTD) COMMENT 'why it was opened, with its figures' AFTER severity,
    ADD COLUMN IF NOT EXISTS ends_when String CODEC(ZSTD) COMMENT 'what ends it' AFTER reason,
    ADD COLUMN IF NOT EXISTS rule LowCardinality(String) COMMENT 'kind of an alert that may start together with others; empty for level and glitch',
    MODIFY ORDER BY (house_id, meter_id, start, rule);

ALTER TABLE thresholds
    ADD COLUMN IF NOT EXISTS mains Nullable(Bool) COMMENT 'whether it is judged as mains; NULL, as all below, with too little history',
    ADD COLUMN IF NOT EXISTS longest_run_minutes Array(Int32) CODEC(ZSTD) COMMENT 'the longest that it usually stays over 30 W, 60 W, 120 W and so on without a pause, min',
    ADD COLUMN IF NOT EXISTS longest_off_minutes Nullable(Int32) COMMENT 'the longest that it is usually off, min',
    ADD COLUMN IF NOT EXISTS longest_same_minutes Nullable(Int32) COMMENT 'the longest that its readings usually stay the same while on, min',
    ADD COLUMN IF NOT EXISTS longest_gap_minutes Nullable(Int32) COMMENT 'the longest that it usually sends nothing while other meters of the house do, min',
    ADD COLUMN IF NOT EXISTS hour_watts Array(Float64) CODEC(Gorilla, ZSTD) COMMENT 'of mains: the power that it may hold in each hour since midnight, W',
    ADD COLUMN IF NOT EXISTS standby_watts Nullable(Float64) COMMENT 'of mains: the power that it falls to within a day, W',
    ADD COLUMN IF NOT EXISTS dead_watts Nullable(Float64) COMMENT 'of mains: the power that it stays over, W',
    ADD COLUMN IF NOT EXISTS rare_watts Array(Float64) CODEC(Gorilla, ZSTD) COMMENT 'of appliances: spans of power that it seldom draws, W: from, to, from, to, rising',
    ADD COLUMN IF NOT EXISTS longest_silence_minutes Nullable(Int32) COMMENT 'the longest that the house usually sends nothing, min; the same for all of its meters';
