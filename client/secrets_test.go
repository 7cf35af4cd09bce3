package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

// canaries are secrets of the right shapes.
var canaries = []string{
	"KEY01236170692E74656C6E79782E636F6D_canary-in-the-key-1234",
	"canary-in-the-v1-token", "canary-in-the-password", "canary-in-the-query", "canary-in-the-address", "canary-in-the-answer-key", "canary-in-the-answer-token",
}

// leaks names the secrets in a text; the first characters may be there.
func leaks(text string) (found []string) {
	for _, secret := range canaries {
		half := secret[len(secret)/2:]
		bytes := strings.Trim(fmt.Sprint([]byte(half)), "[]")
		if strings.Contains(text, half) || strings.Contains(text, bytes) || strings.Contains(text, fmt.Sprintf("%x", half)) || strings.Contains(text, fmt.Sprintf("%X", half)) {
			found = append(found, secret)
		}
	}
	return found
}

const answerWithSecrets = `{"data":{"id":"x","email":"e@example.com","api_key":"canary-in-the-answer-key","api_token":"canary-in-the-answer-token"}}`

// secretive are clients that hold secrets, and what can be had of them: results,
// parameters and errors.
func secretive(t *testing.T, log *slog.Logger) map[string]any {
	t.Helper()
	things := map[string]any{}
	ctx := t.Context()
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/managed_accounts"):
			answers(200, "application/json", strings.NewReplacer(`{"data":`, `{"data":[`, `}}`, `}]}`).Replace(answerWithSecrets))(w, r)
		case r.Method == "DELETE" || strings.Contains(r.URL.Path, "unwell"):
			answers(500, "text/html", "<html>")(w, r)
		default:
			answers(200, "application/json", answerWithSecrets)(w, r)
		}
	}
	for name, option := range map[string]client.Option{"key": client.WithKey(canaries[0]), "V1": client.WithV1("user", canaries[1])} {
		c := scripted(t, handler, option, client.WithLogger(log), client.WithRetries(0))
		things["client with "+name], things["client with "+name+" by value"] = c, *c
		things["service of client with "+name], things["service by value of client with "+name] = c.ManagedAccounts, *c.ManagedAccounts
		things["struct with client with "+name] = struct{ C *client.Client }{c}
		things["hidden in a struct, client with "+name] = struct{ c *client.Client }{c}
		things["hidden by value in a struct, client with "+name] = &struct{ c client.Client }{*c}
		things["operator of client with "+name] = client.NewOperator(c)

		params := client.ManagedAccountCreate{BusinessName: "A", Password: &canaries[2]}
		account, err := c.ManagedAccounts.Create(ctx, params)
		if err != nil {
			t.Fatal(err)
		}
		things["params"], things["pointer to params"], things["params in a list"] = params, &params, []client.ManagedAccountCreate{params}
		things["account"], things["account by value"], things["account in a map"] = account, *account, map[string]*client.ManagedAccount{"a": account}
		things["fields of an account"], things["pointer to fields of an account"] = account.Fields, &account.Fields
		things["hidden fields"] = struct{ f client.Fields }{account.Fields}
		page, err := c.ManagedAccounts.List(ctx, client.ManagedAccountList{EmailEq: canaries[3]})
		if err != nil {
			t.Fatal(err)
		}
		things["page"], things["page by value"], things["items"] = page, *page, page.Data
		operator := client.NewOperator(c)
		full, err := operator.CreateAccount(ctx, api.CreateRootAccount{Password: &canaries[2]})
		if err != nil {
			t.Fatal(err)
		}
		user, err := operator.CreateUser(ctx, "x", api.CreateOrganizationUser{Password: &canaries[2]})
		if err != nil {
			t.Fatal(err)
		}
		things["operator's account"], things["operator's account by value"] = full, *full
		things["created user"], things["created user by value"] = user, *user

		_, refusal := c.ManagedAccounts.Retrieve(ctx, "unwell")
		things["refusal"], things["refusal in an error"] = refusal, fmt.Errorf("so: %w", refusal)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
		gone := client.New(option, client.WithLogger(log), client.WithRetries(0), client.WithBaseURL("http://user:"+canaries[4]+"@"+listener.Addr().String()))
		things["client with a password in its address"], things["the same by value"] = gone, *gone
		for name, call := range map[string]func() error{
			"no connection": func() error {
				_, err := gone.ManagedAccounts.List(ctx, client.ManagedAccountList{EmailEq: canaries[3]})
				return err
			},
			"no connection for a create": func() error { _, err := gone.ManagedAccounts.Create(ctx, params); return err },
			"a key of two lines": func() error {
				_, err := client.New(client.WithLogger(log), client.WithKey(canaries[0]+"\n"+canaries[0]), client.WithRetries(0)).Balance.Retrieve(ctx)
				return err
			},
			"a key for an address": func() error {
				odd := client.New(client.WithLogger(log), client.WithBaseURL(canaries[0]))
				things["client with a key for an address"] = odd
				_, err := odd.Balance.Retrieve(ctx)
				return err
			},
			"not JSON": func() error {
				_, err := scripted(t, answers(200, "text/html", canaries[5])).ManagedAccounts.Retrieve(ctx, "x")
				return err
			},
			"another type": func() error {
				_, err := scripted(t, answers(200, "text/html", `{"data":{"api_key":{"x":"canary-in-the-answer-key"},"email":1}}`)).ManagedAccounts.Retrieve(ctx, "x")
				return err
			},
		} {
			err := call()
			if err == nil {
				t.Errorf("%s: no error", name)
			}
			var e *client.Error
			errors.As(err, &e)
			things[name], things[name+" as *Error"] = err, e
		}
	}
	return things
}

// TestNothingPrintsSecrets prints all that a program may print, in every way.
func TestNothingPrintsSecrets(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	handlers := map[string]slog.Handler{
		"JSON": slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}),
		"text": slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}),
	}
	for name, handler := range handlers {
		things := secretive(t, slog.New(handler))
		if found := leaks(log.String()); found != nil {
			t.Errorf("WithLogger, %s: %q in\n%s", name, found, log.String())
		}
		if !strings.Contains(log.String(), "create managed account") || !strings.Contains(log.String(), "/managed_accounts/unwell") {
			t.Errorf("WithLogger, %s, logs nothing of use:\n%s", name, log.String())
		}
		for what, thing := range things {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "% X", "%d", "%t"} {
				text := fmt.Sprintf(verb, thing)
				if found := leaks(text); found != nil {
					t.Errorf("%s of %s shows %q: %s", verb, what, found, text)
				}
			}
			// A list or a map is JSON for slog, and JSON is what the wire is.
			if what == "account in a map" || what == "params in a list" || strings.HasPrefix(what, "page") || what == "items" {
				continue
			}
			log.Reset()
			slog.New(handler).Info("look", "thing", thing)
			if found := leaks(log.String()); found != nil {
				t.Errorf("slog, %s, of %s shows %q: %s", name, what, found, log.String())
			}
		}
		log.Reset()
	}
}

// TestJSONKeepsSecrets: what is written as JSON is for a program, and whole.
func TestJSONKeepsSecrets(t *testing.T) {
	t.Parallel()
	c := scripted(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answerWithSecrets) })
	account, err := c.ManagedAccounts.Retrieve(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(account)
	if err != nil || !strings.Contains(string(text), `"api_key":"canary-in-the-answer-key"`) {
		t.Errorf("%s %v", text, err)
	}
	if printed := fmt.Sprint(account); !strings.Contains(printed, "api_key:canary****") || !strings.Contains(printed, "email:e@example.com") {
		t.Errorf("prints %s", printed)
	}
}
