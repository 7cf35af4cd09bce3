package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/tenantry/tenantry/internal/tenant"
)

// How long things may take with PostgreSQL. A connection that says nothing for
// longer than its patience is given up.
const (
	patience = 5 * time.Second
	// reconnectTime is how long a read waits for a server that can be written, from
	// when it went away.
	reconnectTime = 3 * time.Second
	// resolveTime is how long after it was sent a commit whose answer does not come is
	// looked for.
	resolveTime = 10 * time.Second
	retryPause  = 50 * time.Millisecond
)

// migrateLock and every lane are advisory locks of the database.
const migrateLock = 0x74656e616e747279

func lockKey(name string) int64 {
	hash := fnv.New64a()
	hash.Write([]byte(name))
	return int64(hash.Sum64())
}

// postgresEngine is a database that other processes may write, too.
type postgresEngine struct {
	config *pgx.ConnConfig
	source *tenant.Source
	log    *slog.Logger
	// node is this process, or rather this Open.
	node string
	*listener
	*holder

	mu    sync.Mutex
	down  time.Time     // since when nobody could connect; zero when somebody could
	why   error         // and why not
	probe chan struct{} // closed when who tries knows; nil when nobody does

	// stalled is how long after began a server was last found not to answer.
	stalled atomic.Int64
	// found is which of the servers was last connected.
	found atomic.Int64
}

func openPostgres(ctx context.Context, url string, source *tenant.Source, log *slog.Logger) (*postgresEngine, error) {
	config, err := postgresConfig(url)
	if err != nil {
		return nil, err
	}
	if err := migratePostgres(ctx, config); err != nil {
		return nil, err
	}
	e := &postgresEngine{config: config, source: source, log: log, node: source.NewID()}
	e.listener = newListener(e)
	// The row must be there before the first commit that may have to be looked up.
	s := e.session()
	defer s.close()
	s.batch = -1 // 0 is none
	if err := s.beginWrite(nil); err != nil {
		return nil, fmt.Errorf("the database cannot be written: %w", err)
	}
	if err := s.commit(nil); err != nil {
		return nil, err
	}
	e.holder = newHolder(e)
	return e, nil
}

// postgresConfig is the connection's settings: the URL's, and ours where it is
// silent.
func postgresConfig(url string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"application_name": "tenantry",
		// Whoever waits for a lock longer than this is told to come back.
		"lock_timeout": "3s",
		// A process that is cut off must not keep its locks.
		"idle_in_transaction_session_timeout": "5s",
		"tcp_keepalives_idle":                 "5",
		"tcp_keepalives_interval":             "2",
		"tcp_keepalives_count":                "3",
		"jit":                                 "off",
	} {
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
	for _, way := range longWays {
		config.RuntimeParams[way] = "off"
	}
	config.ConnectTimeout = cmp.Or(config.ConnectTimeout, 2*time.Second)
	if config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}
	config.DialFunc = dialer.DialContext
	return config, nil
}

// longWays are for statements that want most of a table. Ours want few rows and have
// their indexes, but the planner does not always know it: a plan that was made while
// a table was small, and kept, would read all of it when it is not small any more.
var longWays = []string{"enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin"}

// migratePostgres migrates under a lock, for several nodes may start at once.
// Text is compared by its bytes, as SQLite does: it is faster, and the indexes
// survive a change of the system's collations.
func migratePostgres(ctx context.Context, config *pgx.ConnConfig) error {
	config = config.Copy()
	config.RuntimeParams["lock_timeout"] = "0" // another node may take its time
	config.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	db := stdlib.OpenDB(*config)
	defer db.Close()
	db.SetMaxOpenConns(1) // so that the lock is the migration's own
	if _, err := db.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrateLock)); err != nil {
		return fmt.Errorf("lock the database to migrate it: %w", err)
	}
	if err := refuseCopy(func(query string) scanner { return db.QueryRowContext(ctx, query) }); err != nil {
		return err
	}
	files, err := postgresMigrations()
	if err != nil {
		return err
	}
	return migrate(ctx, goose.DialectPostgres, db, files)
}

// postgresMigrations are the migrations as PostgreSQL is to have them.
func postgresMigrations() (fs.FS, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	files := fstest.MapFS{}
	for _, name := range names {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return nil, err
		}
		text = []byte(strings.ReplaceAll(string(text), " TEXT", ` TEXT COLLATE "C"`))
		files[strings.TrimPrefix(name, "migrations/")] = &fstest.MapFile{Data: text}
	}
	return files, nil
}

