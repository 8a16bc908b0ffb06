-- What an environment says of its sandboxes beyond the API's own fields, JSON; null while nobody has said anything.
ALTER TABLE environment ADD COLUMN sandbox text;

-- Packages of environments, built once into a layer. The key is also the name of the layer; a build says how it went, and
-- each node has the layer, or builds it for itself.
-- state: building, ready or failed. A build whose lease has run out is nobody's any more.
CREATE TABLE build (
  key text COLLATE "C" PRIMARY KEY,
  state text COLLATE "C" NOT NULL,
  step text NOT NULL,
  log text NOT NULL,
  error text,
  node text COLLATE "C" NOT NULL,
  lease_until bigint NOT NULL,
  bytes bigint,
  created_at bigint NOT NULL,
  finished_at bigint,
  used_at bigint NOT NULL
);
