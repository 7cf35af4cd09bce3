package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// holdTime is how long others may hold a name before this one gives up: a process
// that has stopped without ending holds it for ever.
const holdTime = 10 * time.Second

// holdPoll is how often a name that others hold is asked for again.
const holdPoll = 20 * time.Millisecond

// Hold waits until no other process holds the name in a way that excludes this
// one, and holds it until release is called: several may hold it together, or one
// alone. It ends with the process, and with the connection to the database, so
// that it keeps others away but promises nothing. With SQLite there are no others.
//
// It refuses with kind Unavailable when the database cannot be reached.
func (db *DB) Hold(ctx context.Context, name string, alone bool) (release func(), err error) {
	release, err = db.engine.hold(ctx, name, alone)
	return release, outOfReach(err)
}

// holder keeps the names of this process in one session of the server. Whatever is
// wanted at the same moment goes there together.
type holder struct {
	engine *postgresEngine
	wants  chan want
	stop   chan struct{}
	done   chan struct{}
}

// want is one statement about a name: pg_try_advisory_lock or one of its kind.
type want struct {
	query string
	key   int64
	// got hears whether it was done; nil for a release.
	got chan error
}

var errHeld = errors.New("somebody else holds the name")

func newHolder(e *postgresEngine) *holder {
	h := &holder{engine: e, wants: make(chan want, 1024), stop: make(chan struct{}), done: make(chan struct{})}
	go h.serve()
	return h
}

func (h *holder) close() {
	close(h.stop)
	<-h.done
}

func (h *holder) hold(ctx context.Context, name string, alone bool) (release func(), err error) {
	lock, unlock := "SELECT pg_try_advisory_lock_shared($1)", "SELECT pg_advisory_unlock_shared($1)"
	if alone {
		lock, unlock = "SELECT pg_try_advisory_lock($1)", "SELECT pg_advisory_unlock($1)"
	}
	w := want{lock, lockKey("hold " + name), make(chan error, 1)}
	for until := time.Now().Add(holdTime); ; {
		if err := h.send(ctx, w); err != nil {
			return nil, err
		}
		// It is answered in bounded time; leaving before would leave the name held. Once
		// the database is closed nobody holds anything.
		var err error
		select {
		case err = <-w.got:
		case <-h.done:
			err = lost{errors.New("the database is closed")}
		}
		if err == nil {
			return func() { h.send(context.Background(), want{unlock, w.key, nil}) }, nil
		} else if err != errHeld {
			return nil, err
		} else if time.Now().After(until) {
			return nil, lost{err}
		}
		select {
		case <-ctx.Done():
			return nil, lost{ctx.Err()}
		case <-time.After(holdPoll):
		}
	}
}

func (h *holder) send(ctx context.Context, w want) error {
	select {
	case h.wants <- w:
		return nil
	case <-ctx.Done():
		return lost{ctx.Err()}
	case <-h.stop:
		return lost{errors.New("the database is closed")}
	}
}

func (h *holder) serve() {
	defer close(h.done)
	s := h.engine.session()
	defer s.close()
	var wants []want
	for {
		select {
		case w := <-h.wants:
			wants = append(wants[:0], w)
		case <-h.stop:
			return
		}
		for gathered := false; !gathered && len(wants) < cap(h.wants); {
			select {
			case w := <-h.wants:
				wants = append(wants, w)
			default:
				gathered = true
			}
		}
		h.ask(s, wants)
	}
}

// ask does what is wanted in one round trip. When the connection was lost, so was
// everything that it held: what is released then is held by nobody.
func (h *holder) ask(s *postgresSession, wants []want) {
	held := make([]bool, len(wants))
	err := s.ready(context.Background(), func() error {
		var batch pgx.Batch
		for i, w := range wants {
			batch.Queue(w.query, w.key).QueryRow(func(row pgx.Row) error { return row.Scan(&held[i]) })
		}
		s.wait()
		return s.fault(s.conn.SendBatch(context.Background(), &batch).Close())
	})
	for i, w := range wants {
		switch {
		case w.got == nil:
		case err != nil:
			w.got <- err
		case !held[i]:
			w.got <- errHeld
		default:
			w.got <- nil
		}
	}
}
