-- Meters may lie under one another.
ALTER TABLE meters
    ADD COLUMN IF NOT EXISTS parent Int32 COMMENT 'the meter that measures this one''s power too; 0: none but the mains',
    ADD COLUMN IF NOT EXISTS role LowCardinality(String) DEFAULT if(kind = 'mains', 'grid', 'load') COMMENT 'as what it counts in house_balance: grid, solar, battery or load; within: as part of another';
