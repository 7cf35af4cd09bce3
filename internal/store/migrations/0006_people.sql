-- +goose Up

-- A session is for one of two doors and opens no other: the API's, or the portal's.
-- A pending one knows the password and still owes the code of the second factor.
ALTER TABLE session ADD COLUMN kind TEXT NOT NULL DEFAULT 'api' CHECK (kind IN ('api', 'portal', 'pending'));
-- what lists name it by, for nobody needs to see the digest
ALTER TABLE session ADD COLUMN id TEXT NOT NULL DEFAULT '';
-- to the minute or so: it is not written with every request
ALTER TABLE session ADD COLUMN used_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN user_agent TEXT NOT NULL DEFAULT '';
-- who signed in as another's owner, and why; '' for a session of the user's own
ALTER TABLE session ADD COLUMN person_account_id TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN person_user_id TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN reason TEXT NOT NULL DEFAULT '';
-- why it ended before its time; such a row stays for a day, to tell its holder
ALTER TABLE session ADD COLUMN ended TEXT NOT NULL DEFAULT '';
CREATE INDEX session_person ON session (person_account_id, person_user_id) WHERE person_account_id <> '';

-- Tries to sign in, by a keyed hash of whom they are for or where they come from.
-- Addresses that nobody has are counted as well, so that counting tells nothing.
CREATE TABLE sign_in_try (
    subject      TEXT PRIMARY KEY,
    tries        BIGINT NOT NULL,
    since        BIGINT NOT NULL,
    -- how often it was locked; each time is longer
    locks        BIGINT NOT NULL,
    locked_until BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE INDEX sign_in_try_expiry ON sign_in_try (expires_at);

-- One link to a new password for each user at most.
CREATE TABLE password_reset (
    user_id    TEXT PRIMARY KEY,
    account_id TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX password_reset_digest ON password_reset (digest);
CREATE INDEX password_reset_expiry ON password_reset (expires_at);

CREATE TABLE invitation (
    id         TEXT PRIMARY KEY,
    account_id TEXT   NOT NULL,
    email      TEXT   NOT NULL,
    email_key  TEXT   NOT NULL,
    -- ids, with a space between them
    group_ids  TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    invited_by TEXT   NOT NULL,
    sent       BIGINT NOT NULL,
    sent_at    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX invitation_digest ON invitation (digest);
CREATE UNIQUE INDEX invitation_email ON invitation (account_id, email_key);
CREATE INDEX invitation_expiry ON invitation (expires_at);

-- The second factor of a user: sealed is the secret, last_step the newest time step
-- whose code was taken, so that none is taken twice. It counts once confirmed.
CREATE TABLE second_factor (
    user_id    TEXT PRIMARY KEY,
    account_id TEXT    NOT NULL,
    sealed     TEXT    NOT NULL,
    confirmed  BOOLEAN NOT NULL,
    last_step  BIGINT  NOT NULL,
    created_at BIGINT  NOT NULL
);

CREATE TABLE recovery_code (
    user_id TEXT NOT NULL,
    digest  TEXT NOT NULL,
    PRIMARY KEY (user_id, digest)
);

-- A key with a name was made by its user and shown once: it is not sealed. 0 is
-- never. last_used_at is written once an hour at most.
ALTER TABLE api_key ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE api_key ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE api_key ADD COLUMN last_used_at BIGINT NOT NULL DEFAULT 0;

-- Mail that is to be sent. What it says is sealed, for there are links in it.
CREATE TABLE mail (
    id         TEXT PRIMARY KEY,
    sealed     TEXT   NOT NULL,
    tries      BIGINT NOT NULL,
    due_at     BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX mail_due ON mail (due_at);
CREATE INDEX mail_expiry ON mail (expires_at);

-- How an organization's people sign in elsewhere. domains have a space between them.
CREATE TABLE single_sign_on (
    account_id TEXT PRIMARY KEY,
    issuer     TEXT    NOT NULL,
    client_id  TEXT    NOT NULL,
    sealed     TEXT    NOT NULL,
    domains    TEXT    NOT NULL,
    required   BOOLEAN NOT NULL,
    updated_at BIGINT  NOT NULL
);

-- Who somebody is elsewhere.
CREATE TABLE external_identity (
    account_id TEXT   NOT NULL,
    issuer     TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    user_id    TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, issuer, subject)
);
CREATE UNIQUE INDEX external_identity_user ON external_identity (user_id);

-- What the filters of the audit log ask for.
CREATE INDEX audit_entry_event ON audit_entry (account_id, event, number);
CREATE INDEX audit_entry_actor ON audit_entry (account_id, actor_user_id, number);
CREATE INDEX audit_entry_resource ON audit_entry (account_id, resource_id, number);
