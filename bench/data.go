package main

import (
	"context"
	"database/sql"
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
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// dataVersion is to be raised when what is built below changes; then it is built
// anew.
const dataVersion = 1

// data is a database that was built, in the file bench.json of its folder.
type data struct {
	folder string
	// Account is the manager, or the organization, and Key its V2 key.
	Account, Key string
	Rows         int
}

// database is the server's database file.
func (d *data) database() string { return filepath.Join(d.folder, "tenantry.db") }

// accountsData is a database with one manager of n accounts.
func (b *bench) accountsData(ctx context.Context, n int) (*data, error) {
	return b.prepared(ctx, "accounts", n, (*builder).accounts)
}

// usersData is a database with one organization of n users in two groups each.
func (b *bench) usersData(ctx context.Context, n int) (*data, error) {
	return b.prepared(ctx, "users", n, (*builder).users)
}

// prepared is the database with that name, from an earlier run if there is one.
func (b *bench) prepared(ctx context.Context, name string, n int, build func(*builder, context.Context, int) error) (*data, error) {
	schema, err := b.schema(ctx)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(b.dir, fmt.Sprintf("%s-%d-v%d-%s", name, n, dataVersion, schema))
	d := &data{folder: folder}
	text, err := os.ReadFile(filepath.Join(folder, "bench.json"))
	if err == nil {
		return d, json.Unmarshal(text, d)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	unfinished := filepath.Join(b.folder, name)
	if err := build(&builder{data: d, folder: unfinished, progress: newProgress(name, n)}, ctx, n); err != nil {
		return nil, fmt.Errorf("build the database of %s: %w", name, err)
	}
	d.Rows = n
	if text, err = json.Marshal(d); err == nil {
		err = os.WriteFile(filepath.Join(unfinished, "bench.json"), text, 0o600)
	}
	if err != nil {
		return nil, err
	}
	return d, os.Rename(unfinished, folder)
}

// schema is a digest of the schema that the product makes: when that changes,
// the databases are built anew.
func (b *bench) schema(ctx context.Context) (string, error) {
	path := filepath.Join(b.folder, "schema.db")
	product, err := store.Open(ctx, path, store.Options{})
	if err != nil {
		return "", err
	}
	if err := product.Close(); err != nil {
		return "", err
	}
	db, err := openSQL(path, "mode=ro")
	if err != nil {
		return "", err
	}
	defer db.Close()
	sum := fnv.New32a()
	err = eachRow(ctx, db, func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		io.WriteString(sum, text)
		return err
	}, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
	return fmt.Sprintf("%08x", sum.Sum32()), err
}

// copied is the same database where it may be written.
func (b *bench) copied(d *data) (*data, error) {
	folder, err := os.MkdirTemp(b.folder, "copy-")
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(filepath.Join(folder, "data"), os.DirFS(d.folder)); err != nil {
		return nil, err
	}
	copied := *d
	copied.folder = filepath.Join(folder, "data")
	for _, name := range []string{"master.key", "operator.token"} {
		if err := os.Chmod(filepath.Join(copied.folder, name), 0o600); err != nil {
			return nil, err
		}
	}
	// What is still on its way to the disk would be measured with the rest.
	file, err := os.Open(copied.database())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return &copied, file.Sync()
}

// batchRows is how many rows are built in one transaction.
const batchRows = 1000

// The rows were made in the course of 300 days.
var (
	firstDay = time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	allDays  = 300 * 24 * time.Hour
)

// builder writes a database as the product does, through store.Tx.Apply, with
// emails, names and statuses that are the same each time.
type builder struct {
	*data
	*app.App
	folder   string
	progress *progress
	clock    atomic.Int64
	step     time.Duration
}

var builderActor = tenant.Actor{Operator: true, CredentialID: "bench"}

// open makes the database and one root account.
func (b *builder) open(ctx context.Context, n int) error {
	b.step = allDays / time.Duration(max(n, 1))
	b.at(0)
	c, err := app.Defaults()
	if err != nil {
		return err
	}
	c.Data = b.folder
	b.App, err = app.Open(ctx, c, app.Parts{
		Source: tenant.NewSource(func() time.Time { return time.UnixMicro(b.clock.Load()) }, nil),
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return err
	}
	email := "operations@carrier.example.com"
	_, err = b.Service.CreateRootAccount(ctx, builderActor, service.NewAccount{BusinessName: "Carrier Inc.", Email: &email},
		service.Once{}, func(a *service.Account) ([]byte, error) {
			b.Account, b.Key = a.ID, a.Key
			return nil, nil
		})
	return err
}

// at sets the clock to the moment that row i was made.
func (b *builder) at(i int) time.Time {
	at := firstDay.Add(time.Duration(i) * b.step)
	b.clock.Store(at.UnixMicro())
	return at
}

// rowID is the id of row i: a UUID of version 7, as the product makes them.
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

func (b *builder) accounts(ctx context.Context, n int) error {
	if err := b.open(ctx, n); err != nil {
		return err
	}
	defer b.Close()
	pool := int64(4*n + 1_000_000)
	if _, err := b.Service.ApproveManager(ctx, builderActor, b.Account, &pool); err != nil {
		return err
	}
	owner := tenant.Actor{AccountID: b.Account, UserID: b.Account, CredentialID: "bench", Manager: true}
	add := func(tx *store.Tx, i int) error {
		at := b.at(i)
		account := tenant.Account{
			ID: rowID(i, n), ManagerID: b.Account, Email: rowEmail(i), OrganizationName: rowName(i),
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
		if err := tx.Apply(change); err != nil {
			return err
		}
		made := *change.Accounts[0].After
		switch rowStatus(i) {
		case tenant.StatusDisabled:
			change, err = tenant.Disable(owner, made, nil, at)
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
		return tx.Apply(change)
	}
	return b.build(ctx, 0, n, add)
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
	add := func(tx *store.Tx, i int) error {
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
		if err := tx.Apply(change); err != nil {
			return err
		}
		// A quarter has signed in.
		if made := *change.Users[0].After; mix(uint64(i)+5<<40)%4 == 0 && made.Status == tenant.UserEnabled {
			return tx.Apply(tenant.SignIn(made, "", b.at(i).Add(time.Hour)))
		}
		return nil
	}
	return b.build(ctx, 1, n, add) // the owner is the first user
}

// build adds the rows from first to n, a transaction at a time. Their events are
// pruned, as those of old rows are.
func (b *builder) build(ctx context.Context, first, n int, add func(*store.Tx, int) error) error {
	defer b.progress.end()
	for from := first; from < n; from += batchRows {
		err := b.DB.Update(ctx, "", func(tx *store.Tx) error {
			for i := from; i < min(from+batchRows, n); i++ {
				if err := add(tx, i); err != nil {
					return fmt.Errorf("row %d: %w", i, err)
				}
			}
			_, err := tx.Prune(tx.Now().Add(allDays), 4*batchRows)
			return err
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
	p.told = time.Now()
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
