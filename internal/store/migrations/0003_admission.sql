-- +goose Up

-- Where an account's calls enter and leave. hold says why the operator keeps it
-- off, '' for no reason.
CREATE TABLE connection (
    id         TEXT PRIMARY KEY,
    account_id TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('credentials', 'address')),
    active     BOOLEAN NOT NULL,
    hold       TEXT    NOT NULL,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL
);
CREATE UNIQUE INDEX connection_name ON connection (account_id, name);

-- What a switch sees of a call, and whose it is: the value begins with its kind,
-- as in sip:alice, ip:192.0.2.1, tel:+15550100.
CREATE TABLE identity (
    value         TEXT PRIMARY KEY,
    account_id    TEXT NOT NULL,
    connection_id TEXT NOT NULL
);
CREATE INDEX identity_connection ON identity (connection_id, value);

-- A channel that a call has taken. It is free when expires_at has passed, whether
-- the row is still there or not.
CREATE TABLE lease (
    account_id    TEXT   NOT NULL,
    call_id       TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    -- whose pool it is of, '' for a root account
    manager_id    TEXT   NOT NULL,
    connection_id TEXT   NOT NULL,
    direction     TEXT   NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    units         BIGINT NOT NULL CHECK (units > 0),
    -- which switch the call is on
    switch_name   TEXT   NOT NULL,
    acquired_at   BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    PRIMARY KEY (account_id, call_id)
);
CREATE INDEX lease_call ON lease (call_id);
CREATE INDEX lease_switch ON lease (switch_name, call_id, account_id);
CREATE INDEX lease_expiry ON lease (expires_at);
-- Begins with the direction so that nothing but the sum is tempted to use it.
CREATE INDEX lease_use ON lease (direction, account_id, expires_at, units);
CREATE INDEX lease_pool ON lease (manager_id, direction, expires_at, units);
