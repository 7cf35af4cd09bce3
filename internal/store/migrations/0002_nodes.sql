-- +goose Up

-- One row a process that writes. batch counts its commits: a commit whose answer
-- was lost is looked up here.
CREATE TABLE node (
    id      TEXT PRIMARY KEY,
    batch   BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- What all processes on this database have to agree on.
CREATE TABLE installation (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
