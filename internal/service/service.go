// Package service has the use cases: one method each, one transaction each. It
// decides who may do what, and leaves the rules to tenant and the rows to store.
package service

import (
	"cmp"
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Options are the choices that the contract leaves open. The zero value has the
// documented defaults.
type Options struct {
	// DefaultChannels is the channel limit of a new managed account, as far as
	// the pool bears it.
	DefaultChannels int64
	// Currency of new accounts, ISO 4217; "" means USD.
	Currency string
	// KeepAnswers is how long a create without an idempotency key may be repeated
	// by the SDK; 0 means 5 minutes.
	KeepAnswers time.Duration
	// KeepKeyedAnswers is the same with an idempotency key; 0 means 24 hours.
	KeepKeyedAnswers time.Duration
	// SessionLife is how long a sign-in lasts; 0 means 12 hours.
	SessionLife time.Duration
	// PortalURL is where people find the portal, without a slash at the end: links in
	// mails begin with it. "" means that there is none, and no mail.
	PortalURL string
	// Product is the name that mails and authenticators show; "" means Tenantry.
	Product string
	// KeepMessages is how long a message is remembered after it was to be sent; 0 means
	// 72 hours.
	KeepMessages time.Duration
	// OperatorToken is what the operator signs in with; "" means that nobody does.
	OperatorToken string
	// DirectoryBytes bounds the memory of the list indexes; 0 means 1 GiB.
	DirectoryBytes int64
}

// Service does what the API offers.
type Service struct {
	db        *store.DB
	sealer    *auth.Sealer
	passwords *auth.Passwords
	options   Options
	refused   refused
	accounts  *listings
	users     *listings
	underway  underway
	reports   reports
	// mailed has something in it when mail may be due.
	mailed chan struct{}
}

// New makes a service.
func New(db *store.DB, sealer *auth.Sealer, passwords *auth.Passwords, o Options) *Service {
	if o.Currency == "" {
		o.Currency = "USD"
	}
	if o.KeepAnswers == 0 {
		o.KeepAnswers = 5 * time.Minute
	}
	if o.KeepKeyedAnswers == 0 {
		o.KeepKeyedAnswers = 24 * time.Hour
	}
	if o.SessionLife == 0 {
		o.SessionLife = 12 * time.Hour
	}
	if o.Product == "" {
		o.Product = "Tenantry"
	}
	if o.KeepMessages == 0 {
		o.KeepMessages = 72 * time.Hour
	}
	if o.DirectoryBytes == 0 {
		o.DirectoryBytes = 1 << 30
	}
	return &Service{
		db: db, sealer: sealer, passwords: passwords, options: o,
		underway: underway{db: db},
		mailed:   make(chan struct{}, 1),
		accounts: newListings(db, (*store.Tx).AccountDirectory, o.DirectoryBytes/2),
		users:    newListings(db, (*store.Tx).UserDirectory, o.DirectoryBytes/2),
	}
}

// Once names a request that must not be done twice.
type Once struct {
	// Request is a text that says who asks what: credential, method and path.
	Request string
	// Body is the request body as it came.
	Body []byte
	// Key is the caller's idempotency key, "" for none.
	Key string
	// Try is 0 for the first time and grows as the SDK retries by itself.
	Try int64
}

// once does a thing that must not be done twice and returns the encoded answer,
// which do makes and the same transaction keeps. When the request was answered
// before, that answer comes again and do is not called.
//
// With a key, the same key and another body is refused with kind KeyReused.
// Without, only a try above the first looks for an answer, for two equal
// requests may well be meant.
func (s *Service) once(ctx context.Context, lane string, o Once, do func(*store.Tx) ([]byte, error)) (answer []byte, err error) {
	request, body := s.digests(o)
	life := s.options.KeepAnswers
	if o.Key != "" {
		life = s.options.KeepKeyedAnswers
	}
	fresh := o.Try == 0 || s.refused.fresh(request, o.Try, s.db.Source().Now())
	err = s.db.Update(ctx, lane, func(tx *store.Tx) error {
		var kept *store.Answer
		var err error
		switch {
		case o.Key != "":
			kept, err = tx.KeptAnswer(request)
		case !fresh:
			kept, err = tx.TakeAnswer(request, o.Try)
		}
		if err != nil {
			return err
		}
		if kept != nil {
			if kept.Body != body {
				return tenant.RefuseParameter(tenant.KeyReused, "Idempotency-Key", "This idempotency key was used for another request.")
			}
			answer, err = s.sealer.Open(kept.Sealed, kept.ID)
			return err
		}
		if answer, err = do(tx); err != nil {
			return err
		}
		id := s.db.Source().NewID()
		return tx.KeepAnswer(store.Answer{
			ID: id, Request: request, Body: body, Sealed: s.sealer.Seal(answer, id), Try: o.Try, ExpiresAt: tx.Now().Add(life),
		})
	})
	if err == nil && o.Try > 0 {
		s.refused.done(request, o.Try)
	}
	return answer, err
}

// lane is the one for what concerns an account.
func (s *Service) lane(ctx context.Context, accountID string) (string, error) {
	var account *tenant.Account
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		account, err = tx.Account(accountID)
		return err
	})
	if err != nil || account == nil || account.ManagerID == "" {
		return accountID, err
	}
	return account.ManagerID, nil
}

// laneOf is the one for what an actor does to its own account or to those that it
// manages.
func laneOf(actor tenant.Actor) string { return cmp.Or(actor.ManagerID, actor.AccountID) }

// Prune forgets what is out of date, a few rows at a time, until ctx ends.
func (s *Service) Prune(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s.accounts.prune()
		s.users.prune()
		for n := int64(1); n > 0 && ctx.Err() == nil; {
			err := s.db.Update(ctx, "prune", func(tx *store.Tx) (err error) {
				n, err = tx.Prune(tx.Now().Add(-store.KeepEvents), 500)
				return err
			})
			if err != nil {
				break
			}
		}
	}
}

// MayManage refuses, with kind Forbidden, who may not manage accounts: whoever is
// no approved manager, and sub-users without the permission.
func MayManage(actor tenant.Actor) error {
	if !actor.May("managed_accounts") || !actor.Manager {
		return tenant.RefuseParameter(tenant.Forbidden, "Authorization", "")
	}
	return nil
}

func may(actor tenant.Actor, permission string) error {
	if !actor.May(permission) {
		return tenant.RefuseParameter(tenant.Forbidden, "Authorization", "")
	}
	return nil
}
