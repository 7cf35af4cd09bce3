package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

// applyPeople writes how people get in.
func (tx *Tx) applyPeople(change tenant.Change) error {
	for _, d := range change.Invitations {
		if err := tx.applyInvitation(d); err != nil {
			return fmt.Errorf("write the invitation: %w", err)
		}
	}
	for _, d := range change.Resets {
		if err := tx.applyReset(d.After); err != nil {
			return fmt.Errorf("write the password reset: %w", err)
		}
	}
	for _, d := range change.Factors {
		if err := tx.applyFactor(d); err != nil {
			return fmt.Errorf("write the second factor: %w", err)
		}
	}
	for _, d := range change.SignOns {
		if err := tx.applySignOn(d); err != nil {
			return fmt.Errorf("write the single sign-on: %w", err)
		}
	}
	for _, d := range change.Identities {
		if d.After == nil {
			if err := tx.exec("DELETE FROM external_identity WHERE user_id = $1", d.Before.UserID); err != nil {
				return err
			}
			continue
		}
		i := d.After
		err := tx.exec("INSERT INTO external_identity (account_id, issuer, subject, user_id, created_at) VALUES ($1, $2, $3, $4, $5)",
			i.AccountID, i.Issuer, i.Subject, i.UserID, micros(i.CreatedAt))
		if isDuplicate(err, "user") || isDuplicate(err, "subject") {
			err = tenant.Refuse(tenant.Duplicate, "The user, or the identity, is linked already.")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func scanInvitation(row scanner, i *tenant.Invitation) error {
	var groups string
	var sent, created, expires int64
	err := row.Scan(&i.ID, &i.AccountID, &i.Email, &groups, &i.Digest, &i.InvitedBy, &i.Sent, &sent, &created, &expires)
	i.GroupIDs = strings.Fields(groups)
	i.SentAt, i.CreatedAt, i.ExpiresAt = fromMicros(sent), fromMicros(created), fromMicros(expires)
	return err
}

const invitations = "SELECT id, account_id, email, group_ids, digest, invited_by, sent, sent_at, created_at, expires_at FROM invitation WHERE "

// Invitations are those of an organization, by address, among them some that have
// expired; there are at most a few.
func (tx *Tx) Invitations(accountID string) ([]tenant.Invitation, error) {
	return all(tx, scanInvitation, invitations+"account_id = $1 ORDER BY email_key", accountID)
}

// Invitation is the organization's with that id; anything else is refused with kind
// NotFound.
func (tx *Tx) Invitation(accountID, id string) (*tenant.Invitation, error) {
	found, err := one(tx, scanInvitation, invitations+"id = $1", id)
	if err == nil && (found == nil || found.AccountID != accountID) {
		return nil, tenant.Missed("invitation_id")
	}
	return found, err
}

// InvitationByToken is the invitation whose token has that digest, or nil when there
// is none or its time is over.
func (tx *Tx) InvitationByToken(digest string) (*tenant.Invitation, error) {
	return one(tx, scanInvitation, invitations+"digest = $1 AND expires_at > $2", digest, micros(tx.now))
}

func (tx *Tx) applyInvitation(d tenant.Diff[tenant.Invitation]) error {
	if d.After == nil {
		return tx.exec("DELETE FROM invitation WHERE id = $1", d.Before.ID)
	}
	i := d.After
	if d.Before != nil {
		return tx.exec("UPDATE invitation SET digest = $2, sent = $3, sent_at = $4, expires_at = $5 WHERE id = $1",
			i.ID, i.Digest, i.Sent, micros(i.SentAt), micros(i.ExpiresAt))
	}
	err := tx.exec(`INSERT INTO invitation (id, account_id, email, email_key, group_ids, digest, invited_by, sent, sent_at, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`, i.ID, i.AccountID, i.Email, tenant.EmailKey(i.Email),
		strings.Join(i.GroupIDs, " "), i.Digest, i.InvitedBy, i.Sent, micros(i.SentAt), micros(i.CreatedAt), micros(i.ExpiresAt))
	if isDuplicate(err, "email_key") {
		return tenant.RefuseField(tenant.Duplicate, "email", "This address is invited already.")
	}
	return err
}

func scanReset(row scanner, r *tenant.PasswordReset) error {
	var created, expires int64
	err := row.Scan(&r.UserID, &r.AccountID, &r.Digest, &created, &expires)
	r.CreatedAt, r.ExpiresAt = fromMicros(created), fromMicros(expires)
	return err
}

const resets = "SELECT user_id, account_id, digest, created_at, expires_at FROM password_reset WHERE "

// Reset is the newest link to a new password that a user was sent, or nil.
func (tx *Tx) Reset(userID string) (*tenant.PasswordReset, error) {
	return one(tx, scanReset, resets+"user_id = $1", userID)
}

// ResetByToken is the link whose token has that digest, or nil when there is none or
// its time is over.
func (tx *Tx) ResetByToken(digest string) (*tenant.PasswordReset, error) {
	return one(tx, scanReset, resets+"digest = $1 AND expires_at > $2", digest, micros(tx.now))
}

func (tx *Tx) applyReset(r *tenant.PasswordReset) error {
	return tx.exec(`INSERT INTO password_reset (user_id, account_id, digest, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id) DO UPDATE SET digest = excluded.digest, created_at = excluded.created_at, expires_at = excluded.expires_at`,
		r.UserID, r.AccountID, r.Digest, micros(r.CreatedAt), micros(r.ExpiresAt))
}

// Factor is the user's second factor, or nil.
func (tx *Tx) Factor(userID string) (*tenant.Factor, error) {
	return one(tx, func(row scanner, f *tenant.Factor) error {
		var created int64
		err := row.Scan(&f.UserID, &f.AccountID, &f.Sealed, &f.Confirmed, &f.LastStep, &created)
		f.CreatedAt = fromMicros(created)
		return err
	}, "SELECT user_id, account_id, sealed, confirmed, last_step, created_at FROM second_factor WHERE user_id = $1", userID)
}

// RecoveryCodes is how many recovery codes the user has left.
func (tx *Tx) RecoveryCodes(userID string) (int64, error) {
	return tx.count("SELECT COUNT(*) FROM recovery_code WHERE user_id = $1", userID)
}

// TakeStep reports whether the step is newer than all that were taken, and takes it.
func (tx *Tx) TakeStep(userID string, step int64) (bool, error) {
	n, err := tx.execCount("UPDATE second_factor SET last_step = $2 WHERE user_id = $1 AND last_step < $2", userID, step)
	return n > 0, err
}

// TakeRecoveryCode reports whether the user has that code, and takes it away.
func (tx *Tx) TakeRecoveryCode(userID, digest string) (bool, error) {
	n, err := tx.execCount("DELETE FROM recovery_code WHERE user_id = $1 AND digest = $2", userID, digest)
	return n > 0, err
}

func (tx *Tx) applyFactor(d tenant.Diff[tenant.Factor]) error {
	if d.After == nil || d.After.Recovery != nil {
		if err := tx.exec("DELETE FROM recovery_code WHERE user_id = $1", userOf(d)); err != nil {
			return err
		}
	}
	if d.After == nil {
		return tx.exec("DELETE FROM second_factor WHERE user_id = $1", d.Before.UserID)
	}
	f := d.After
	if err := tx.exec(`INSERT INTO second_factor (user_id, account_id, sealed, confirmed, last_step, created_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (user_id) DO UPDATE SET sealed = excluded.sealed, confirmed = excluded.confirmed, last_step = excluded.last_step,
			created_at = excluded.created_at`, f.UserID, f.AccountID, f.Sealed, f.Confirmed, f.LastStep, micros(f.CreatedAt)); err != nil {
		return err
	}
	for _, digest := range f.Recovery {
		if err := tx.exec("INSERT INTO recovery_code (user_id, digest) VALUES ($1, $2)", f.UserID, digest); err != nil {
			return err
		}
	}
	return nil
}

func userOf(d tenant.Diff[tenant.Factor]) string {
	if d.After != nil {
		return d.After.UserID
	}
	return d.Before.UserID
}

// SignOn is how the organization's people sign in elsewhere, or nil.
func (tx *Tx) SignOn(accountID string) (*tenant.SignOn, error) {
	return one(tx, func(row scanner, s *tenant.SignOn) error {
		var domains string
		var updated int64
		err := row.Scan(&s.AccountID, &s.Issuer, &s.ClientID, &s.Sealed, &domains, &s.Required, &updated)
		s.Domains, s.UpdatedAt = strings.Fields(domains), fromMicros(updated)
		return err
	}, "SELECT account_id, issuer, client_id, sealed, domains, required, updated_at FROM single_sign_on WHERE account_id = $1", accountID)
}

func (tx *Tx) applySignOn(d tenant.Diff[tenant.SignOn]) error {
	if d.After == nil {
		return tx.exec("DELETE FROM single_sign_on WHERE account_id = $1", d.Before.AccountID)
	}
	s := d.After
	return tx.exec(`INSERT INTO single_sign_on (account_id, issuer, client_id, sealed, domains, required, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (account_id) DO UPDATE SET issuer = excluded.issuer, client_id = excluded.client_id, sealed = excluded.sealed,
			domains = excluded.domains, required = excluded.required, updated_at = excluded.updated_at`,
		s.AccountID, s.Issuer, s.ClientID, s.Sealed, strings.Join(s.Domains, " "), s.Required, micros(s.UpdatedAt))
}

// Identified is the id of the user who is that subject of the issuer, "" for nobody.
func (tx *Tx) Identified(accountID, issuer, subject string) (string, error) {
	id, err := one(tx, scanText, "SELECT user_id FROM external_identity WHERE account_id = $1 AND issuer = $2 AND subject = $3", accountID, issuer, subject)
	if err != nil || id == nil {
		return "", err
	}
	return *id, nil
}

// IdentityOf is who the user is elsewhere, or nil.
func (tx *Tx) IdentityOf(userID string) (*tenant.Identity, error) {
	return one(tx, func(row scanner, i *tenant.Identity) error {
		var created int64
		err := row.Scan(&i.AccountID, &i.Issuer, &i.Subject, &i.UserID, &created)
		i.CreatedAt = fromMicros(created)
		return err
	}, "SELECT account_id, issuer, subject, user_id, created_at FROM external_identity WHERE user_id = $1", userID)
}

// Mail waits to be sent. What it says is sealed under its id.
type Mail struct {
	ID     string
	Sealed string
	// Tries is how often it was taken up.
	Tries     int64
	DueAt     time.Time
	ExpiresAt time.Time
}

// QueueMail stores a mail in the transaction that has a reason for it.
func (tx *Tx) QueueMail(m Mail) error {
	return tx.exec("INSERT INTO mail (id, sealed, tries, due_at, expires_at) VALUES ($1, $2, 0, $3, $4)", m.ID, m.Sealed, micros(m.DueAt), micros(m.ExpiresAt))
}

// MailLane is the lane of those who take mail up.
const MailLane = "mail"

// MailDue reports whether any mail is due.
func (tx *Tx) MailDue() (bool, error) {
	id, err := one(tx, scanText, "SELECT id FROM mail WHERE due_at <= $1 AND expires_at > $1 ORDER BY due_at LIMIT 1", micros(tx.now))
	return id != nil, err
}

// ClaimMail takes up at most limit mails that are due: they are due again at that
// time, should nobody say what became of them. Call it in MailLane.
func (tx *Tx) ClaimMail(limit int, again time.Time) ([]Mail, error) {
	return all(tx, func(row scanner, m *Mail) error {
		var due, expires int64
		err := row.Scan(&m.ID, &m.Sealed, &m.Tries, &due, &expires)
		m.DueAt, m.ExpiresAt = fromMicros(due), fromMicros(expires)
		return err
	}, `UPDATE mail SET tries = tries + 1, due_at = $1 WHERE id IN (SELECT id FROM mail WHERE due_at <= $2 AND expires_at > $2 ORDER BY due_at LIMIT $3)
		RETURNING id, sealed, tries, due_at, expires_at`, micros(again), micros(tx.now), limit)
}

// DelayMail makes a mail due later.
func (tx *Tx) DelayMail(id string, due time.Time) error {
	return tx.exec("UPDATE mail SET due_at = $2 WHERE id = $1", id, micros(due))
}

// ForgetMail ends a mail: it was sent, or nobody can.
func (tx *Tx) ForgetMail(id string) error { return tx.exec("DELETE FROM mail WHERE id = $1", id) }
