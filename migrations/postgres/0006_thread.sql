-- The threads of sessions. agent: the snapshot as clients read it; null for the primary thread, whose agent is the
-- session's.
CREATE TABLE thread (
  session bigint NOT NULL,
  id text COLLATE "C" NOT NULL,
  agent text,
  status text COLLATE "C" NOT NULL,
  progress text NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  archived_at bigint,
  PRIMARY KEY (session, id)
) WITH (fillfactor = 60);
INSERT INTO thread (session, id, agent, status, progress, created_at, updated_at, archived_at)
SELECT key, thread, NULL, status, progress, created_at, updated_at, archived_at FROM session;

-- The calls that wait for the client, JSON.
ALTER TABLE session ADD COLUMN waiting text NOT NULL DEFAULT '[]';
