"""The same Chron in PostgreSQL: one chain for each gate, in one database.

What a record is does not change: bodies, leaves, hashes, checkpoints and proofs are those of a file, byte for byte. The
tables (`schema.sql`) give readers the names, columns and functions that they know from SQLite. psycopg is imported when
a log is on a server, and only then.
"""
