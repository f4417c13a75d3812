-- What a manifest says that it is about: a signature, an SBOM, a statement. True by content, like `edges`; for artifacts only.
CREATE TABLE subjects (
    referrer TEXT PRIMARY KEY NOT NULL,
    subject  TEXT NOT NULL
);

-- What comes with an image that we made, in the repository that it was made for: two repositories may have made the same image,
-- and what comes with it names the one. `descriptor` is JSON, as the referrers API shows it; `listed` is 0 for what a newer one
-- took the place of, which stays readable.
CREATE TABLE referrers (
    upstream   TEXT NOT NULL,
    repository TEXT NOT NULL,
    subject    TEXT NOT NULL,
    digest     TEXT NOT NULL,
    descriptor TEXT NOT NULL,
    listed     INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, subject, digest)
);
CREATE INDEX referrers_by_digest ON referrers (digest);
