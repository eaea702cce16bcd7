ALTER TABLE keys ADD COLUMN adobe_salt TEXT;
ALTER TABLE keys ADD COLUMN adobe_verifier TEXT;
