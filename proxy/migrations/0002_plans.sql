-- What an original is answered with depends on what its rule selects, and on the plans for its images.

-- `choices` names what the rule selects. `images` are the images behind the original with the plan of each, as JSON: when an
-- index of packages changes, they are planned anew and compared.
DROP TABLE decisions;
CREATE TABLE decisions (
    upstream   TEXT NOT NULL,
    repository TEXT NOT NULL,
    source     TEXT NOT NULL,
    choices    TEXT NOT NULL,
    served     TEXT NOT NULL,
    note       TEXT NOT NULL,
    images     TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    PRIMARY KEY (upstream, repository, source, choices)
);

-- The files of a layer that inventories are read from, compressed; a function of the layer's digest and of the reader's version.
CREATE TABLE layer_files (
    layer TEXT PRIMARY KEY NOT NULL,
    files BLOB NOT NULL
);

-- A plan that changed nothing is a failure now.
DROP TABLE layers;
CREATE TABLE layers (
    plan    TEXT PRIMARY KEY NOT NULL,
    layer   TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
