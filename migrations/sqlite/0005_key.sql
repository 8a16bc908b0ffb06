-- Keys are records like all others: the time of the last change guards the next one.
ALTER TABLE api_key ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
