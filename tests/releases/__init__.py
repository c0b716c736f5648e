"""What releases left: a folder each, with the state of houses (state.zip) and the tables (schema.sql, rows.sql)."""
