package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/tenantry/tenantry/internal/mail"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Where the links in mails lead, below PortalURL; a token is in the query.
const (
	ResetPath      = "/portal/reset-password"
	ForgotPath     = "/portal/forgot-password"
	InvitationPath = "/portal/invitation"
)

// letter is what a queued mail says.
type letter struct {
	mail.Message
	// Reset asks for links to a new password, of whoever has the address To in
	// Organization, "" for all: who that is, is looked up where no one measures time.
	Reset        bool   `json:",omitempty"`
	Organization string `json:",omitempty"`
}

const (
	// mailLife is how long a mail is tried.
	mailLife = 24 * time.Hour
	// mailClaim is after what time somebody else takes up what one has not finished.
	mailClaim = 2 * time.Minute
	// mailBatch is how many are taken up at once.
	mailBatch = 10
	mailPoll  = 5 * time.Second

	firstDelay   = 30 * time.Second
	longestDelay = time.Hour
)

// queue stores a letter, to be sent once the transaction is on disk.
func (s *Service) queue(tx *store.Tx, l letter) error {
	if s.options.PortalURL == "" {
		return nil
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	id := s.db.Source().NewID()
	return tx.QueueMail(store.Mail{ID: id, Sealed: s.sealer.Seal(text, "mail "+id), DueAt: tx.Now(), ExpiresAt: tx.Now().Add(mailLife)})
}

// posted tells that mail may be due.
func (s *Service) posted() {
	select {
	case s.mailed <- struct{}{}:
	default:
	}
}

// link is an address of the portal.
func (s *Service) link(path, token string) string {
	return s.options.PortalURL + path + "?token=" + url.QueryEscape(token)
}

// KeepMail sends what is queued until ctx ends. Each mail is sent at least once:
// twice, if this process ends between sending and noting that.
func (s *Service) KeepMail(ctx context.Context, sender mail.Sender, log *slog.Logger) {
	ticker := time.NewTicker(mailPoll)
	defer ticker.Stop()
	for {
		for {
			n, err := s.SendMail(ctx, sender, log)
			if err != nil && ctx.Err() == nil {
				log.Warn("mail waits: the database cannot be reached", "error", err)
			}
			if n == 0 || err != nil {
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.mailed:
		}
	}
}

// SendMail sends some of what is due, and returns how many it took up. What could not
// be sent is due again later; what never can be is logged, without what it says, and
// forgotten.
func (s *Service) SendMail(ctx context.Context, sender mail.Sender, log *slog.Logger) (int, error) {
	due := false
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		due, err = tx.MailDue()
		return err
	})
	if err != nil || !due {
		return 0, err
	}
	var claimed []store.Mail
	if err := s.db.Update(ctx, store.MailLane, func(tx *store.Tx) (err error) {
		claimed, err = tx.ClaimMail(mailBatch, tx.Now().Add(mailClaim))
		return err
	}); err != nil {
		return 0, err
	}
	var failed error
	for _, m := range claimed {
		failed = errors.Join(failed, s.deliver(ctx, m, sender, log))
	}
	return len(claimed), failed
}

func (s *Service) deliver(ctx context.Context, m store.Mail, sender mail.Sender, log *slog.Logger) error {
	var l letter
	text, err := s.sealer.Open(m.Sealed, "mail "+m.ID)
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	if err != nil {
		err = mail.Permanent(err)
	} else if l.Reset {
		return s.answerReset(ctx, m.ID, l)
	} else {
		sending, stop := context.WithTimeout(ctx, mailClaim/4)
		err = sender.Send(sending, l.Message)
		stop()
	}
	switch {
	case err == nil:
	case mail.IsPermanent(err):
		log.Error("a mail cannot be sent", "mail", m.ID, "error", err)
	default:
		delay := min(firstDelay<<min(m.Tries-1, 16), longestDelay)
		log.Warn("a mail could not be sent", "mail", m.ID, "try", m.Tries, "again_in", delay, "error", err)
		// What could not be sent because this process stops is due at once.
		if ctx.Err() != nil {
			delay = 0
		}
		return s.db.Update(context.WithoutCancel(ctx), store.MailLane, func(tx *store.Tx) error { return tx.DelayMail(m.ID, tx.Now().Add(delay)) })
	}
	return s.db.Update(context.WithoutCancel(ctx), store.MailLane, func(tx *store.Tx) error { return tx.ForgetMail(m.ID) })
}

// mostResets is how many organizations one request for a new password reaches.
const mostResets = 5

// answerReset mails a link to each user that was asked for and may have one.
func (s *Service) answerReset(ctx context.Context, id string, l letter) error {
	var users []tenant.User
	if err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		if l.Organization == "" {
			users, err = tx.UsersWithEmail(l.To, mostResets)
			return err
		}
		user, err := tx.UserByEmail(l.To, l.Organization)
		if user != nil {
			users = append(users, *user)
		}
		return err
	}); err != nil {
		return err
	}
	lanes := []string{store.MailLane}
	for _, user := range users {
		lane, err := s.lane(ctx, user.AccountID)
		if err != nil {
			return err
		}
		lanes = append(lanes, lane)
	}
	defer s.posted()
	return s.db.UpdateAll(ctx, lanes, func(tx *store.Tx) error {
		for _, user := range users {
			if err := s.mailReset(tx, user.ID); err != nil {
				return err
			}
		}
		return tx.ForgetMail(id)
	})
}

func (s *Service) mailReset(tx *store.Tx, userID string) error {
	user, err := tx.UserByID(userID)
	if err != nil || user == nil {
		return err
	}
	account, err := s.admit(tx, user)
	var refused *tenant.Error
	if errors.As(err, &refused) {
		return nil
	} else if err != nil {
		return err
	}
	signOn, err := tx.SignOn(user.AccountID)
	if err != nil {
		return err
	}
	if signOn.AdmitPassword(user) != nil {
		return nil
	}
	last, err := tx.Reset(user.ID)
	if err != nil {
		return err
	}
	if last != nil && tx.Now().Sub(last.CreatedAt) < tenant.SendGap {
		return nil // it has just been mailed
	}
	token := s.sealer.MintToken() + s.sealer.MintToken()
	if err := tx.Apply(tenant.RequestReset(*user, tenant.PasswordReset{
		UserID: user.ID, AccountID: user.AccountID, Digest: s.sealer.Digest(token), CreatedAt: tx.Now(), ExpiresAt: tx.Now().Add(tenant.ResetTime),
	})); err != nil {
		return err
	}
	return s.queue(tx, letter{Message: mail.Message{To: user.Email, Subject: "Set a new password", Text: fmt.Sprintf(resetText,
		user.Email, account.OrganizationName, s.options.Product, s.link(ResetPath, token))}})
}

const resetText = `Somebody asked for a new password for %s
in the organization %q at %s.

Set it within an hour:

%s

If you did not ask for it, do nothing: your password stays as it is.
`

const changedText = `The password of %s
in the organization %q at %s was changed just now.
Wherever you were signed in, you have to sign in again.

If it was not you, set another one, and tell the owner of the organization:

%s
`

const invitationText = `You are invited to join the organization %q
at %s.

Accept within seven days:

%s

If you do not know why, do nothing.
`
