-- The threads of sessions. agent: the snapshot as clients read it; null for the primary thread, whose agent is the
-- session's.
CREATE TABLE thread (
  session INTEGER NOT NULL,
  id TEXT NOT NULL,
  agent TEXT,
  status TEXT NOT NULL,
  progress TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  archived_at INTEGER,
  PRIMARY KEY (session, id)
) STRICT;
INSERT INTO thread (session, id, agent, status, progress, created_at, updated_at, archived_at)
SELECT key, thread, NULL, status, progress, created_at, updated_at, archived_at FROM session;

-- The calls that wait for the client, JSON.
ALTER TABLE session ADD COLUMN waiting TEXT NOT NULL DEFAULT '[]';
