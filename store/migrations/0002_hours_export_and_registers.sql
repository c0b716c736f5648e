-- A day of a meter has its hours, what was fed in, and the figures of its registers.
ALTER TABLE daily_energy
    ADD COLUMN IF NOT EXISTS refused Int64 CODEC(T64, ZSTD) COMMENT 'readings left out: no possible power, or times not in order',
    ADD COLUMN IF NOT EXISTS hour_starts Array(DateTime64(3, 'UTC')) CODEC(Delta, ZSTD) COMMENT 'starts of the local hours in which some reading held, see energy_by_hour',
    ADD COLUMN IF NOT EXISTS hours Array(UInt8) CODEC(ZSTD) COMMENT 'what the local clock shows at each of them, 0 to 23',
    ADD COLUMN IF NOT EXISTS hour_kwh Array(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy drawn in each of these hours, kWh; they add up to kwh',
    ADD COLUMN IF NOT EXISTS hour_covered_s Array(Float64) CODEC(Gorilla, ZSTD) COMMENT 'time of each of them over which some reading held, s',
    ADD COLUMN IF NOT EXISTS exported_kwh Float64 CODEC(Gorilla, ZSTD) COMMENT 'energy fed in during the day, kWh; at the grid meter it is export',
    ADD COLUMN IF NOT EXISTS hour_exported_kwh Array(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy fed in during each of the hours, kWh; they add up to exported_kwh; empty: none',
    ADD COLUMN IF NOT EXISTS gaps Int64 CODEC(T64, ZSTD) COMMENT 'readings that hold neither until the next one nor to the day''s end, see sparse_meters',
    ADD COLUMN IF NOT EXISTS power_kwh Nullable(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy drawn, kWh, by power alone; NULL without power, or without a register',
    ADD COLUMN IF NOT EXISTS power_exported_kwh Nullable(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy fed in, kWh, by power alone; NULL likewise',
    ADD COLUMN IF NOT EXISTS register_kwh Nullable(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy drawn, kWh, by the register of import alone; NULL without one',
    ADD COLUMN IF NOT EXISTS register_exported_kwh Nullable(Float64) CODEC(Gorilla, ZSTD) COMMENT 'energy fed in, kWh, by the register of export alone; NULL without one',
    ADD COLUMN IF NOT EXISTS register_faults Int32 CODEC(T64, ZSTD) COMMENT 'readings of registers after which nothing counts: it fell, or rose by more than the connection delivers';
