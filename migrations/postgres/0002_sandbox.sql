-- The sandboxes of sessions: which node has the newest files, what they stand on, and the checkpoint in the blob store.
-- is_changed: the node's files are newer than the checkpoint. number: how many checkpoints there have been.
-- wanted_by: the node that waits for these files.

CREATE TABLE sandbox (
  session bigint PRIMARY KEY REFERENCES session (key),
  node text COLLATE "C" NOT NULL,
  root text NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  is_changed bigint NOT NULL,
  wanted_by text COLLATE "C",
  number bigint NOT NULL,
  checkpoint text COLLATE "C",
  sha256 text,
  bytes bigint,
  checkpointed_at bigint
);
CREATE INDEX sandbox_changed ON sandbox (node, session) WHERE is_changed = 1;
CREATE INDEX sandbox_wanted ON sandbox (node) WHERE wanted_by IS NOT NULL;
CREATE INDEX sandbox_by_expiry ON sandbox (expires_at);
CREATE INDEX sandbox_by_checkpoint ON sandbox (checkpoint) WHERE checkpoint IS NOT NULL;
