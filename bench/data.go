package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// dataVersion is to be raised when what is built below changes; then it is built
// anew.
const dataVersion = 1

// data is a database that was built, as the file bench.json of its folder has it.
type data struct {
	folder string
	// name is that of a database of the cluster; without a cluster, the database is
	// a file in the folder.
	name    string
	cluster *cluster
	// Account is the manager, or the organization, and Key its V2 key.
	Account, Key string
	// Managers counts the managers, and Others are the keys of all but the first.
	Managers int
	Others   []string
	// Rows is how many accounts each manager has, or users the organization.
	Rows int
	// Seconds is how long it took to build, Bytes what it takes on the disk.
	Seconds float64
	Bytes   int64
}

// file is the database file of SQLite.
func (d *data) file() string { return filepath.Join(d.folder, "tenantry.db") }

// args tell a server where its data is.
func (d *data) args() []string {
	args := []string{"-data", d.folder}
	if d.cluster != nil {
		args = append(args, "-database", d.cluster.url(d.name))
	}
	return args
}

// id is that of account i of the first manager, or of user i.
func (d *data) id(i int) string { return rowID(i*d.Managers, d.Rows*d.Managers) }

// size is what the database takes on the disk, in bytes.
func (d *data) size(ctx context.Context) (int64, error) {
	if d.cluster != nil {
		return d.cluster.number(ctx, d.name, "SELECT pg_database_size(current_database())")
	}
	info, err := os.Stat(d.file())
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// accountsData is a database of managers with n accounts each. Where there are no
// accounts, there are two managers, for those are cheap.
func (b *bench) accountsData(ctx context.Context, n int) (*data, error) {
	managers := b.managers
	if n == 0 {
		managers = 2
	}
	return b.prepared(ctx, "accounts", managers, n, (*builder).accounts)
}

// usersData is a database with one organization of n users in two groups each.
func (b *bench) usersData(ctx context.Context, n int) (*data, error) {
	return b.prepared(ctx, "users", 1, n, (*builder).users)
}

// prepared is the database with that name, from an earlier run if there is one.
func (b *bench) prepared(ctx context.Context, kind string, managers, n int, build func(*builder, context.Context, int) error) (*data, error) {
	schema, err := b.schema(ctx)
	if err != nil {
		return nil, err
	}
	size := strconv.Itoa(n)
	if managers > 1 && n > 0 {
		size = fmt.Sprintf("%dx%d", managers, n)
	}
	d := data{cluster: b.cluster, Managers: managers, Rows: n}
	name := fmt.Sprintf("%s-%s-v%d-%s", kind, size, dataVersion, schema)
	folder := filepath.Join(b.dir, name)
	if d.cluster != nil {
		folder, d.name = filepath.Join(d.cluster.folder, name), strings.ReplaceAll(name, "-", "_")
	}
	d.folder = folder
	text, err := os.ReadFile(filepath.Join(folder, "bench.json"))
	if err == nil {
		if err := json.Unmarshal(text, &d); err != nil {
			return nil, err
		}
		return &d, d.restore(ctx)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	d.folder = filepath.Join(b.folder, kind)
	making := &builder{data: &d, progress: newProgress(kind, n*managers)}
	began := time.Now()
	if d.cluster == nil {
		err = build(making, ctx, n)
	} else {
		err = d.cluster.loaded(func() error {
			// What an earlier program made is of no use any more, and may be large. Half of
			// this one is there if an earlier run ended in the middle.
			if err := d.cluster.forget(ctx, kind+"-"+size+"-v"); err != nil {
				return err
			}
			err := d.cluster.do(ctx, "postgres", "DROP DATABASE IF EXISTS "+d.name+" WITH (FORCE)", "CREATE DATABASE "+d.name+" TEMPLATE template0")
			if err != nil {
				return err
			}
			return build(making, ctx, n)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("build the database of %s: %w", kind, err)
	}
	d.Seconds = time.Since(began).Seconds()
	if d.Bytes, err = d.size(ctx); err != nil {
		return nil, err
	}
	if text, err = json.Marshal(d); err == nil {
		err = os.WriteFile(filepath.Join(d.folder, "bench.json"), text, 0o600)
	}
	if err == nil {
		err = os.Rename(d.folder, folder)
	}
	d.folder = folder
	return &d, err
}

// schema is a digest of the schema that the product makes: when that changes,
// the databases are built anew.
func (b *bench) schema(ctx context.Context) (string, error) {
	address, query := filepath.Join(b.folder, "schema.db"), "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
	d := &data{folder: b.folder, cluster: b.cluster, name: schemaName}
	if b.cluster != nil {
		if b.cluster.digest != "" {
			return b.cluster.digest, nil
		}
		address = b.cluster.url(d.name)
		query = `SELECT table_name || ' ' || column_name || ' ' || data_type || ' ' || COALESCE(collation_name, '') || ' ' || is_nullable
				FROM information_schema.columns WHERE table_schema = 'public'
			UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1`
		err := b.cluster.do(ctx, "postgres", "DROP DATABASE IF EXISTS "+d.name+" WITH (FORCE)", "CREATE DATABASE "+d.name+" TEMPLATE template0")
		if err != nil {
			return "", err
		}
	}
	product, err := store.Open(ctx, address, store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	if err := product.Close(); err != nil {
		return "", err
	}
	db, err := openSQL(address, "mode=ro")
	if err != nil {
		return "", err
	}
	defer db.close()
	sum := fnv.New32a()
	err = db.each(ctx, func(rows rows) error {
		var text string
		err := rows.Scan(&text)
		io.WriteString(sum, text)
		return err
	}, query)
	digest := fmt.Sprintf("%08x", sum.Sum32())
	if b.cluster != nil {
		b.cluster.digest = digest
	}
	return digest, err
}

// copied is the same database where it may be written. With PostgreSQL a large
// one is written as it is and restored before it is used again.
func (b *bench) copied(ctx context.Context, d *data) (*data, error) {
	copied := *d
	if d.cluster != nil {
		if d.Rows > 0 {
			return &copied, nil
		}
		b.copies++
		copied.name = copyName(b.copies)
		return &copied, d.cluster.do(ctx, "postgres", "DROP DATABASE IF EXISTS "+copied.name+" WITH (FORCE)",
			"CREATE DATABASE "+copied.name+" TEMPLATE "+d.name, "CHECKPOINT")
	}
	folder, err := os.MkdirTemp(b.folder, "copy-")
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(filepath.Join(folder, "data"), os.DirFS(d.folder)); err != nil {
		return nil, err
	}
	copied.folder = filepath.Join(folder, "data")
	for _, name := range []string{"master.key", "operator.token", "admission.token"} {
		if err := os.Chmod(filepath.Join(copied.folder, name), 0o600); err != nil {
			return nil, err
		}
	}
	// What is still on its way to the disk would be measured with the rest.
	file, err := os.Open(copied.file())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return &copied, file.Sync()
}

// restore takes out of a database in the cluster what a run has created in it.
func (d *data) restore(ctx context.Context) error {
	if d.cluster == nil {
		return nil
	}
	conn, err := pgx.Connect(ctx, d.cluster.url(d.name))
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for _, statement := range []string{
		fmt.Sprintf(`CREATE TEMP TABLE created AS SELECT a.id, a.manager_id, a.channel_limit FROM manager m
			JOIN account a ON a.manager_id = m.account_id AND a.number > %d WHERE m.account_id <> '' AND m.accounts > %[1]d`, d.Rows),
		"DELETE FROM session",
		"DELETE FROM answer",
		"DELETE FROM outbox",
		"DELETE FROM audit_entry WHERE account_id IN (SELECT id FROM created)",
		"DELETE FROM api_key WHERE user_id IN (SELECT id FROM created)",
		"DELETE FROM organization_user WHERE account_id IN (SELECT id FROM created)",
		"DELETE FROM account WHERE id IN (SELECT id FROM created)",
		fmt.Sprintf(`UPDATE manager m SET accounts = %d, channels_allocated = channels_allocated - c.channels FROM
			(SELECT manager_id, SUM(channel_limit) AS channels FROM created GROUP BY manager_id) c WHERE m.account_id = c.manager_id`, d.Rows),
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("restore %s: %w", d.name, err)
		}
	}
	return nil
}

// batchRows is how many rows are built in one transaction.
const batchRows = 1000

// The rows were made in the course of 300 days.
var (
	firstDay = time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	allDays  = 300 * 24 * time.Hour
)

// builder writes a database as the product does, with emails, names and statuses
// that are the same each time.
type builder struct {
	*data
	*app.App
	managers []string // their ids
	progress *progress
	clock    atomic.Int64
	step     time.Duration
}

var builderActor = tenant.Actor{Operator: true, CredentialID: "bench"}

// open makes the database and the root accounts.
func (b *builder) open(ctx context.Context, n int) error {
	b.step = allDays / time.Duration(max(n, 1))
	b.at(0)
	c, err := app.Defaults()
	if err != nil {
		return err
	}
	c.Data = b.folder
	if b.cluster != nil {
		c.Database = b.cluster.url(b.name)
	}
	b.App, err = app.Open(ctx, c, app.Parts{
		Source: tenant.NewSource(func() time.Time { return time.UnixMicro(b.clock.Load()) }, nil),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	for m := range b.data.Managers {
		name, email := "Carrier Inc.", "operations@carrier.example.com"
		if m > 0 {
			name, email = fmt.Sprintf("Carrier %d Inc.", m+1), fmt.Sprintf("operations@carrier-%d.example.com", m+1)
		}
		_, err = b.Service.CreateRootAccount(ctx, builderActor, service.NewAccount{BusinessName: name, Email: &email},
			service.Once{Request: name}, func(a *service.Account) ([]byte, error) {
				b.managers = append(b.managers, a.ID)
				if m == 0 {
					b.Account, b.Key = a.ID, a.Key
				} else {
					b.Others = append(b.Others, a.Key)
				}
				return nil, nil
			})
		if err != nil {
			return err
		}
	}
	return nil
}

// at sets the clock to the moment that row i was made.
func (b *builder) at(i int) time.Time {
	at := firstDay.Add(time.Duration(i) * b.step)
	b.clock.Store(at.UnixMicro())
	return at
}

// rowID is the id of row i of n: a UUID of version 7, as the product makes them.
func rowID(i, n int) string {
	at := firstDay.Add(time.Duration(i) * (allDays / time.Duration(max(n, 1))))
	var id [16]byte
	for k, v := 0, uint64(at.UnixMilli())<<16|0x7000|mix(uint64(i))&0xfff; k < 8; k++ {
		id[k] = byte(v >> (56 - 8*k))
	}
	for k, v := 8, mix(uint64(i)+1<<40)>>2|1<<63; k < 16; k++ {
		id[k] = byte(v >> (120 - 8*k))
	}
	return tenant.FormatUUID(id)
}

// rowStatus is 2% disabled, 1% blocked, 3% cancelled.
func rowStatus(i int) tenant.Status {
	switch n := mix(uint64(i)+2<<40) % 100; {
	case n < 2:
		return tenant.StatusDisabled
	case n < 3:
		return tenant.StatusBlocked
	case n < 6:
		return tenant.StatusCancelled
	default:
		return tenant.StatusEnabled
	}
}

// accounts makes n for each manager, one for each in turn.
func (b *builder) accounts(ctx context.Context, n int) error {
	n *= b.data.Managers
	if err := b.open(ctx, n); err != nil {
		return err
	}
	defer b.Close()
	pool := int64(4*n + 1_000_000)
	for _, manager := range b.managers {
		if _, err := b.Service.ApproveManager(ctx, builderActor, manager, &pool); err != nil {
			return err
		}
	}
	return b.build(ctx, 0, n, func(apply func(tenant.Change) error, i int) error {
		at, manager := b.at(i), b.managers[i%len(b.managers)]
		owner := tenant.Actor{AccountID: manager, UserID: manager, CredentialID: "bench", Manager: true}
		account := tenant.Account{
			ID: rowID(i, n), ManagerID: manager, Email: rowEmail(i), OrganizationName: rowName(i),
			Balance: tenant.Balance{Currency: "USD"}, ChannelLimit: 2, CreatedAt: at, UpdatedAt: at,
		}
		user := tenant.User{ID: account.ID, AccountID: account.ID, Email: account.Email, Status: tenant.UserEnabled, CreatedAt: at}
		keys := []tenant.Key{
			b.Sealer.NewKey(tenant.KeyV2, b.Sealer.MintKey(), account.ID, account.ID),
			b.Sealer.NewKey(tenant.KeyV1, b.Sealer.MintToken(), account.ID, account.ID),
		}
		change, err := tenant.NewAccount(owner, account, user, keys)
		if err != nil {
			return err
		}
		if err := apply(change); err != nil {
			return err
		}
		made := *change.Accounts[0].After
		switch rowStatus(i) {
		case tenant.StatusDisabled:
			change, err = tenant.Disable(owner, made, nil, "", at)
		case tenant.StatusBlocked:
			change, err = tenant.Block(builderActor, made, at)
		case tenant.StatusCancelled:
			change, err = tenant.Cancel(builderActor, made, nil, at)
		default:
			return nil
		}
		if err != nil {
			return err
		}
		return apply(change)
	})
}

// groups is how many groups the organization has.
const groups = 50

func (b *builder) users(ctx context.Context, n int) error {
	if err := b.open(ctx, n); err != nil {
		return err
	}
	defer b.Close()
	var all []tenant.Group
	for i := range groups {
		_, err := b.Service.CreateGroup(ctx, builderActor, b.Account, "", "Team "+word(i*7), []string{"organization", "numbers"},
			service.Once{}, func(g *tenant.Group) ([]byte, error) {
				all = append(all, *g)
				return nil, nil
			})
		if err != nil {
			return err
		}
	}
	owner := tenant.Actor{AccountID: b.Account, UserID: b.Account, CredentialID: "bench"}
	// The owner is the first user.
	return b.build(ctx, 1, n, func(apply func(tenant.Change) error, i int) error {
		user := tenant.User{ID: rowID(i, n), AccountID: b.Account, Email: rowEmail(i), CreatedAt: b.at(i)}
		switch rowStatus(i) {
		case tenant.StatusDisabled:
			user.Status = tenant.UserDisabled
		case tenant.StatusBlocked:
			user.Status = tenant.UserBlocked
		default:
			user.Status = tenant.UserEnabled
		}
		one := int(mix(uint64(i)+3<<40) % groups)
		two := (one + 1 + int(mix(uint64(i)+4<<40)%(groups-1))) % groups
		key := b.Sealer.NewKey(tenant.KeyV2, b.Sealer.MintKey(), user.AccountID, user.ID)
		change := tenant.NewUser(owner, user, key, []tenant.Group{all[one], all[two]})
		if err := apply(change); err != nil {
			return err
		}
		// A quarter has signed in.
		if made := *change.Users[0].After; mix(uint64(i)+5<<40)%4 == 0 && made.Status == tenant.UserEnabled {
			return apply(tenant.SignIn(made, "", b.at(i).Add(time.Hour)))
		}
		return nil
	})
}

// build adds the rows from first to n: one after another through store.Tx.Apply
// or, with PostgreSQL, all in one stream. Their events are pruned, as those of old
// rows are.
func (b *builder) build(ctx context.Context, first, n int, add func(apply func(tenant.Change) error, i int) error) error {
	defer b.progress.end()
	prune := func(tx *store.Tx) error {
		_, err := tx.Prune(tx.Now().Add(allDays), 4*batchRows)
		return err
	}
	if b.cluster != nil {
		b.at(n)
		if err := b.DB.Update(ctx, "", prune); err != nil {
			return err
		}
		if err := b.Close(); err != nil {
			return err
		}
		return b.load(ctx, first, n, add)
	}
	for from := first; from < n; from += batchRows {
		err := b.DB.Update(ctx, "", func(tx *store.Tx) error {
			for i := from; i < min(from+batchRows, n); i++ {
				if err := add(tx.Apply, i); err != nil {
					return fmt.Errorf("row %d: %w", i, err)
				}
			}
			return prune(tx)
		})
		if err != nil {
			return err
		}
		b.progress.set(min(from+batchRows, n))
	}
	return b.Close()
}

// The texts are put together of parts with known frequencies, so that a search
// for a part has a known number of hits.
var (
	heads   = []string{"bra", "cor", "dal", "fen", "gar", "hol", "jun", "kel", "lor", "mar", "nor", "ost", "pel", "qui", "rov", "sel", "tam", "urb", "vel", "wil", "xan", "yor", "zen", "ark", "elm"}
	tails   = []string{"bury", "dock", "ford", "gate", "hurst", "keep", "land", "mont", "ness", "port", "ridge", "shaw", "ton", "vale", "wick", "field", "brook", "stead", "worth", "moor"}
	givens  = []string{"ada", "ben", "cleo", "dora", "emil", "finn", "greta", "hugo", "iris", "jonas", "kira", "leon", "mia", "nils", "olga", "paul", "rosa", "sven", "tilda", "uwe"}
	domains = []string{"acme", "bluesky", "cablenet", "dialtone", "echoline", "fonix", "globex", "hotwire", "initech", "jetvox", "kilovox", "lumatel", "megafon", "novacom", "omnitel", "pingtel"}
	trades  = []string{"Audio", "Bridge", "Carrier", "Dialing", "Energy", "Freight", "Gaming", "Health", "Imaging", "Justice", "Kitchens", "Logistics", "Mobile", "Networks", "Optics", "Partners"}
)

// word is one of 500: a fifth of a percent of the rows have it.
func word(i int) string { return heads[i%25] + tails[i/25%20] }

// rowEmail is unlike any other, some 31 bytes long; each domain has 6% of them.
func rowEmail(i int) string {
	h := mix(uint64(i) + 6<<40)
	return givens[h%20] + "." + word(int(h>>8%500)) + strconv.FormatInt(int64(i), 36) + "@" + domains[h>>32%16] + ".com"
}

// rowName is some 20 bytes long; each trade has 6% of them.
func rowName(i int) string {
	h := mix(uint64(i) + 7<<40)
	w := word(int(h >> 8 % 500))
	return string(w[0]-32) + w[1:] + " " + trades[h>>32%16] + " Inc."
}

// progress is a bar on standard error with rate and time left.
type progress struct {
	name        string
	total       int
	began, told time.Time
	terminal    bool
}

func newProgress(name string, total int) *progress {
	info, err := os.Stderr.Stat()
	return &progress{name: name, total: total, began: time.Now(), terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (p *progress) set(done int) {
	pause := 10 * time.Second
	if p.terminal {
		pause = 200 * time.Millisecond
	}
	if time.Since(p.told) < pause {
		return
	}
	if p.told = time.Now(); done == 0 {
		return
	}
	const width = 30
	var bar [width]byte
	for i := range bar {
		bar[i] = '.'
		if i*p.total < done*width {
			bar[i] = '#'
		}
	}
	rate := float64(done) / time.Since(p.began).Seconds()
	left := time.Duration(float64(p.total-done) / rate * float64(time.Second)).Round(time.Second)
	text := fmt.Sprintf("building %s [%s] %3d%%, %s a second, %s left", p.name, bar[:], 100*done/p.total, number(rate), left)
	if p.terminal {
		fmt.Fprintf(os.Stderr, "\r%s   ", text)
		return
	}
	fmt.Fprintln(os.Stderr, text)
}

func (p *progress) end() {
	if p.terminal && !p.told.IsZero() {
		fmt.Fprintf(os.Stderr, "\r%80s\r", "")
	}
}
