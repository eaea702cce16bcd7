CREATE TABLE IF NOT EXISTS streamers (
    -- SHA-256 of the key; the key itself is nowhere.
    key_hash bytea PRIMARY KEY,
    -- What viewers know. It may have several keys.
    name text NOT NULL,
    app text NOT NULL,
    expires timestamptz,
    blocked boolean NOT NULL DEFAULT false,
    added timestamptz NOT NULL DEFAULT now(),
    -- As far as the streaming server has told: for a page that lists who is live.
    on_air_since timestamptz
);
CREATE INDEX IF NOT EXISTS streamers_name ON streamers (app, name);
