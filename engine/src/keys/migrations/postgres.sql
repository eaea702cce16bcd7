CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    hash BYTEA NOT NULL UNIQUE,
    action TEXT NOT NULL CHECK (action IN ('publish', 'play')),
    stream TEXT NOT NULL,
    who TEXT,
    max_kbps BIGINT,
    max_viewers BIGINT,
    expires BIGINT,
    until BIGINT,
    created BIGINT NOT NULL,
    revoked BIGINT
);
CREATE INDEX keys_by_stream ON keys (stream);
CREATE TABLE hash_secret (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    secret BYTEA NOT NULL
);
CREATE FUNCTION tell_of_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('streamengine_keys', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER tell_of_keys AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_keys();
