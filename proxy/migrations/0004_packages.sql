-- Packages that were fetched, by what their index knows them by where that is not the digest of their file (apk).
CREATE TABLE packages (
    identity TEXT PRIMARY KEY NOT NULL,
    digest   TEXT NOT NULL
);
