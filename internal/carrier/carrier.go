// Package carrier hands messages over to who delivers them: a sandbox that only
// pretends, or the operator's own gateway. A message is recorded before anybody has it,
// and what became of it after; who dies in between leaves it to others, who hand it
// over again under the same idempotency key. So a carrier gets each message at least
// once.
package carrier

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Carrier takes messages. It is safe for concurrent use.
type Carrier interface {
	// HandOver gives a message to the carrier or, when it has it already, asks what
	// became of it. It takes a few seconds at most.
	HandOver(ctx context.Context, m *tenant.Message) Outcome
}

// Outcome is what became of a message.
type Outcome struct {
	Status tenant.MessageStatus
	// Failure and Reason are those of the message.
	Failure tenant.MessageFailure
	Reason  string
	// Again is how long to wait before the next HandOver; 0 means that there is none. A
	// message that is still queued always has one.
	Again time.Duration
}

// Dispatcher hands over the messages of all accounts.
type Dispatcher struct {
	db      *store.DB
	carrier Carrier
	log     *slog.Logger
	// busy bounds how many are handed over at once.
	busy chan struct{}
}

const (
	// mostBusy is how many messages one node hands over at once.
	mostBusy = 256
	// mostTaken is how many due messages are taken at once.
	mostTaken = 64
	// look is how often there is a look for messages that are due.
	look = 500 * time.Millisecond
	// crowded is how long a message waits that came when too many were handed over.
	crowded = time.Second
)

// NewDispatcher makes one. Nobody looks after what is due before Run.
func NewDispatcher(db *store.DB, c Carrier, log *slog.Logger) *Dispatcher {
	return &Dispatcher{db: db, carrier: c, log: log, busy: make(chan struct{}, mostBusy)}
}

// HandOver hands over a message that was just recorded, and writes down what became of
// it. One that is to be sent later stays as it is. It goes on to its end even if ctx
// does not. When the outcome cannot be written the message stays the caller's until its
// DueAt, and is handed over again then.
func (d *Dispatcher) HandOver(ctx context.Context, m *tenant.Message) {
	if m.Attempts == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	o := Outcome{Status: tenant.MessageQueued, Again: crowded}
	select {
	case d.busy <- struct{}{}:
		o = d.carrier.HandOver(ctx, m)
		<-d.busy
	default:
	}
	d.settle(ctx, m, o)
}

// Run looks after the messages that are due, until ctx ends and those that are being
// handed over are done.
func (d *Dispatcher) Run(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for n := mostTaken; n == mostTaken && ctx.Err() == nil; {
			var err error
			if n, err = d.Due(ctx); err != nil {
				d.log.Debug("the messages that are due could not be read", "error", err)
				break
			}
		}
	}
}

// Due takes messages that are due, hands them over, and returns how many there were.
func (d *Dispatcher) Due(ctx context.Context) (int, error) {
	var due bool
	if err := d.db.View(ctx, func(tx *store.Tx) (err error) {
		due, err = tx.AnyMessageDue()
		return err
	}); err != nil || !due {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx)
	var taken []tenant.Message
	var stopped []bool
	err := d.db.Update(ctx, store.DueLane, func(tx *store.Tx) (err error) {
		if taken, err = tx.TakeDueMessages(tx.Now().Add(tenant.HandOverTime), mostTaken); err != nil {
			return err
		}
		stopped = make([]bool, len(taken))
		for i := range taken {
			if taken[i].Status != tenant.MessageQueued {
				continue // the carrier has it
			}
			err := tx.Admit(taken[i].AccountID)
			stopped[i] = tenant.IsKind(err, tenant.Inactive) || tenant.IsKind(err, tenant.Blocked) || tenant.IsKind(err, tenant.Unauthenticated)
			if err != nil && !stopped[i] {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	var all sync.WaitGroup
	for i := range taken {
		m := &taken[i]
		switch {
		case stopped[i]:
			all.Go(func() {
				d.settle(ctx, m, Outcome{Status: tenant.MessageRefused, Failure: tenant.FailureStopped})
			})
		case m.Status == tenant.MessageQueued && d.db.Source().Now().After(m.ValidUntil):
			all.Go(func() { d.settle(ctx, m, expired) })
		default:
			all.Go(func() { d.settle(ctx, m, d.carrier.HandOver(ctx, m)) })
		}
	}
	all.Wait()
	return len(taken), nil
}

var expired = Outcome{Status: tenant.MessageExpired, Failure: tenant.FailureExpired}

// settle writes down what became of a message, unless somebody else has it by now.
func (d *Dispatcher) settle(ctx context.Context, m *tenant.Message, o Outcome) {
	until, now := m.DueAt, d.db.Source().Now()
	if o.Status == tenant.MessageQueued && now.Add(o.Again).After(m.ValidUntil) {
		o = expired
	}
	m.Status, m.Failure, m.Reason, m.DueAt = o.Status, o.Failure, o.Reason, time.Time{}
	if o.Again > 0 {
		m.DueAt = now.Add(o.Again)
	}
	switch m.Status {
	case tenant.MessageQueued:
	case tenant.MessageSent:
		m.SentAt = now
	default:
		m.CompletedAt = now
	}
	written := false
	err := d.db.Update(ctx, store.MessageLane(m.AccountID), func(tx *store.Tx) (err error) {
		written, err = tx.SettleMessage(m, until)
		return err
	})
	if err != nil || !written {
		// It is handed over once more.
		d.log.Warn("what became of a message was not recorded", "message_id", m.ID, "account_id", m.AccountID, "status", m.Status, "error", err)
	}
}

// backoff is how long to wait for a carrier that could not be reached, after so many
// attempts.
func backoff(attempts int64) time.Duration {
	return min(5*time.Minute, time.Second<<min(attempts, 10))
}
