-- What all migrations add up to, with either engine. TestSchema writes it: -update.

CREATE TABLE account (
    id TEXT NOT NULL,
    manager_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    revision BIGINT NOT NULL DEFAULT 0,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    organization_name TEXT NOT NULL,
    allow_custom_pricing BOOLEAN NOT NULL,
    rollup_billing BOOLEAN NOT NULL,
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    blocked BOOLEAN NOT NULL DEFAULT FALSE,
    cancelled BOOLEAN NOT NULL DEFAULT FALSE,
    balance BIGINT NOT NULL DEFAULT 0,
    pending BIGINT NOT NULL DEFAULT 0,
    credit_limit BIGINT NOT NULL DEFAULT 0,
    currency TEXT NOT NULL,
    channel_limit BIGINT NOT NULL DEFAULT 0,
    users BIGINT NOT NULL DEFAULT 0,
    user_revision BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (channel_limit >= 0),
    CHECK (credit_limit >= 0),
    PRIMARY KEY (id)
);
CREATE INDEX account_blocked ON account (updated_at, id) WHERE blocked = TRUE AND cancelled = FALSE;
CREATE INDEX account_channels ON account (manager_id, channel_limit, number);
CREATE INDEX account_email_cancelled ON account (manager_id, email_key) WHERE cancelled = TRUE;
CREATE INDEX account_name ON account (manager_id, organization_name, number);
CREATE INDEX account_overdrawn ON account (((balance + credit_limit)), id) WHERE balance + credit_limit < 0 AND rollup_billing = FALSE AND cancelled = FALSE;
CREATE INDEX account_revision ON account (manager_id, revision) WHERE revision > 0;
CREATE UNIQUE INDEX account_email ON account (manager_id, email_key) WHERE cancelled = FALSE;
CREATE UNIQUE INDEX account_number ON account (manager_id, number);

CREATE TABLE answer (
    request TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    sealed TEXT NOT NULL,
    replayed BIGINT NOT NULL DEFAULT 0,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (request, id)
);
CREATE INDEX answer_expiry ON answer (expires_at);

CREATE TABLE api_key (
    digest TEXT NOT NULL,
    id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    name TEXT NOT NULL DEFAULT '',
    expires_at BIGINT NOT NULL DEFAULT 0,
    last_used_at BIGINT NOT NULL DEFAULT 0,
    CHECK (kind IN ('v2', 'v1')),
    PRIMARY KEY (digest)
);
CREATE INDEX api_key_user ON api_key (user_id, kind);

CREATE TABLE audit_entry (
    account_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    id TEXT NOT NULL,
    actor_user_id TEXT NOT NULL,
    credential_id TEXT NOT NULL,
    made_by TEXT NOT NULL,
    event TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    changes TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, number)
);
CREATE INDEX audit_entry_actor ON audit_entry (account_id, actor_user_id, number);
CREATE INDEX audit_entry_event ON audit_entry (account_id, event, number);
CREATE INDEX audit_entry_resource ON audit_entry (account_id, resource_id, number);

CREATE TABLE connection (
    id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    active BOOLEAN NOT NULL,
    hold TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (kind IN ('credentials', 'address')),
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX connection_name ON connection (account_id, name);

CREATE TABLE external_identity (
    account_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, issuer, subject)
);
CREATE UNIQUE INDEX external_identity_user ON external_identity (user_id);

CREATE TABLE identity (
    value TEXT NOT NULL,
    account_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    PRIMARY KEY (value)
);
CREATE INDEX identity_connection ON identity (connection_id, value);

