// Package webhook empties the outbox: it sends each event, signed, to the operator's
// URL.
//
// Events of one account are sent in their order: the next is not tried before the
// last was accepted or given up. Accounts do not wait for each other; 8 requests are
// under way at most. An event is sent at least once, and again when nobody can tell
// whether it arrived; its id stays the same.
//
// Accepted is whatever has a status from 200 to 299. Anything else, no answer and a
// redirect among it, is tried 3 times in a row, then 3 times at the failover URL; then
// the account waits, from 1 second after the first such round to 15 minutes, half of
// it by chance. A round that ends when the event is older than store.KeepEvents was the
// last.
//
// Of several nodes one has its turn. It keeps it while there is something to send, and
// 30 seconds longer; when it dies the next takes over after that. Whatever is under
// way ends before the turn does.
package webhook

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/store"
)

// Options say where events go. What is 0 has the documented default.
type Options struct {
	// URL is where events go, and FailoverURL where they go when that one fails; ""
	// for none.
	URL, FailoverURL string
	// Events are the types to send, or what they begin with up to a dot; none means all.
	Events []string
	// Timeout is how long the receiver may take to answer; 0 means 2 seconds.
	Timeout time.Duration
	// Key signs.
	Key ed25519.PrivateKey
	// Alone says that no other process has the database, so that a turn that is not
	// over is that of one that has died.
	Alone bool
	// Logger hears of what fails; nil means slog's default.
	Logger *slog.Logger
	// Counted hears of each event that was "delivered" or given up ("failed"), and of
	// each attempt that was "refused"; nil for nobody. It must not block.
	Counted func(what string)

	// Pause is how long to wait before a second attempt in a row; 0 means 200 ms.
	Pause time.Duration
	// Poll is how often the database is asked when nothing is heard; 0 means a second.
	Poll time.Duration
	// Client sends the requests; nil means one with the limits of this package.
	Client *http.Client
}

const (
	// most is how many requests are under way at once.
	most = 8
	// perURL is how many attempts in a row one URL gets.
	perURL = 3
	// takeAtOnce is how many events are taken out of the outbox in one transaction.
	takeAtOnce = 500
	// shortestTurn is how long a turn lasts at least.
	shortestTurn = 30 * time.Second
	// spare is how much longer a turn lasts than what is under way in it.
	spare = 5 * time.Second
	// mostAnswer bounds what is read of an answer, and of its headers.
	mostAnswer = 64 << 10

	firstBackoff = time.Second
	lastBackoff  = 15 * time.Minute
)

// Sender sends events.
type Sender struct {
	db      *store.DB
	o       Options
	log     *slog.Logger
	urls    []string
	since   string
	node    string
	turn    time.Duration
	wake    chan struct{}
	results chan result

	// What follows is Run's alone.

	more    bool      // the outbox has more
	dueAt   time.Time // when to look again at the latest; zero for the next poll
	broken  bool      // the database did not answer
	failing bool      // the last round failed: it is logged once
}

// result is what came of an event.
type result struct {
	due      *store.Due
	attempts []store.Attempt
	accepted bool
	stopped  bool   // the round did not end
	status   string // once it is settled
}

// New makes a sender. Events are for the webhook from the first time on that one is
// made for the database.
func New(ctx context.Context, db *store.DB, o Options) (*Sender, error) {
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	if o.Pause == 0 {
		o.Pause = 200 * time.Millisecond
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Counted == nil {
		o.Counted = func(string) {}
	}
	if o.Client == nil {
		o.Client = newClient(o.Timeout)
	}
	s := &Sender{
		db: db, o: o, log: o.Logger, node: db.Source().NewID(),
		wake: make(chan struct{}, 1), results: make(chan result, most),
	}
	for _, u := range []string{o.URL, o.FailoverURL} {
		if u != "" {
			s.urls = append(s.urls, u)
		}
	}
	s.turn = max(shortestTurn, s.round()+2*spare)
	if err := db.View(ctx, func(tx *store.Tx) (err error) {
		s.since, err = tx.WebhookSince()
		return err
	}); err != nil {
		return nil, err
	}
	if s.since == "" {
		if err := db.Update(ctx, store.WebhookLane, func(tx *store.Tx) (err error) {
			s.since, err = tx.BeginWebhook()
			return err
		}); err != nil {
			return nil, err
		}
	}
	db.Announce(func([]string) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	})
	return s, nil
}

// round is how long all attempts of one round take at most.
func (s *Sender) round() time.Duration {
	return time.Duration(len(s.urls)*perURL) * (s.o.Timeout + 4*s.o.Pause)
}

// newClient is a client that follows no redirects and bounds what it reads.
func newClient(timeout time.Duration) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
			TLSHandshakeTimeout:    timeout,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    most,
			MaxResponseHeaderBytes: mostAnswer,
			IdleConnTimeout:        time.Minute,
			DisableCompression:     true,
		},
	}
}

// Run sends events until ctx ends. What is under way then is finished, as far as one
// attempt goes, and noted.
func (s *Sender) Run(ctx context.Context) {
	defer s.o.Client.CloseIdleConnections()
	var running sync.WaitGroup
	var settled []result
	// The accounts whose events are claimed and not yet settled. Claims are told by the
	// clock, which may be set forward meanwhile: none is tried twice at once for that.
	under := map[string]bool{}
	for {
		s.pause(ctx, &settled)
		if ctx.Err() != nil {
			break
		}
		began := time.Now()
		due, err := s.step(ctx, settled, most-len(under)+len(settled))
		if s.broken = err != nil; s.broken {
			if ctx.Err() == nil {
				s.log.Warn("webhook: the database cannot be asked", "error", err)
			}
			continue
		}
		for _, r := range settled {
			delete(under, r.due.AccountID)
		}
		settled = settled[:0]
		for _, d := range due {
			if under[d.AccountID] {
				continue
			}
			under[d.AccountID] = true
			running.Go(func() { s.results <- s.deliver(ctx, &d, began.Add(s.turn-spare)) })
		}
	}
	running.Wait()
	s.leave(s.gather(settled))
}

