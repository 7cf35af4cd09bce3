package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/portal"
	"github.com/tenantry/tenantry/internal/store"
)

// portalPages are what a manager of so many accounts, and the owner of an organization
// of so many users, look at.
func portalPages(kind string, d *data) []struct{ name, path string } {
	last := fmt.Sprint((d.Rows - 1) / 50)
	if kind == "users" {
		return []struct{ name, path string }{
			{"users", "users"}, {"users-last", "users?page=" + last}, {"users-search", "users?q=" + url.QueryEscape("@"+domains[5])},
			{"user", "users/" + d.id(d.Rows/2)},
		}
	}
	return []struct{ name, path string }{
		{"overview", ""}, {"accounts", "accounts"}, {"accounts-last", "accounts?status=all&page=" + last}, {"accounts-email", "accounts?sort=email"},
		{"accounts-search", "accounts?q=" + url.QueryEscape(trades[5])}, {"account", "accounts/" + d.id(d.Rows/2)}, {"channels", "channels"},
		{"audit", "audit"},
	}
}

// portal asks for pages one after the other, each against a handler that answers as
// many bytes.
func (b *bench) portal(ctx context.Context) error {
	for _, kind := range []string{"accounts", "users"} {
		if err := b.portalOf(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) portalOf(ctx context.Context, kind string) error {
	var names []string
	for _, page := range portalPages(kind, &data{Rows: 1, Managers: 1}) {
		names = append(names, "portal/"+page.name)
	}
	if kind == "accounts" {
		names = append(names, "portal/export")
	}
	if !b.wanted(names...) {
		return nil
	}
	prepare, rows := b.accountsData, b.accounts
	if kind == "users" {
		prepare, rows = b.usersData, b.users
	}
	d, err := prepare(ctx, rows)
	if err != nil {
		return err
	}
	token, err := signedIn(ctx, d)
	if err != nil {
		return err
	}
	server, err := b.serve(d)
	if err != nil {
		return err
	}
	defer server.stop()
	bare, err := b.launch("bare")
	if err != nil {
		return err
	}
	defer bare.stop()
	clients, err := server.dial(1)
	if err != nil {
		return err
	}
	defer clients.close()
	baseline, err := bare.dial(1)
	if err != nil {
		return err
	}
	defer baseline.close()
	if kind == "accounts" && b.wanted("portal/export") {
		if err := b.portalExport(ctx, server, d, token); err != nil {
			return err
		}
	}
	return b.profiled(server, "portal", func() error {
		for _, page := range portalPages(kind, d) {
			name, request := "portal/"+page.name, pageRequest(portal.Prefix+page.path, token)
			if !b.wanted(name) {
				continue
			}
			answer, err := clients.all[0].do(request) // which builds what the list needs
			if err != nil {
				return fmt.Errorf("%s: %w", page.path, err)
			}
			size := len(answer)
			var pages, bares sample
			const rounds = 4
			for range rounds {
				s, err := baseline.run(ctx, b.time/10/rounds, always(getRequest(fmt.Sprintf("/%d", size), d.Key)))
				if err != nil {
					return err
				}
				bares.add(s)
				if s, err = clients.run(ctx, b.time/5/rounds, always(request)); err != nil {
					return err
				}
				pages.add(s)
			}
			line := &Line{Name: name, Figure: pages.cpuEach(), Unit: "µs of CPU"}
			b.add(line.against("bare handler", bares.cpuEach()).
				also("p50", microsOf(quantile(pages.latencies, 0.5)), "µs").also("p99", microsOf(quantile(pages.latencies, 0.99)), "µs").
				also("answer", float64(size), "bytes"))
		}
		return nil
	})
}

// portalExport downloads all accounts as CSV.
func (b *bench) portalExport(ctx context.Context, server *process, d *data, token string) error {
	// The file has a line more than there are accounts.
	lines := *d
	lines.Rows++
	r, err := readReport(ctx, server, &lines, portal.Prefix+"accounts.csv?status=all", http.Header{"Cookie": {"__Host-tenantry=" + token}}, "\n")
	if err != nil {
		return fmt.Errorf("portal/export: %w", err)
	}
	b.add((&Line{Name: "portal/export", Figure: float64(d.Rows) / r.wall.Seconds(), Unit: "accounts/s"}).
		also("of CPU", float64(d.Rows)/r.cpu.Seconds(), "accounts/s").also("answer", float64(r.size)/1e6, "MB").also("peak", r.peak, "MiB").also("at start", r.before, "MiB"))
	return nil
}

// signedIn is the token of a session of the owner's, who has no password.
func signedIn(ctx context.Context, d *data) (token string, err error) {
	c, err := app.Defaults()
	if err != nil {
		return "", err
	}
	c.Data = d.folder
	if d.cluster != nil {
		c.Database = d.cluster.url(d.name)
	}
	a, err := app.Open(ctx, c, app.Parts{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	defer a.Close()
	token = a.Sealer.MintToken() + a.Sealer.MintToken()
	return token, a.DB.Update(ctx, "", func(tx *store.Tx) error {
		return tx.StartSession(store.Session{
			ID: a.DB.Source().NewID(), Digest: a.Sealer.Digest(token), Kind: store.PortalSession, AccountID: d.Account, UserID: d.Account,
			CreatedAt: tx.Now(), ExpiresAt: tx.Now().Add(c.SessionLife), UsedAt: tx.Now(),
		})
	})
}

// pageRequest asks for a page as a browser does that is signed in.
func pageRequest(path, token string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: text/html\r\nCookie: __Host-tenantry=" + token + "\r\n\r\n")
}