// close takes this process off the list, if that can be had at once.
func (e *postgresEngine) close() error {
	e.listener.close()
	e.holder.close()
	ctx, stop := context.WithTimeout(context.Background(), time.Second)
	defer stop()
	conn, err := e.dial(ctx, e.config)
	if err != nil {
		return nil // it goes off by age
	}
	conn.Exec(ctx, "DELETE FROM node WHERE id = $1", e.node)
	return conn.Close(ctx)
}

func (e *postgresEngine) session() *postgresSession { return &postgresSession{engine: e} }

// A session connects when it is first used, and again when the connection is lost.

func (e *postgresEngine) reader(context.Context) (session, error) { return e.session(), nil }
func (e *postgresEngine) writer(context.Context) (session, error) { return e.session(), nil }

func (e *postgresEngine) findings(tx *Tx, note func(*string) error) error {
	return each(tx, func(row scanner, s *string) error { return row.Scan(s) }, note,
		`SELECT 'index ' || c.relname || ' is not valid' FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
			JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
			WHERE NOT i.indisvalid AND n.nspname = current_schema()`)
}

// connect tries until a server can be written, for as long as reconnectTime from
// when that ended; after that, once, and one at a time: the others wait to hear how it
// went, for a server that is out of reach may not even refuse.
func (e *postgresEngine) connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	for {
		began := time.Now()
		e.mu.Lock()
		gone := !e.down.IsZero() && began.Sub(e.down) > reconnectTime
		probe := e.probe
		if gone && probe != nil {
			e.mu.Unlock()
			if err := e.probed(ctx, probe); err != nil {
				return nil, err
			}
			continue
		}
		if gone {
			e.probe = make(chan struct{})
		}
		e.mu.Unlock()
		conn, err := e.dial(ctx, config)
		e.mu.Lock()
		if gone {
			close(e.probe)
			e.probe = nil
		}
		switch {
		case err == nil:
			e.down = time.Time{}
		case ctx.Err() != nil: // a caller who leaves says nothing of the server
		default:
			if e.why = err; e.down.IsZero() {
				e.down = began
			}
		}
		down := e.down
		e.mu.Unlock()
		if err == nil {
			return conn, nil
		}
		if time.Since(down) > reconnectTime || !isTransient(err) {
			return nil, lost{err}
		}
		select {
		case <-ctx.Done():
			return nil, lost{err}
		case <-time.After(retryPause):
		}
	}
}

// dial connects to the first server that can be written, and begins with the one
// that was found last: one that is out of reach, or was the primary once, may stand
// before it.
func (e *postgresEngine) dial(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	servers := append([]*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}}, config.Fallbacks...)
	first := int(e.found.Load())
	var errs []error
	for i := range servers {
		n := (first + i) % len(servers)
		one := config.Copy()
		one.Host, one.Port, one.TLSConfig, one.Fallbacks = servers[n].Host, servers[n].Port, servers[n].TLSConfig, nil
		conn, err := pgx.ConnectConfig(ctx, one)
		if err == nil {
			// The same server may stand there twice, first with encryption.
			for n > 0 && servers[n-1].Host == one.Host && servers[n-1].Port == one.Port {
				n--
			}
			e.found.Store(int64(n))
			return conn, nil
		}
		// A password that was refused is not tried on, least of all without encryption,
		// which may be what the next one is about.
		if errs = append(errs, err); !isTransient(err) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// probed waits for somebody else's try, and is nil when it succeeded.
func (e *postgresEngine) probed(ctx context.Context, probe chan struct{}) error {
	select {
	case <-probe:
	case <-ctx.Done():
		return lost{ctx.Err()}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down.IsZero() {
		return nil
	}
	return lost{e.why}
}

// isTransient reports whether connecting may succeed later without anybody doing
// anything: not with a wrong password, or without the database.
func isTransient(err error) bool {
	code := pgCode(err)
	return !strings.HasPrefix(code, "28") && !strings.HasPrefix(code, "3D")
}

// postgresSession is one connection, or the want of one.
type postgresSession struct {
	engine *postgresEngine
	conn   *pgx.Conn
	// since is how long after the engine began it was to be connected.
	since time.Duration
	// slow lifts the limit on how long a statement may take.
	slow bool
	// batch is the number of the write transaction.
	batch int64
	// pending waits for the next statement: fewer round trips. A transaction that
	// has not begun waits there, too, and for a connection as long as ctx.
	pending []statement
	began   bool
	ctx     context.Context
	// until bounds all waiting when it is set.
	until time.Time
	// warned is what the server said, beside its answer.
	warned string
}

type statement struct {
	query string
	args  []any
}

func (s *postgresSession) connect(ctx context.Context) error {
	config := s.engine.config.Copy()
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			s.warned = n.Message
		}
	}
	s.since = time.Since(s.engine.began)
	conn, err := s.engine.connect(ctx, config)
	s.conn = conn
	return err
}

