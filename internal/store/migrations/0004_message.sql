-- +goose Up

-- A message that an account sends. It stands here before any carrier has it, and is
-- forgotten at expires_at. No audit entry tells of it: it says itself who sent it.
CREATE TABLE message (
    id            TEXT PRIMARY KEY,
    account_id    TEXT   NOT NULL,
    user_id       TEXT   NOT NULL,
    credential_id TEXT   NOT NULL,
    request_id    TEXT   NOT NULL,
    -- what was asked for, as JSON
    content       TEXT   NOT NULL,
    status        TEXT   NOT NULL CHECK (status IN ('queued', 'sent', 'delivered', 'sending_failed', 'delivery_failed', 'delivery_unconfirmed', 'expired')),
    -- '' while nothing went wrong
    failure       TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    attempts      BIGINT NOT NULL,
    -- when something is to be done about it, 0 for nothing any more
    due_at        BIGINT NOT NULL,
    received_at   BIGINT NOT NULL,
    valid_until   BIGINT NOT NULL,
    sent_at       BIGINT NOT NULL,
    completed_at  BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL
);
CREATE INDEX message_due ON message (due_at) WHERE due_at > 0;
CREATE INDEX message_expiry ON message (expires_at);
