-- Times are microseconds since 1970, JSON is text, yes and no are 1 and 0. Ids compare byte by byte, as in SQLite.

-- The clock of leases: the database's own, which all nodes share.
CREATE FUNCTION lease_now() RETURNS bigint LANGUAGE sql STABLE
  AS $$ SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint $$;

CREATE TABLE api_key (
  id text COLLATE "C" PRIMARY KEY,
  workspace text COLLATE "C" NOT NULL,
  name text NOT NULL,
  hash bytea NOT NULL UNIQUE,
  created_at bigint NOT NULL,
  revoked_at bigint
);

CREATE TABLE agent (
  id text COLLATE "C" PRIMARY KEY,
  workspace text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  archived_at bigint,
  body text NOT NULL
);
CREATE INDEX agent_by_workspace ON agent (workspace, created_at, id);

CREATE TABLE agent_version (
  id text COLLATE "C" NOT NULL,
  workspace text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  archived_at bigint,
  body text NOT NULL,
  PRIMARY KEY (id, version)
);

CREATE TABLE environment (
  id text COLLATE "C" PRIMARY KEY,
  workspace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  archived_at bigint,
  body text NOT NULL
);
CREATE INDEX environment_by_workspace ON environment (workspace, created_at, id);
CREATE INDEX environment_by_name ON environment (workspace, name);

-- What changes with every append is small and touches no index, so that PostgreSQL can update it in place; the agent's
-- snapshot, which may be large, is in session_body.
CREATE TABLE session (
  key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE,
  workspace text COLLATE "C" NOT NULL,
  agent_id text COLLATE "C" NOT NULL,
  agent_version bigint NOT NULL,
  environment_id text COLLATE "C" NOT NULL REFERENCES environment (id),
  thread text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL,
  title text,
  metadata text NOT NULL,
  progress text NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  archived_at bigint,
  head bigint NOT NULL,
  epoch bigint NOT NULL,
  holder text COLLATE "C",
  lease_until bigint NOT NULL,
  runnable bigint NOT NULL
) WITH (fillfactor = 60);
CREATE INDEX session_by_workspace ON session (workspace, created_at, id);
CREATE INDEX session_by_agent ON session (workspace, agent_id, created_at, id);
CREATE INDEX session_by_environment ON session (environment_id);
CREATE INDEX session_runnable ON session (key) WHERE runnable = 1;
CREATE INDEX session_held ON session (key) WHERE holder IS NOT NULL;

CREATE TABLE session_body (
  session bigint PRIMARY KEY,
  agent text NOT NULL,
  extra text NOT NULL
);

-- position: the order in which clients list events; see log.rs.
CREATE TABLE entry (
  session bigint NOT NULL,
  seq bigint NOT NULL,
  position bigint NOT NULL,
  id text COLLATE "C" NOT NULL UNIQUE,
  thread text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  public text,
  private text,
  created_at bigint NOT NULL,
  processed_at bigint,
  processes text COLLATE "C",
  PRIMARY KEY (session, seq)
);
CREATE INDEX entry_by_position ON entry (session, position) WHERE public IS NOT NULL;