// drop closes the connection without a word: the server may be out of reach.
func (s *postgresSession) drop() {
	if s.conn == nil {
		return
	}
	s.conn.PgConn().Conn().Close()
	ctx, stop := context.WithTimeout(context.Background(), time.Millisecond)
	defer stop()
	s.conn.Close(ctx)
	s.conn = nil
}

func (s *postgresSession) close() {
	if s.conn != nil {
		ctx, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		s.conn.Close(ctx)
		s.conn = nil
	}
}

// wait gives the server its time for the next answer.
func (s *postgresSession) wait() {
	deadline := s.limit()
	if s.slow {
		deadline = time.Time{}
	}
	s.conn.PgConn().Conn().SetDeadline(deadline)
}

// limit is when the patience ends that begins now.
func (s *postgresSession) limit() time.Time {
	limit := time.Now().Add(patience)
	if !s.until.IsZero() && s.until.Before(limit) {
		return s.until
	}
	return limit
}

// fault looks at an error of the connection, and gives the connection up if need
// be.
func (s *postgresSession) fault(err error) error {
	if err == nil || s.conn == nil {
		return err
	}
	var pg *pgconn.PgError
	var network net.Error
	isServer := errors.As(err, &pg)
	switch {
	case isServer && (pg.SeverityUnlocalized == "FATAL" || pg.SeverityUnlocalized == "PANIC" || strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "08") || pg.Code == "25006"),
		!isServer && (s.conn.IsClosed() || errors.As(err, &network)):
		if errors.As(err, &network) && network.Timeout() {
			s.engine.stalled.Store(int64(time.Since(s.engine.began)))
		}
		s.drop()
		return lost{err}
	}
	return err
}

// ready makes sure of a connection. An old one may have died unseen: try is asked
// again on a new one, for it has done nothing yet.
func (s *postgresSession) ready(ctx context.Context, try func() error) error {
	if s.conn != nil {
		if err := try(); !isLost(err) {
			return err
		}
	}
	ctx, stop := context.WithDeadline(ctx, s.limit())
	defer stop()
	if err := s.connect(ctx); err != nil {
		return err
	}
	return try()
}

// beginRead begins with the first statement.
func (s *postgresSession) beginRead(ctx context.Context, slow bool) error {
	s.slow, s.began, s.ctx = slow, false, ctx
	s.later("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	if slow {
		for _, way := range longWays {
			s.later("SET LOCAL " + way + " = on")
		}
	}
	return nil
}

// beginWrite starts a transaction, takes its lanes and notes its number. Lanes are
// taken in order, so that no two transactions wait for each other's.
func (s *postgresSession) beginWrite(lanes []string) error {
	s.batch++
	locks := make([]int64, len(lanes))
	for i, lane := range lanes {
		locks[i] = lockKey(lane)
	}
	slices.Sort(locks)
	locks = slices.Compact(locks)
	s.began, s.ctx = false, context.Background()
	s.later("BEGIN ISOLATION LEVEL READ COMMITTED")
	s.later("SELECT pg_advisory_xact_lock(lane) FROM unnest($1::bigint[]) lane", locks)
	_, err := s.run(`INSERT INTO node (id, batch, seen_at) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, seen_at = excluded.seen_at`,
		s.engine.node, s.batch, micros(s.engine.source.Now()))
	if err != nil {
		s.rollback()
	}
	return err
}

func (s *postgresSession) run(query string, args ...any) (changed int64, err error) {
	err = s.send(func(batch *pgx.Batch) { batch.Queue(query, args...) }, func(results pgx.BatchResults) error {
		tag, err := results.Exec()
		changed = tag.RowsAffected()
		return err
	})
	return changed, err
}

func (s *postgresSession) later(query string, args ...any) error {
	s.pending = append(s.pending, statement{query, args})
	return nil
}

func (s *postgresSession) query(query string, args []any, row func(scanner) error) error {
	// PostgreSQL stores neither of these, so that nothing is found by them.
	for _, arg := range args {
		if text, ok := arg.(string); ok && (strings.IndexByte(text, 0) >= 0 || !utf8.ValidString(text)) && strings.HasPrefix(query, "SELECT") {
			return nil
		}
	}
	var stopped error // by row, which is nobody's fault
	err := s.send(func(batch *pgx.Batch) { batch.Queue(query, args...) }, func(results pgx.BatchResults) error {
		rows, err := results.Query()
		if err != nil {
			return err
		}
		defer rows.Close()
		for n := 1; rows.Next(); n++ {
			if stopped = row(rows); stopped != nil {
				return nil
			}
			if n%1024 == 0 {
				s.wait()
			}
		}
		return rows.Err()
	})
	return cmp.Or(stopped, err)
}

