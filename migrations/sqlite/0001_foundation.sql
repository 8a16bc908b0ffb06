-- Times are microseconds since 1970, JSON is text, yes and no are 1 and 0.

CREATE TABLE api_key (
  id TEXT PRIMARY KEY,
  workspace TEXT NOT NULL,
  name TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT;

CREATE TABLE agent (
  id TEXT PRIMARY KEY,
  workspace TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  archived_at INTEGER,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX agent_by_workspace ON agent (workspace, created_at, id);

CREATE TABLE agent_version (
  id TEXT NOT NULL,
  workspace TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  archived_at INTEGER,
  body TEXT NOT NULL,
  PRIMARY KEY (id, version)
) STRICT;

CREATE TABLE environment (
  id TEXT PRIMARY KEY,
  workspace TEXT NOT NULL,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  archived_at INTEGER,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX environment_by_workspace ON environment (workspace, created_at, id);
CREATE INDEX environment_by_name ON environment (workspace, name);

-- What changes with every append is small; the agent's snapshot, which may be large, is in session_body.
-- AUTOINCREMENT: the key of a deleted session is never given to another one.
CREATE TABLE session (
  key INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  workspace TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  agent_version INTEGER NOT NULL,
  environment_id TEXT NOT NULL REFERENCES environment (id),
  thread TEXT NOT NULL,
  status TEXT NOT NULL,
  title TEXT,
  metadata TEXT NOT NULL,
  progress TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  archived_at INTEGER,
  head INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  holder TEXT,
  lease_until INTEGER NOT NULL,
  runnable INTEGER NOT NULL
) STRICT;
CREATE INDEX session_by_workspace ON session (workspace, created_at, id);
CREATE INDEX session_by_agent ON session (workspace, agent_id, created_at, id);
CREATE INDEX session_by_environment ON session (environment_id);
CREATE INDEX session_runnable ON session (key) WHERE runnable = 1;
CREATE INDEX session_held ON session (key) WHERE holder IS NOT NULL;

CREATE TABLE session_body (
  session INTEGER PRIMARY KEY,
  agent TEXT NOT NULL,
  extra TEXT NOT NULL
) STRICT;

-- A rowid table with short keys and ids that rise with time: appends touch the right edge of every index.
-- position: the order in which clients list events; see log.rs.
CREATE TABLE entry (
  key INTEGER PRIMARY KEY,
  session INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  position INTEGER NOT NULL,
  id TEXT NOT NULL UNIQUE,
  thread TEXT NOT NULL,
  kind TEXT NOT NULL,
  public TEXT,
  private TEXT,
  created_at INTEGER NOT NULL,
  processed_at INTEGER,
  processes TEXT,
  UNIQUE (session, seq)
) STRICT;
CREATE INDEX entry_by_position ON entry (session, position) WHERE public IS NOT NULL;