CREATE TABLE installation (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE invitation (
    id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    group_ids TEXT NOT NULL,
    digest TEXT NOT NULL,
    invited_by TEXT NOT NULL,
    sent BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX invitation_expiry ON invitation (expires_at);
CREATE UNIQUE INDEX invitation_digest ON invitation (digest);
CREATE UNIQUE INDEX invitation_email ON invitation (account_id, email_key);

CREATE TABLE lease (
    account_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    id TEXT NOT NULL,
    manager_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    units BIGINT NOT NULL,
    switch_name TEXT NOT NULL,
    acquired_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CHECK (direction IN ('inbound', 'outbound')),
    CHECK (units > 0),
    PRIMARY KEY (account_id, call_id)
);
CREATE INDEX lease_call ON lease (call_id);
CREATE INDEX lease_expiry ON lease (expires_at);
CREATE INDEX lease_pool ON lease (manager_id, direction, expires_at, units);
CREATE INDEX lease_switch ON lease (switch_name, call_id, account_id);
CREATE INDEX lease_use ON lease (direction, account_id, expires_at, units);

CREATE TABLE mail (
    id TEXT NOT NULL,
    sealed TEXT NOT NULL,
    tries BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX mail_due ON mail (due_at);
CREATE INDEX mail_expiry ON mail (expires_at);
CREATE INDEX mail_tried ON mail (expires_at) WHERE tries > 0;

CREATE TABLE manager (
    account_id TEXT NOT NULL,
    approved BOOLEAN NOT NULL,
    channel_pool BIGINT NOT NULL,
    channels_allocated BIGINT NOT NULL DEFAULT 0,
    accounts BIGINT NOT NULL DEFAULT 0,
    revision BIGINT NOT NULL DEFAULT 0,
    CHECK (channel_pool >= 0),
    CHECK (channels_allocated >= 0 AND channels_allocated <= channel_pool),
    PRIMARY KEY (account_id)
);
CREATE INDEX manager_pool ON manager (((channel_pool - channels_allocated)), account_id) WHERE approved = TRUE AND channel_pool > 0 AND channels_allocated * 10 > channel_pool * 9;

CREATE TABLE membership (
    account_id TEXT NOT NULL,
    user_number BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    group_id TEXT NOT NULL,
    PRIMARY KEY (account_id, user_number, group_id)
);
CREATE INDEX membership_group ON membership (group_id, user_number);

CREATE TABLE message (
    id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    credential_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    content TEXT NOT NULL,
    status TEXT NOT NULL,
    failure TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    valid_until BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    completed_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CHECK (status IN ('queued', 'sent', 'delivered', 'sending_failed', 'delivery_failed', 'delivery_unconfirmed', 'expired')),
    PRIMARY KEY (id)
);
CREATE INDEX message_due ON message (due_at) WHERE due_at > 0;
CREATE INDEX message_expiry ON message (expires_at);

CREATE TABLE node (
    id TEXT NOT NULL,
    batch BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE organization_group (
    id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    name TEXT NOT NULL,
    permissions TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX organization_group_name ON organization_group (account_id, name);

CREATE TABLE organization_user (
    id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    revision BIGINT NOT NULL DEFAULT 0,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    password_hash TEXT NOT NULL DEFAULT '',
    user_status TEXT NOT NULL,
    bypasses_sso BOOLEAN NOT NULL DEFAULT FALSE,
    removed BOOLEAN NOT NULL DEFAULT FALSE,
    last_sign_in_at BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    CHECK (user_status IN ('enabled', 'disabled', 'blocked')),
    PRIMARY KEY (id)
);
CREATE INDEX organization_user_revision ON organization_user (account_id, revision) WHERE revision > 0;
CREATE UNIQUE INDEX organization_user_email ON organization_user (email_key, account_id) WHERE removed = FALSE;
CREATE UNIQUE INDEX organization_user_number ON organization_user (account_id, number);

CREATE TABLE outbox (
    id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE password_reset (
    user_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (user_id)
);
CREATE INDEX password_reset_expiry ON password_reset (expires_at);
CREATE UNIQUE INDEX password_reset_digest ON password_reset (digest);

CREATE TABLE recovery_code (
    user_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (user_id, digest)
);

CREATE TABLE removed_group (
    id TEXT NOT NULL,
    pruned BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (id)
);

CREATE TABLE second_factor (
    user_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    sealed TEXT NOT NULL,
    confirmed BOOLEAN NOT NULL,
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id)
);

CREATE TABLE session (
    digest TEXT NOT NULL,
    account_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    kind TEXT NOT NULL DEFAULT 'api',
    id TEXT NOT NULL DEFAULT '',
    used_at BIGINT NOT NULL DEFAULT 0,
    address TEXT NOT NULL DEFAULT '',
    user_agent TEXT NOT NULL DEFAULT '',
    person_account_id TEXT NOT NULL DEFAULT '',
    person_user_id TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    ended TEXT NOT NULL DEFAULT '',
    CHECK (kind IN ('api', 'portal', 'pending')),
    PRIMARY KEY (digest)
);
CREATE INDEX session_account ON session (account_id, user_id);
CREATE INDEX session_expiry ON session (expires_at);
CREATE INDEX session_person ON session (person_account_id, person_user_id) WHERE person_account_id <> '';

CREATE TABLE sign_in_try (
    subject TEXT NOT NULL,
    tries BIGINT NOT NULL,
    since BIGINT NOT NULL,
    locks BIGINT NOT NULL,
    locked_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (subject)
);
CREATE INDEX sign_in_try_expiry ON sign_in_try (expires_at);
CREATE INDEX sign_in_try_locked ON sign_in_try (locked_until) WHERE locked_until > 0;

CREATE TABLE single_sign_on (
    account_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    client_id TEXT NOT NULL,
    sealed TEXT NOT NULL,
    domains TEXT NOT NULL,
    required BOOLEAN NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (account_id)
);

CREATE TABLE webhook_event (
    id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    event_type TEXT NOT NULL,
    status TEXT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    log TEXT NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL DEFAULT 0,
    CHECK (status IN ('waiting', 'delivered', 'failed', 'skipped')),
    PRIMARY KEY (id)
);
CREATE INDEX webhook_event_status ON webhook_event (status, id);
CREATE INDEX webhook_event_type ON webhook_event (event_type, status, id);
CREATE UNIQUE INDEX webhook_event_waiting ON webhook_event (account_id, number) WHERE status = 'waiting';

CREATE TABLE webhook_queue (
    account_id TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    tries BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id)
);
CREATE INDEX webhook_queue_due ON webhook_queue (due_at, account_id);

CREATE TABLE webhook_turn (
    name TEXT NOT NULL,
    node TEXT NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (name)
);
