-- +goose Up

-- One row an account, root or managed. Times are UTC microseconds, money is in
-- minor units. manager_id '' means a root account: the operator manages those.
CREATE TABLE account (
    id                   TEXT PRIMARY KEY,
    manager_id           TEXT    NOT NULL,
    -- dense under one manager, in order of creation: page k is found by number
    number               BIGINT  NOT NULL,
    -- 0 until the row changes after its creation; then the manager's revision
    revision             BIGINT  NOT NULL DEFAULT 0,
    email                TEXT    NOT NULL,
    email_key            TEXT    NOT NULL,
    organization_name    TEXT    NOT NULL,
    allow_custom_pricing BOOLEAN NOT NULL,
    rollup_billing       BOOLEAN NOT NULL,
    disabled             BOOLEAN NOT NULL DEFAULT FALSE,
    blocked              BOOLEAN NOT NULL DEFAULT FALSE,
    cancelled            BOOLEAN NOT NULL DEFAULT FALSE,
    balance              BIGINT  NOT NULL DEFAULT 0,
    pending              BIGINT  NOT NULL DEFAULT 0,
    credit_limit         BIGINT  NOT NULL DEFAULT 0 CHECK (credit_limit >= 0),
    currency             TEXT    NOT NULL,
    channel_limit        BIGINT  NOT NULL DEFAULT 0 CHECK (channel_limit >= 0),
    -- the organization's counters, as manager.accounts and manager.revision
    users                BIGINT  NOT NULL DEFAULT 0,
    user_revision        BIGINT  NOT NULL DEFAULT 0,
    created_at           BIGINT  NOT NULL,
    updated_at           BIGINT  NOT NULL
);
CREATE UNIQUE INDEX account_number ON account (manager_id, number);
CREATE INDEX account_revision ON account (manager_id, revision) WHERE revision > 0;
-- a cancelled account gives its address free
CREATE UNIQUE INDEX account_email ON account (manager_id, email_key) WHERE cancelled = FALSE;
CREATE INDEX account_email_cancelled ON account (manager_id, email_key) WHERE cancelled = TRUE;
CREATE INDEX account_name ON account (manager_id, organization_name, number);

-- What makes an account a manager. The row '' stands for the operator.
CREATE TABLE manager (
    account_id         TEXT PRIMARY KEY,
    approved           BOOLEAN NOT NULL,
    channel_pool       BIGINT  NOT NULL CHECK (channel_pool >= 0),
    channels_allocated BIGINT  NOT NULL DEFAULT 0,
    accounts           BIGINT  NOT NULL DEFAULT 0,
    revision           BIGINT  NOT NULL DEFAULT 0,
    CHECK (channels_allocated >= 0 AND channels_allocated <= channel_pool)
);
INSERT INTO manager (account_id, approved, channel_pool) VALUES ('', TRUE, 0);

-- People of an organization; the owner's id is the account's. A removed user
-- keeps a row without a name, so that numbers stay dense.
CREATE TABLE organization_user (
    id              TEXT PRIMARY KEY,
    account_id      TEXT    NOT NULL,
    number          BIGINT  NOT NULL,
    revision        BIGINT  NOT NULL DEFAULT 0,
    email           TEXT    NOT NULL,
    email_key       TEXT    NOT NULL,
    password_hash   TEXT    NOT NULL DEFAULT '',
    user_status     TEXT    NOT NULL CHECK (user_status IN ('enabled', 'disabled', 'blocked')),
    bypasses_sso    BOOLEAN NOT NULL DEFAULT FALSE,
    removed         BOOLEAN NOT NULL DEFAULT FALSE,
    last_sign_in_at BIGINT  NOT NULL DEFAULT 0,
    created_at      BIGINT  NOT NULL
);
CREATE UNIQUE INDEX organization_user_number ON organization_user (account_id, number);
CREATE INDEX organization_user_revision ON organization_user (account_id, revision) WHERE revision > 0;
-- led by the address, so that it serves sign-in too
CREATE UNIQUE INDEX organization_user_email ON organization_user (email_key, account_id) WHERE removed = FALSE;

CREATE TABLE organization_group (
    id          TEXT PRIMARY KEY,
    account_id  TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    permissions TEXT   NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX organization_group_name ON organization_group (account_id, name);

-- user_number repeats the user's number so that the report reads both tables in
-- one order.
CREATE TABLE membership (
    account_id  TEXT   NOT NULL,
    user_number BIGINT NOT NULL,
    user_id     TEXT   NOT NULL,
    group_id    TEXT   NOT NULL,
    PRIMARY KEY (account_id, user_number, group_id)
);
CREATE INDEX membership_group ON membership (group_id, user_number);

-- digest is a keyed hash of the secret, sealed the secret under the master key.
CREATE TABLE api_key (
    digest     TEXT PRIMARY KEY,
    id         TEXT   NOT NULL,
    account_id TEXT   NOT NULL,
    user_id    TEXT   NOT NULL,
    kind       TEXT   NOT NULL CHECK (kind IN ('v2', 'v1')),
    sealed     TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX api_key_user ON api_key (user_id, kind);

CREATE TABLE session (
    digest     TEXT PRIMARY KEY,
    account_id TEXT   NOT NULL,
    user_id    TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX session_account ON session (account_id, user_id);
CREATE INDEX session_expiry ON session (expires_at);

-- First answers, kept for requests that come again. sealed holds status and
-- body under the master key, for a body may have secrets in it.
CREATE TABLE answer (
    request    TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    body       TEXT   NOT NULL,
    sealed     TEXT   NOT NULL,
    replayed   BIGINT NOT NULL DEFAULT 0,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (request, id)
);
CREATE INDEX answer_expiry ON answer (expires_at);

CREATE TABLE audit_entry (
    account_id    TEXT   NOT NULL,
    -- dense under one account, in order of time: a page is found by number, and a
    -- time by halving
    number        BIGINT NOT NULL,
    id            TEXT   NOT NULL,
    actor_user_id TEXT   NOT NULL,
    credential_id TEXT   NOT NULL,
    made_by       TEXT   NOT NULL,
    event         TEXT   NOT NULL,
    resource_type TEXT   NOT NULL,
    resource_id   TEXT   NOT NULL,
    changes       TEXT   NOT NULL,
    request_id    TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (account_id, number)
);

-- Events that wait to be delivered. What one says stands in the audit entry with
-- the same id; account_id and number find it.
CREATE TABLE outbox (
    id         TEXT PRIMARY KEY,
    account_id TEXT   NOT NULL,
    number     BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
