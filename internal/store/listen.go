package store

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is where the nodes on one database hear of each other. A notice is the
// id of the node that sent it, what it is about, and the rest, with a space
// between.
const channel = "tenantry"

const (
	noticeChanged = "c" // ids of what changed
	noticeBeat    = "b" // a number, to oneself
	noticeText    = "t" // what DB.Tell was given
)

// Staleness is how long a node may answer from memory what another node has
// changed: that long after the change was confirmed, at most. Usually the notice
// takes milliseconds. When it is lost, or late, the node notices that it no longer
// hears itself, and asks the database until it does.
const Staleness = 800 * time.Millisecond

// beat is how often a node proves that it hears what was said before.
const beat = 200 * time.Millisecond

// listener hears what other nodes say. Notices arrive in the order of commits, so
// that who hears its own heartbeat has heard every change that was committed
// before it was sent.
type listener struct {
	engine *postgresEngine
	began  time.Time
	// until is how long after began the last proof lasts.
	until atomic.Int64
	// history is the database's timeline when it was last connected, "" when that is
	// not known.
	history string

	mu    sync.Mutex
	texts []string // to tell

	stop  func() // nil until it follows
	done  chan struct{}
	first chan struct{} // closed with the first proof, or when it is late
}

func newListener(e *postgresEngine) *listener {
	return &listener{engine: e, began: time.Now(), done: make(chan struct{}), first: make(chan struct{})}
}

func (l *listener) trusted() bool { return int64(time.Since(l.began)) < l.until.Load() }

func (l *listener) doubt() time.Duration {
	return max(0, time.Since(l.began)-time.Duration(l.until.Load()))
}

// mostTexts bounds what waits to be told.
const mostTexts = 4096

func (l *listener) tell(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.texts) < mostTexts {
		l.texts = append(l.texts, text)
	}
}

func (l *listener) follow(db *DB) {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	proven := sync.OnceFunc(func() { close(l.first) })
	time.AfterFunc(Staleness, proven)
	go func() {
		defer close(l.done)
		deaf := false // it is said once, not with every try
		for ctx.Err() == nil {
			err := l.listen(ctx, db, func() {
				if deaf {
					l.engine.log.Info("notices from other nodes are heard again")
				}
				deaf = false
				proven()
			})
			if ctx.Err() == nil && !deaf {
				deaf = true
				l.engine.log.Warn("notices from other nodes are not heard: asking the database instead", "error", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(beat):
			}
		}
	}()
	<-l.first
}

func (l *listener) close() {
	if l.stop != nil {
		l.stop()
		<-l.done
	}
}

// listen hears notices until the connection is lost, and calls proven with each
// proof that it hears all of them.
func (l *listener) listen(ctx context.Context, db *DB, proven func()) error {
	config := l.engine.config.Copy()
	// Heartbeats need not survive anything, nor wait for a standby.
	config.RuntimeParams["synchronous_commit"] = "off"
	connecting, stop := context.WithTimeout(ctx, patience)
	defer stop()
	conn, err := l.engine.dial(connecting, config)
	if err != nil {
		return err
	}
	s := &postgresSession{engine: l.engine, conn: conn, began: true}
	defer s.drop()
	if _, err := s.run("LISTEN " + channel); err != nil {
		return err
	}
	if err := l.compare(s, db); err != nil {
		return err
	}
	// What changed while nobody listened is not known.
	db.announce(nil)
	for n := int64(1); ; n++ {
		sent := time.Now()
		if err := l.send(s, n); err != nil {
			return err
		}
		heard := false
		for next := sent.Add(beat); ; {
			limit := next
			if !heard {
				limit = sent.Add(patience)
			}
			waiting, stop := context.WithDeadline(ctx, limit)
			notice, err := conn.WaitForNotification(waiting)
			stop()
			if err != nil {
				if heard && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && !conn.IsClosed() {
					break
				}
				return err
			}
			if l.hear(db, notice.Payload, n) {
				heard = true
				l.until.Store(int64(sent.Add(Staleness).Sub(l.began)))
				proven()
			}
		}
	}
}

// compare looks whether a standby has taken over, or a backup, since it was last
// connected: it need not have all that the one before has shown.
func (l *listener) compare(s *postgresSession, db *DB) error {
	var history string
	err := s.query("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)", nil, func(row scanner) error { return row.Scan(&history) })
	if isLost(err) {
		return err // of any other, the server may be one that does not say
	}
	if l.history != "" && history != l.history {
		db.takeBack()
	}
	l.history = history
	return nil
}

// send tells what waits to be told, and then the heartbeat.
func (l *listener) send(s *postgresSession, n int64) error {
	l.mu.Lock()
	texts := l.texts
	l.texts = nil
	l.mu.Unlock()
	var batch pgx.Batch
	for prefix := l.engine.node + " " + noticeText + " "; len(texts) > 0; {
		payload := prefix + texts[0]
		for texts = texts[1:]; len(texts) > 0 && len(payload)+1+len(texts[0]) <= mostPayload; texts = texts[1:] {
			payload += "\n" + texts[0]
		}
		batch.Queue("SELECT pg_notify($1, $2)", channel, payload)
	}
	batch.Queue("SELECT pg_notify($1, $2)", channel, l.engine.node+" "+noticeBeat+" "+strconv.FormatInt(n, 10))
	s.wait()
	return s.fault(s.conn.SendBatch(context.Background(), &batch).Close())
}

// hear acts on a notice, and reports whether it was this node's heartbeat n.
func (l *listener) hear(db *DB, payload string, n int64) bool {
	from, rest, _ := strings.Cut(payload, " ")
	kind, text, _ := strings.Cut(rest, " ")
	own := from == l.engine.node
	switch {
	case kind == noticeBeat:
		return own && text == strconv.FormatInt(n, 10)
	case kind == noticeChanged:
		// One's own too: to hear again what was heard before it was confirmed does no
		// harm, and of some commits nobody could tell that they took place.
		db.announce(strings.Fields(text))
	case own:
	case kind == noticeText:
		for line := range strings.Lines(text) {
			db.heard(strings.TrimSuffix(line, "\n"))
		}
	}
	return false
}
