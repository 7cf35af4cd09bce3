package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// world is a server over a database that has something of everything.
type world struct {
	*Server
	folder                 string
	manager, child, other  service.Account
	user, group, user2     string
	userKey, operatorToken string
}

// newWorld is a server without limits, which logs to w at debug level.
func newWorld(t testing.TB, w io.Writer, configure ...func(*Options)) *world {
	t.Helper()
	if w == nil {
		w = io.Discard
	}
	ctx := context.Background()
	logger := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	folder := t.TempDir()
	db, err := store.Open(ctx, filepath.Join(folder, "tenantry.db"), store.Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	sealer, err := auth.NewSealer(bytes.Repeat([]byte{7}, auth.MasterKeySize), db.Source())
	if err != nil {
		t.Fatal(err)
	}
	s := service.New(db, sealer, auth.NewPasswords(0), service.Options{DefaultChannels: 2})
	world := &world{folder: folder, operatorToken: "operator-token"}
	options := Options{Rate: -1, Logger: logger}
	for _, f := range configure {
		f(&options)
	}
	world.Server = New(db, s, auth.NewAuthenticator(db, sealer, world.operatorToken), options)
	world.failures, world.signIns = nil, nil

	operator := tenant.Actor{Operator: true}
	once := service.Once{Request: "once"}
	root := func(email string) (made service.Account) {
		if _, err := s.CreateRootAccount(ctx, operator, service.NewAccount{BusinessName: "Root", Email: &email}, once,
			func(a *service.Account) ([]byte, error) { made = *a; return nil, nil }); err != nil {
			t.Fatal(err)
		}
		pool := int64(50)
		if _, err := s.ApproveManager(ctx, operator, made.ID, &pool); err != nil {
			t.Fatal(err)
		}
		return made
	}
	child := func(manager service.Account, email string) (made service.Account) {
		actor := tenant.Actor{AccountID: manager.ID, UserID: manager.ID, Manager: true}
		if _, err := s.CreateManagedAccount(ctx, actor, service.NewAccount{BusinessName: "Child", Email: &email}, once,
			func(a *service.Account) ([]byte, error) { made = *a; return nil, nil }); err != nil {
			t.Fatal(err)
		}
		return made
	}
	world.manager = root("manager@example.com")
	world.other = child(root("other@example.com"), "foreign@example.com")
	world.child = child(world.manager, "user@example.com")
	child(world.manager, "second@example.com")
	if _, err := s.CreateGroup(ctx, operator, world.manager.ID, "", "=Engineering, Sales", []string{"organization", "managed_accounts", "account"}, once,
		func(g *tenant.Group) ([]byte, error) { world.group = g.ID; return nil, nil }); err != nil {
		t.Fatal(err)
	}
	for i, email := range []string{"sub@example.com", "sub2@example.com"} {
		if _, err := s.CreateUser(ctx, operator, world.manager.ID, service.NewUser{Email: email, GroupIDs: []string{world.group}}, once,
			func(u *service.User, key string) ([]byte, error) {
				if i == 0 {
					world.user, world.userKey = u.ID, key
				} else {
					world.user2 = u.ID
				}
				return nil, nil
			}); err != nil {
			t.Fatal(err)
		}
	}
	return world
}

// do sends a request as the manager, unless it says otherwise.
func (w *world) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+w.manager.Key)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r)
	return answer
}

// checkAnswer holds an answer to what holds for all of them.
func checkAnswer(t testing.TB, what string, r *http.Response, body []byte) {
	t.Helper()
	if r.StatusCode >= 500 || r.StatusCode < 200 {
		t.Fatalf("%s: status %d\n%s", what, r.StatusCode, body)
	}
	if id := r.Header.Get("X-Request-Id"); !tenant.IsUUID(id) {
		t.Fatalf("%s: x-request-id %q", what, id)
	}
	kind := r.Header.Get("Content-Type")
	if strings.HasPrefix(kind, "application/json") && !json.Valid(body) {
		t.Fatalf("%s: not JSON: %s", what, body)
	}
	if r.StatusCode < 300 {
		return
	}
	if r.StatusCode < 400 {
		t.Fatalf("%s: status %d to %s", what, r.StatusCode, r.Header.Get("Location"))
	}
	var envelope api.Errors
	if err := json.Unmarshal(body, &envelope); err != nil || kind != "application/json" || len(envelope.Errors) == 0 {
		t.Fatalf("%s: %d without an envelope: %s %s", what, r.StatusCode, kind, body)
	}
	for _, e := range envelope.Errors {
		if e.Code == "" || e.Title == "" || e.Detail == "" || e.Source == nil || (e.Source.Pointer == "") == (e.Source.Parameter == "") {
			t.Fatalf("%s: incomplete error: %s", what, body)
		}
		if e.Source.Pointer != "" && e.Source.Pointer[0] != '/' {
			t.Fatalf("%s: %q is no JSON pointer", what, e.Source.Pointer)
		}
		for _, leak := range []string{"SELECT", "sqlite", "constraint", "goroutine", ".go:"} {
			if strings.Contains(e.Detail, leak) {
				t.Fatalf("%s: the detail tells of the inside: %s", what, e.Detail)
			}
		}
	}
	switch r.StatusCode {
	case 405:
		if r.Header.Get("Allow") == "" {
			t.Fatalf("%s: 405 without Allow", what)
		}
	case 409:
		if r.Header.Get("X-Should-Retry") != "false" {
			t.Fatalf("%s: the SDKs would send a 409 again", what)
		}
	case 401:
		if r.Header.Get("WWW-Authenticate") == "" {
			t.Fatalf("%s: 401 without a challenge", what)
		}
	}
}

func check(t testing.TB, what string, answer *httptest.ResponseRecorder) {
	t.Helper()
	checkAnswer(t, what, answer.Result(), answer.Body.Bytes())
}
