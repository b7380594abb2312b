-- The Chron's tables in PostgreSQL, 15 or newer; run it as a superuser or as a role that may create roles and schemas.
--
--   claiim_owner   owns everything and never logs in
--   claiim_writer  may append, and nothing else; grant it to the role that a gate logs in with
--   claiim_reader  may read; grant it to whoever looks
--
-- Running it again changes nothing that is recorded and puts back guards that somebody dropped.

SET client_min_messages = warning;

DO $$
DECLARE wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['claiim_owner', 'claiim_writer', 'claiim_reader'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
    END IF;
  END LOOP;
  EXECUTE format('GRANT claiim_owner TO %I', current_user);
  EXECUTE format('GRANT CREATE ON DATABASE %I TO claiim_owner', current_database());
END $$;

SET ROLE claiim_owner;
CREATE SCHEMA IF NOT EXISTS claiim;
SET search_path = claiim;

-- What SQLite has built in and the statements of readers use. Marked immutable, which reading JSON from a text is.

CREATE OR REPLACE FUNCTION field(body text, name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$SELECT body::pg_catalog.json OPERATOR(pg_catalog.->>) name$$;

CREATE OR REPLACE FUNCTION at(body text, path text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$SELECT body::pg_catalog.json OPERATOR(pg_catalog.->>) pg_catalog.substr(path, 3)$$;

DO $$
BEGIN
  IF to_regoperator('claiim.->>(text, text)') IS NULL THEN
    CREATE OPERATOR claiim.->> (FUNCTION = claiim.at, LEFTARG = text, RIGHTARG = text);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION json_type(body text, path text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
  SELECT CASE pg_catalog.json_typeof(value)
    WHEN 'string' THEN 'text' WHEN 'number' THEN 'integer' WHEN 'boolean' THEN value::text END
  FROM (SELECT body::pg_catalog.json OPERATOR(pg_catalog.->) pg_catalog.substr(path, 3)) AS found(value)
$$;

CREATE OR REPLACE FUNCTION json_each(body text) RETURNS TABLE (key text, value text, type text)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
  SELECT each.key, pg_catalog.json_build_array(each.value) OPERATOR(pg_catalog.->>) 0,
    CASE pg_catalog.json_typeof(each.value) WHEN 'string' THEN 'text' ELSE 'other' END
  FROM pg_catalog.json_each(body::pg_catalog.json) AS each
$$;

-- Texts of ours name their zone, so that no setting of the session has a say.
CREATE OR REPLACE FUNCTION unixepoch(ts text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$SELECT pg_catalog.floor(extract(epoch FROM ts::pg_catalog.timestamptz))::bigint$$;

CREATE OR REPLACE FUNCTION instr(body text, part text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$SELECT pg_catalog.strpos(body, part)$$;

-- Only "*" is special in the patterns that readers bind, and "[[]" and "[?]" stand for "[" and "?".
CREATE OR REPLACE FUNCTION glob(pattern text, value text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
  SELECT value OPERATOR(pg_catalog.~~) replace(replace(replace(replace(replace(replace(
    pattern, '[[]', '['), '[?]', '?'), '\', '\\'), '%', '\%'), '_', '\_'), '*', '%')
$$;

CREATE TABLE IF NOT EXISTS chains(
  chain text COLLATE "C" PRIMARY KEY CHECK (chain ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
  writer name NOT NULL,
  at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON COLUMN chains.writer IS 'the role that began the chain: no other appends to it';

CREATE TABLE IF NOT EXISTS records(
  chain text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  id text COLLATE "C" NOT NULL,
  body text COLLATE "C",
  leaf bytea NOT NULL CHECK (octet_length(leaf) = 32),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  PRIMARY KEY (chain, seq),
  UNIQUE (chain, id)
);
-- Bodies are read whole and are not long: compressing costs more than it saves.
ALTER TABLE records ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE IF NOT EXISTS artefacts(
  chain text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  version text COLLATE "C" NOT NULL,
  digest text COLLATE "C" NOT NULL,
  text text COLLATE "C" NOT NULL,
  PRIMARY KEY (chain, seq),
  UNIQUE (chain, kind, id, version, digest),
  FOREIGN KEY (chain, seq) REFERENCES records
);

CREATE TABLE IF NOT EXISTS persons(
  chain text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  name text NOT NULL,
  PRIMARY KEY (chain, id)
);

-- No index over what a request can make long: an entry has at most 2,704 bytes, and nothing may be unrecordable.
CREATE INDEX IF NOT EXISTS records_second ON records (chain, unixepoch(field(body, 'ts')));
DROP INDEX IF EXISTS records_ts; -- as it was before
CREATE INDEX IF NOT EXISTS records_ref ON records USING hash (field(body, 'ref')) WHERE field(body, 'ref') IS NOT NULL;
CREATE INDEX IF NOT EXISTS records_deny ON records (chain, seq) WHERE field(body, 'outcome') = 'DENY';
CREATE INDEX IF NOT EXISTS records_seldom ON records (chain, field(body, 'kind'), seq)
  WHERE field(body, 'kind') NOT IN ('decision', 'outcome');

-- What readers see: one chain, under the names and with the columns of a Chron in a file.

CREATE OR REPLACE VIEW chron AS
SELECT seq, id, body, leaf, hash,
  field(body, 'ts') AS ts, field(body, 'kind') AS kind, field(body, 'channel') AS channel,
  field(body, 'outcome') AS outcome, field(body, 'mode') AS mode, field(body, 'agent') AS agent,
  field(body, 'anchor') AS anchor, field(body, 'org') AS org, field(body, 'action') AS action,
  field(body, 'target') AS target, field(body, 'environment') AS environment, field(body, 'method') AS method,
  field(body, 'host') AS host, field(body, 'path') AS path, field(body, 'code') AS code,
  field(body, 'reason') AS reason, field(body, 'ref') AS ref, field(body, 'result') AS result,
  field(body, 'status') AS status, field(body, 'policy') AS policy, field(body, 'policy_digest') AS policy_digest,
  field(body, 'skill') AS skill, field(body, 'skill_digest') AS skill_digest, field(body, 'session') AS session,
  field(body, 'request') AS request
FROM records WHERE chain = pg_catalog.current_setting('claiim.chain', true);

CREATE OR REPLACE VIEW artefact AS
SELECT seq, kind, id, version, digest, text FROM artefacts
WHERE chain = pg_catalog.current_setting('claiim.chain', true);

CREATE OR REPLACE VIEW person AS
SELECT id, name FROM persons WHERE chain = pg_catalog.current_setting('claiim.chain', true);

CREATE OR REPLACE VIEW decisions AS
SELECT d.seq, d.id, d.ts, d.outcome, d.mode, d.agent, d.anchor, d.action, d.target, d.environment,
       d.host, d.method, d.path, d.reason, d.code, o.result, o.status
FROM chron AS d LEFT JOIN chron AS o ON o.ref = d.id AND o.kind = 'outcome'
WHERE d.kind = 'decision';

-- Guards. They stop a bug of ours and a stray shell; whoever may drop them is found out by the hashes.

CREATE OR REPLACE FUNCTION only_durable() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF current_setting('fsync') <> 'on' OR current_setting('full_page_writes') <> 'on'
     OR current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
    RAISE EXCEPTION 'chron: the server would not keep this: fsync, full_page_writes or synchronous_commit is off';
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION only_next() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE last bigint; before bytea; owner name;
BEGIN
  SELECT seq, hash INTO last, before FROM claiim.records WHERE chain = NEW.chain ORDER BY seq DESC LIMIT 1;
  IF last IS NULL THEN
    INSERT INTO claiim.chains(chain, writer)
    VALUES (NEW.chain, CASE NEW.chain WHEN 'directory' THEN 'claiim_writer' ELSE session_user END)
    ON CONFLICT DO NOTHING;
    before := sha256(convert_to(E'chron/v1\n' || coalesce(claiim.field(NEW.body, 'origin'), ''), 'UTF8'));
  END IF;
  SELECT writer INTO owner FROM claiim.chains WHERE chain = NEW.chain;
  IF NEW.chain = 'directory' THEN
    -- Each role tells of its own chains alone, and only what is so.
    IF last IS NOT NULL AND NOT EXISTS (
      SELECT FROM claiim.chains AS c JOIN claiim.records AS r USING (chain)
      WHERE c.chain = claiim.field(NEW.body, 'chain') AND c.writer = session_user
      AND r.seq = claiim.field(NEW.body, 'size')::bigint AND encode(r.hash, 'hex') = claiim.field(NEW.body, 'head')) THEN
      RAISE EXCEPTION 'chron: the directory takes from a role what is so of its own chains';
    END IF;
  ELSIF owner <> session_user THEN
    RAISE EXCEPTION 'chron: chain "%" is appended to by role "%" alone', NEW.chain, owner;
  END IF;
  -- Of a body that went in another log, and is copied here, its leaf is all there is; verifying asks why it went.
  IF NEW.seq <> coalesce(last, 0) + 1 OR NEW.hash <> sha256(before || NEW.leaf)
     OR NEW.leaf <> sha256('\x00'::bytea || convert_to(NEW.body, 'UTF8'))
     OR claiim.field(NEW.body, 'seq') <> NEW.seq::text OR claiim.field(NEW.body, 'id') <> NEW.id THEN
    RAISE EXCEPTION 'chron is append-only: only the next seq with a new id and its own body';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION only_empty() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NEW.body IS NOT NULL OR (NEW.chain, NEW.seq, NEW.id, NEW.leaf, NEW.hash) IS DISTINCT FROM
       (OLD.chain, OLD.seq, OLD.id, OLD.leaf, OLD.hash)
     OR claiim.field(OLD.body, 'kind') NOT IN ('decision', 'outcome', 'segment', 'approval', 'access')
     OR NOT EXISTS (
       SELECT FROM claiim.records WHERE chain = OLD.chain AND seq > OLD.seq
       AND claiim.field(body, 'kind') NOT IN ('decision', 'outcome')
       AND claiim.field(body, 'kind') IN ('erasure', 'archive', 'prune')
       AND OLD.seq BETWEEN claiim.field(body, 'first')::bigint AND claiim.field(body, 'last')::bigint) THEN
    RAISE EXCEPTION 'chron is append-only: a body may only go, and only under a record that says so';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION never() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  RAISE EXCEPTION 'chron is append-only: % refused', TG_OP;
END $$;

CREATE OR REPLACE FUNCTION only_new() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM claiim.records
                 WHERE chain = NEW.chain AND seq = NEW.seq AND claiim.field(body, 'kind') = 'text')
     OR NOT EXISTS (SELECT FROM claiim.chains WHERE chain = NEW.chain AND writer = session_user) THEN
    RAISE EXCEPTION 'chron is append-only: a kept text needs its own record';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER records_only_durable BEFORE INSERT ON records EXECUTE FUNCTION only_durable();
CREATE OR REPLACE TRIGGER records_only_next BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION only_next();
CREATE OR REPLACE TRIGGER records_only_empty BEFORE UPDATE ON records FOR EACH ROW EXECUTE FUNCTION only_empty();
CREATE OR REPLACE TRIGGER records_no_delete BEFORE DELETE OR TRUNCATE ON records EXECUTE FUNCTION never();
CREATE OR REPLACE TRIGGER artefacts_only_new BEFORE INSERT ON artefacts FOR EACH ROW EXECUTE FUNCTION only_new();
CREATE OR REPLACE TRIGGER artefacts_never BEFORE UPDATE OR DELETE OR TRUNCATE ON artefacts EXECUTE FUNCTION never();

-- The one way in which a writer changes what is there: bodies go, and the guard above looks at each.
CREATE OR REPLACE FUNCTION empty(of_chain text, first bigint, last bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE gone bigint;
BEGIN
  IF NOT EXISTS (SELECT FROM claiim.chains WHERE chain = of_chain AND writer = session_user) THEN
    RAISE EXCEPTION 'chron: chain "%" is not appended to by role "%"', of_chain, session_user;
  END IF;
  UPDATE claiim.records SET body = NULL
  WHERE chain = of_chain AND seq BETWEEN first AND last AND body IS NOT NULL
    AND claiim.field(body, 'kind') IN ('decision', 'outcome', 'segment', 'approval', 'access');
  GET DIAGNOSTICS gone = ROW_COUNT;
  RETURN gone;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA claiim FROM PUBLIC;
REVOKE ALL ON FUNCTION empty(text, bigint, bigint) FROM PUBLIC;
GRANT USAGE ON SCHEMA claiim TO claiim_writer, claiim_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA claiim TO claiim_writer, claiim_reader;
GRANT INSERT ON records, artefacts, persons TO claiim_writer;
GRANT DELETE ON persons TO claiim_writer;
GRANT EXECUTE ON FUNCTION empty(text, bigint, bigint) TO claiim_writer;

RESET ROLE;
RESET search_path;
