-- +goose Up

-- Events on their way to the operator's webhook: those that a node has taken out of
-- the outbox. Without a webhook there are none. log has the last attempts as JSON.
CREATE TABLE webhook_event (
    id          TEXT PRIMARY KEY,
    account_id  TEXT   NOT NULL,
    number      BIGINT NOT NULL,
    event_type  TEXT   NOT NULL,
    status      TEXT   NOT NULL CHECK (status IN ('waiting', 'delivered', 'failed', 'skipped')),
    attempts    BIGINT NOT NULL DEFAULT 0,
    log         TEXT   NOT NULL DEFAULT '',
    created_at  BIGINT NOT NULL,
    finished_at BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX webhook_event_waiting ON webhook_event (account_id, number) WHERE status = 'waiting';
CREATE INDEX webhook_event_status ON webhook_event (status, id);
CREATE INDEX webhook_event_type ON webhook_event (event_type, status, id);

-- The accounts that have events waiting, and when the first of each is to be tried:
-- while it is under way, when others may believe that it is not any more. tries
-- counts the rounds of attempts that failed.
CREATE TABLE webhook_queue (
    account_id TEXT PRIMARY KEY,
    due_at     BIGINT NOT NULL,
    tries      BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX webhook_queue_due ON webhook_queue (due_at, account_id);

-- Which node delivers, and until when nobody else does. One row.
CREATE TABLE webhook_turn (
    name    TEXT PRIMARY KEY,
    node    TEXT   NOT NULL,
    ends_at BIGINT NOT NULL
);
