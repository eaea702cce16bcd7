CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
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
    secret BLOB NOT NULL
);
