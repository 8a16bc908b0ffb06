-- Durable work. A job is written in the commit that causes it and deleted by the commit that ends it, so that at most one of
-- a kind and key is open. Who runs it holds a lease, whose epoch rises with every attempt.
-- node: the data folder whose server must run it; null when any may. parked_at: when it was given up, with its last error.
CREATE TABLE job (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  workspace text COLLATE "C",
  node text COLLATE "C",
  body text NOT NULL,
  created_at bigint NOT NULL,
  run_at bigint NOT NULL,
  attempts bigint NOT NULL,
  epoch bigint NOT NULL,
  holder text COLLATE "C",
  lease_until bigint NOT NULL,
  error text,
  parked_at bigint,
  UNIQUE (kind, key)
);
CREATE INDEX job_due ON job (run_at, id) WHERE parked_at IS NULL;
