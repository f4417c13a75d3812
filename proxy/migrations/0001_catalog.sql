-- What the catalog remembers. Portable SQL: no SQLite-only types, no triggers.

-- Manifests and indexes, ours and upstream's, as they were received or made.
CREATE TABLE manifests (
    digest     TEXT PRIMARY KEY NOT NULL,
    media_type TEXT NOT NULL,
    bytes      BLOB NOT NULL
);

-- What a manifest refers to: true by content, whoever fetched it.
CREATE TABLE edges (
    parent TEXT NOT NULL,
    child  TEXT NOT NULL,
    size   BIGINT NOT NULL,
    PRIMARY KEY (parent, child)
);
CREATE INDEX edges_by_child ON edges (child);

-- What upstream showed us in a repository, or what we published there: exactly these digests may be read in it, and what
-- we made. `via` is the tag that led here, empty for a look by digest; `published` is 1 for what a tag was answered with.
CREATE TABLE roots (
    upstream   TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    via        TEXT NOT NULL,
    published  INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, digest, via)
);
CREATE INDEX roots_by_digest ON roots (digest);

-- What no upstream has: the manifests, configurations and layers that we made.
CREATE TABLE made (
    digest TEXT PRIMARY KEY NOT NULL
);

-- Where tags pointed upstream when we last asked. Times are seconds since the epoch.
CREATE TABLE tags (
    upstream   TEXT NOT NULL,
    repository TEXT NOT NULL,
    tag        TEXT NOT NULL,
    digest     TEXT NOT NULL,
    checked_at BIGINT NOT NULL,
    PRIMARY KEY (upstream, repository, tag)
);

-- What a layer-by-layer reading of an image found; a function of its manifest's digest and of the reader's version.
CREATE TABLE inventories (
    digest    TEXT PRIMARY KEY NOT NULL,
    inventory TEXT NOT NULL
);

-- Patch layers by the plan that made them. No layer: the plan changed nothing.
CREATE TABLE layers (
    plan    TEXT PRIMARY KEY NOT NULL,
    layer   TEXT,
    made_at BIGINT NOT NULL
);

-- What an original is answered with in a repository.
CREATE TABLE decisions (
    upstream   TEXT NOT NULL,
    repository TEXT NOT NULL,
    source     TEXT NOT NULL,
    served     TEXT NOT NULL,
    note       TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    PRIMARY KEY (upstream, repository, source)
);

-- The last patched image of each tag: the pointer that a publication switches.
CREATE TABLE published (
    upstream     TEXT NOT NULL,
    repository   TEXT NOT NULL,
    tag          TEXT NOT NULL,
    source       TEXT NOT NULL,
    served       TEXT NOT NULL,
    published_at BIGINT NOT NULL,
    PRIMARY KEY (upstream, repository, tag)
);
