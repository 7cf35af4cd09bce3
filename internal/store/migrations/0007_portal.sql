-- +goose Up

-- Groups that were removed, while anybody is still in them: members are let go a few at
-- a time, for there may be a million.
CREATE TABLE removed_group (
    id     TEXT PRIMARY KEY,
    -- the number of the last user who was let go
    pruned BIGINT NOT NULL DEFAULT 0
);

-- What the operator should look at, each in the order in which it is shown.
CREATE INDEX manager_pool ON manager (((channel_pool - channels_allocated)), account_id) WHERE approved = TRUE AND channel_pool > 0 AND channels_allocated * 10 > channel_pool * 9;
CREATE INDEX account_overdrawn ON account (((balance + credit_limit)), id) WHERE balance + credit_limit < 0 AND rollup_billing = FALSE AND cancelled = FALSE;
CREATE INDEX account_blocked ON account (updated_at, id) WHERE blocked = TRUE AND cancelled = FALSE;
CREATE INDEX sign_in_try_locked ON sign_in_try (locked_until) WHERE locked_until > 0;
CREATE INDEX mail_tried ON mail (expires_at) WHERE tries > 0;

-- Who has how many of a manager's channels, the largest shares first.
CREATE INDEX account_channels ON account (manager_id, channel_limit, number);
