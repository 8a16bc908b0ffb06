-- Durable work. A job is written in the commit that causes it and deleted by the commit that ends it, so that at most one of
-- a kind and key is open. Who runs it holds a lease, whose epoch rises with every attempt.
-- node: the data folder whose server must run it; null when any may. parked_at: when it was given up, with its last error.
-- Ids are never used again: a late holder of a deleted job must not meet another one under its id.
CREATE TABLE job (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  workspace TEXT,
  node TEXT,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  run_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  holder TEXT,
  lease_until INTEGER NOT NULL,
  error TEXT,
  parked_at INTEGER,
  UNIQUE (kind, key)
) STRICT;
CREATE INDEX job_due ON job (run_at, id) WHERE parked_at IS NULL;
