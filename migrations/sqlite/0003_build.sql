-- What an environment says of its sandboxes beyond the API's own fields, JSON; null while nobody has said anything.
ALTER TABLE environment ADD COLUMN sandbox TEXT;

-- Packages of environments, built once into a layer. The key is also the name of the layer; a build says how it went, and
-- each node has the layer, or builds it for itself.
-- state: building, ready or failed. A build whose lease has run out is nobody's any more.
CREATE TABLE build (
  key TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  step TEXT NOT NULL,
  log TEXT NOT NULL,
  error TEXT,
  node TEXT NOT NULL,
  lease_until INTEGER NOT NULL,
  bytes INTEGER,
  created_at INTEGER NOT NULL,
  finished_at INTEGER,
  used_at INTEGER NOT NULL
) STRICT;