// pause waits until there may be something to do, and gathers what has come.
func (s *Sender) pause(ctx context.Context, settled *[]result) {
	wait := s.o.Poll
	switch {
	case s.broken:
	case s.more:
		wait = 0
	case !s.dueAt.IsZero():
		wait = min(wait, max(0, s.dueAt.Sub(s.db.Source().Now())))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case r := <-s.results:
		*settled = append(*settled, r)
	case <-s.wake:
	case <-timer.C:
	case <-ctx.Done():
	}
	*settled = s.gather(*settled)
}

// gather adds the results that are there.
func (s *Sender) gather(settled []result) []result {
	for {
		select {
		case r := <-s.results:
			settled = append(settled, r)
		default:
			return settled
		}
	}
}

// step notes what came of events, takes what is new out of the outbox and claims at
// most free events that are due. When there is nothing to do, or it is another node's
// turn, it writes nothing.
func (s *Sender) step(ctx context.Context, settled []result, free int) (due []store.Due, err error) {
	s.more, s.dueAt = false, time.Time{}
	if len(settled) == 0 {
		if free == 0 {
			return nil, nil
		}
		var state store.WebhookState
		if err := s.db.View(ctx, func(tx *store.Tx) (err error) {
			state, err = tx.WebhookState(s.since)
			return err
		}); err != nil {
			return nil, err
		}
		now := s.db.Source().Now()
		if state.Node != s.node && state.EndsAt.After(now) && !s.o.Alone {
			return nil, nil
		}
		if !state.Outbox && (state.DueAt.IsZero() || state.DueAt.After(now)) {
			s.dueAt = state.DueAt
			return nil, nil
		}
	}
	var taken int64
	err = s.db.Update(ctx, store.WebhookLane, func(tx *store.Tx) (err error) {
		taken, due = 0, nil
		held, err := tx.TakeTurn(s.node, tx.Now().Add(s.turn), s.o.Alone)
		if err != nil {
			return err
		}
		if err := s.settle(tx, settled, held); err != nil || !held {
			return err
		}
		if taken, err = tx.TakeEvents(s.since, s.o.Events, takeAtOnce); err != nil {
			return err
		}
		due, err = tx.ClaimEvents(s.since, free, tx.Now().Add(s.turn))
		return err
	})
	if err != nil {
		return nil, err
	}
	s.count(settled)
	s.more = taken == takeAtOnce && len(due) < free
	return due, nil
}

// settle notes results. When the turn is another's, the accounts are that one's to
// try; but what was accepted was.
func (s *Sender) settle(tx *store.Tx, settled []result, held bool) error {
	for i := range settled {
		r := &settled[i]
		next := tx.Now()
		switch r.status = store.DeliveryWaiting; {
		case r.accepted:
			r.status = store.DeliveryDelivered
		case r.stopped:
		case tx.Now().Sub(r.due.CreatedAt) > store.KeepEvents:
			r.status = store.DeliveryFailed
		default:
			next = next.Add(s.backoff(r.due.Tries))
		}
		if err := tx.NoteDelivery(r.due, r.attempts, r.status); err != nil {
			return err
		}
		if !held {
			continue
		}
		tries := r.due.Tries
		if !r.stopped {
			tries++
		}
		if err := tx.QueueNext(r.due.AccountID, r.status, next, tries); err != nil {
			return err
		}
	}
	return nil
}

// count tells of what was noted.
func (s *Sender) count(settled []result) {
	for _, r := range settled {
		about := []any{"event", r.due.ID, "event_type", r.due.Event, "account_id", r.due.AccountID}
		if n := len(r.attempts); n > 0 && !r.accepted {
			about = append(about, "attempts", r.due.Attempts+int64(n), "error", r.attempts[n-1].Error)
		}
		switch {
		case r.accepted:
			s.o.Counted("delivered")
			if s.failing {
				s.log.Info("webhook: events are accepted again")
			}
			s.failing = false
		case r.status == store.DeliveryFailed:
			s.o.Counted("failed")
			s.log.Error("webhook: an event was given up", about...)
		case !r.stopped && !s.failing:
			s.failing = true
			s.log.Warn("webhook: an event was not accepted, and is tried again", about...)
		}
	}
}

// leave notes the last results and gives the turn back, for as long as the database
// is patient.
func (s *Sender) leave(settled []result) {
	ctx, stop := context.WithTimeout(context.Background(), spare)
	defer stop()
	err := s.db.Update(ctx, store.WebhookLane, func(tx *store.Tx) error {
		// Who never had the turn does not get it by giving it back.
		held, err := tx.TakeTurn(s.node, time.Time{}, false)
		if err != nil {
			return err
		}
		return s.settle(tx, settled, held)
	})
	if err != nil {
		s.log.Warn("webhook: what was sent last could not be noted, and is sent again", "events", len(settled), "error", err)
		return
	}
	s.count(settled)
}

// backoff is how long an account waits after so many rounds that failed before.
func (s *Sender) backoff(tries int64) time.Duration {
	longest := min(firstBackoff<<min(tries, 20), lastBackoff)
	chance := binary.BigEndian.Uint64(s.db.Source().Bytes(8))
	return longest/2 + time.Duration(chance%uint64(longest/2+1))
}