// send executes what waits and then, in the same round trip, what queue adds, whose
// results read reads. A transaction that begins with it may begin on a new
// connection, when the old one has died unseen.
func (s *postgresSession) send(queue func(*pgx.Batch), read func(pgx.BatchResults) error) error {
	pending, began, ctx := s.pending, s.began, s.ctx
	s.pending, s.began = nil, true
	try := func() error {
		if s.conn == nil {
			return lost{errors.New("the connection is gone")}
		}
		var batch pgx.Batch
		for _, p := range pending {
			batch.Queue(p.query, p.args...)
		}
		queue(&batch)
		s.wait()
		results := s.conn.SendBatch(context.Background(), &batch)
		var err error
		early := false
		for range pending {
			if _, err = results.Exec(); err != nil {
				early = true
				break
			}
		}
		if err == nil {
			err = read(results)
		}
		if closed := results.Close(); err == nil {
			err = closed
		}
		err = s.fault(err)
		// A connection that breaks here says nothing of the statements: all were sent,
		// and the last may be COMMIT.
		if early && !isLost(err) {
			err = late{err}
		}
		return err
	}
	if began {
		return try()
	}
	// What another session has learnt with patience this one need not learn again: a
	// server that is frozen, or cut off, does not close its connections.
	if int64(s.since) < s.engine.stalled.Load() {
		s.drop()
	}
	return s.ready(ctx, try)
}

// mostPayload is what one notification holds, in bytes.
const mostPayload = 7900

// commit tells the ids with the commit itself, so that nobody hears of a change
// that is undone, or misses one that is not.
func (s *postgresSession) commit(ids []string) error {
	for payload := ""; len(ids) > 0 || payload != ""; ids = ids[1:] {
		if payload != "" && (len(ids) == 0 || len(payload)+1+len(ids[0]) > mostPayload) {
			s.later("SELECT pg_notify($1, $2)", channel, payload)
			payload = ""
		}
		if len(ids) == 0 {
			break
		}
		if payload == "" {
			payload = s.engine.node + " " + noticeChanged
		}
		payload += " " + ids[0]
	}
	s.warned = ""
	until := time.Now().Add(resolveTime)
	err := s.send(func(batch *pgx.Batch) { batch.Queue("COMMIT") }, func(results pgx.BatchResults) error {
		tag, err := results.Exec()
		if err == nil && tag.String() != "COMMIT" {
			err = errors.New("the transaction had failed before it was committed")
		}
		return err
	})
	if err != nil && !isLost(err) {
		s.rollback()
		return err
	}
	// A server that warns has committed here but not on its standby.
	if err == nil && s.warned == "" {
		return nil
	}
	return s.resolve(cmp.Or(err, errors.New(s.warned)), until)
}

// resolve finds out whether the last commit took place. A transaction that is
// still under way holds its node's row; and the answer is good only once a commit
// of our own has reached whatever this one must have reached.
func (s *postgresSession) resolve(cause error, until time.Time) error {
	s.engine.log.Warn("the answer to a commit was lost: looking it up", "error", cause)
	s.drop()
	s.until = until
	defer func() { s.until = time.Time{} }()
	for ; ; time.Sleep(retryPause) {
		last, err := s.lastBatch()
		switch {
		case err == nil && last >= s.batch:
			s.engine.log.Info("the commit that was looked up took place")
			return nil
		case err == nil:
			s.engine.log.Info("the commit that was looked up did not take place")
			return lost{cause}
		case time.Now().After(until):
			return unknown{errors.Join(cause, err)}
		}
	}
}

func (s *postgresSession) lastBatch() (last int64, err error) {
	s.began, s.ctx = false, context.Background()
	s.pending = nil
	s.later("BEGIN ISOLATION LEVEL READ COMMITTED")
	s.warned = ""
	// It waits for a transaction that is about to make the row, too: the row is gone
	// when the process has not written for long.
	err = s.query(`INSERT INTO node (id, batch, seen_at) VALUES ($1, 0, $2)
		ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at RETURNING batch`, []any{s.engine.node, micros(s.engine.source.Now())},
		func(row scanner) error { return row.Scan(&last) })
	if err == nil {
		_, err = s.run("COMMIT")
	}
	if err == nil && s.warned != "" {
		err = errors.New(s.warned)
	}
	if err != nil {
		s.rollback()
	}
	return last, err
}

func (s *postgresSession) endRead(done func()) {
	go func() { // nobody need wait for the server
		s.rollback()
		done()
	}()
}

func (s *postgresSession) rollback() {
	s.pending = nil
	if s.conn != nil && s.began {
		s.run("ROLLBACK")
	}
}
