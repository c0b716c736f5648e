-- A few rows of each table.
INSERT INTO houses VALUES (1, 'America/New_York', 'synthetic', '02138', 'Cambridge', 'MA', 42.37, -71.11, 36349, '2019-04-01 00:00:00.000');

INSERT INTO meters VALUES (1, 1, 'mains', 'mains', '2019-04-01 00:00:00.000'), (1, 2, 'oven', 'appliance', '2019-04-01 00:00:00.000');

INSERT INTO daily_energy VALUES
    (1, 1, '2019-04-14', 3, 86000, 7, 86000, 300, 86400, true, 1555300000000),
    (1, 2, '2019-04-14', 1, 40000, 0, 40000, 900, 86400, false, 1555300000000),
    (1, 2, '2019-04-14', 1.5, 43000, 0, 43200, 900, 86400, true, 1555300000001);

INSERT INTO thresholds VALUES
    (1, 2, '2019-04-14', '2019-04-14 05:00:00', '2019-04-15 05:00:00', 0.97, 7, 2000, 100000, 600000, false, 2500, 1555300000000);

INSERT INTO alerts (alert_id, house_id, meter_id, date, start, end, open, retracted, readings, peak_watts, percentile_watts, limit_watts, excess_kwh, revision) VALUES
    ('1/2/1555243200000', 1, 2, '2019-04-14', '2019-04-14 12:00:00', '2019-04-14 12:01:00', true, 0, 20, 3000, 2000, 2500, 0.01, 1555300000000),
    ('1/1/1555243200000', 1, 1, '2019-04-14', '2019-04-14 12:00:00', '2019-04-14 12:01:00', false, 0, 20, 9000, 5000, 8000, 0.02, 1555300000000),
    ('1/1/1555246800000', 1, 1, '2019-04-14', '2019-04-14 13:00:00', '2019-04-14 13:01:00', false, 1, 20, 9000, 5000, 8000, 0.02, 1555300000000);

INSERT INTO power_profile VALUES (1, 2, '2019-04-14 12:00:00', 0, 60, 1, 2, 3), (1, 2, '2019-04-14 12:00:00', 1555243230000, 20, 4, 6, 8);

INSERT INTO acknowledgements (alert_id, house_id, note, author, withdrawn, acknowledged) VALUES
    ('1/2/1555243200000', 1, 'a roast', 'eve', 0, '2019-04-14 12:30:00');

INSERT INTO late VALUES
    (3, 9, 1, '2019-04-12', '2019-04-12 12:00:00', '2019-04-12 12:01:00', 60, 0.5, '2019-04-14 12:00:00', 'its day was closed');

INSERT INTO dead_letter VALUES (3, 10, '2019-04-14 12:00:00', 'no Avro', 'abc');
