package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tenantry/tenantry/api"
)

// lockedBuffer is a log that may be written by several.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// TestNoSecretIsLeft plants secrets through every door and then looks for them in
// the log, at debug level, in metrics and traces, and in every file of the data
// folder.
func TestNoSecretIsLeft(t *testing.T) {
	var log lockedBuffer
	var seen witness
	spans := tracetest.NewSpanRecorder()
	w := newWorld(t, &log, func(o *Options) {
		o.Observer, o.Tracer = &seen, sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)).Tracer("")
	})
	secrets := map[string]string{
		"operator token": w.operatorToken, "manager's key": w.manager.Key, "manager's token": w.manager.Token, "child's key": w.child.Key, "user's key": w.userKey,
	}
	plant := func(name string) string {
		secrets[name] = "Canary-" + strings.ReplaceAll(name, " ", "-") + "-7f3a9c"
		return secrets[name]
	}
	created := func(answer *httptest.ResponseRecorder) api.ManagedAccount {
		t.Helper()
		check(t, "create", answer)
		var body api.Response[api.ManagedAccount]
		if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil || answer.Code != 200 {
			t.Fatalf("%d %s", answer.Code, answer.Body)
		}
		return body.Data
	}
	operator := []string{"Authorization", "Bearer " + w.operatorToken}
	// Secrets that the server makes, and first answers that it keeps.
	for i, headers := range [][]string{{}, {"Idempotency-Key", "canary"}, {"X-Stainless-Retry-Count", "1"}} {
		a := created(w.do("POST", "/v2/managed_accounts", `{"business_name":"x","password":"`+plant("password")+`"}`, headers...))
		secrets["made key "+string(rune('0'+i))], secrets["made token "+string(rune('0'+i))] = a.APIKey, a.APIToken
		w.do("GET", "/v2/managed_accounts/"+a.ID, "")
		w.do("POST", "/v2/managed_accounts/"+a.ID+"/actions/disable", "")
	}
	a := created(w.do("POST", "/operator/v1/accounts", `{"business_name":"x","email":"canary@example.com","password":"`+plant("root password")+`"}`, operator...))
	secrets["root key"], secrets["root token"] = a.APIKey, a.APIToken
	u := w.do("POST", "/operator/v1/accounts/"+a.ID+"/users", `{"email":"u@example.com","password":"`+plant("user password")+`"}`, operator...)
	var user api.Response[api.CreatedUser]
	if json.Unmarshal(u.Body.Bytes(), &user); user.Data.APIKey == "" {
		t.Fatal(u.Body)
	}
	secrets["user key"] = user.Data.APIKey
	s := w.do("POST", "/portal/session", `{"email":"canary@example.com","password":"`+secrets["root password"]+`"}`)
	var session api.Response[api.CreatedSession]
	if json.Unmarshal(s.Body.Bytes(), &session); session.Data.Token == "" {
		t.Fatal(s.Body)
	}
	secrets["session token"] = session.Data.Token
	w.do("GET", "/portal/session", "", "Authorization", "Bearer "+session.Data.Token)

	// Secrets on the ways that fail.
	w.do("POST", "/portal/session", `{"email":"canary@example.com","password":"`+plant("wrong password")+`"}`)
	w.do("POST", "/portal/session", `{"email":"`+plant("password as address")+`","password":"x"}`)
	w.do("POST", "/v2/managed_accounts", `{"business_name":"x","email":"user@example.com","password":"`+plant("password of a duplicate")+`"}`)
	w.do("POST", "/v2/managed_accounts", `{"business_name":"","password":"`+plant("password of a refusal")+`"}`)
	w.do("POST", "/v2/managed_accounts", `{"password":"`+plant("password in bad JSON")+`"`)
	w.do("POST", "/v2/managed_accounts", `{"password":["`+plant("password of a wrong type")+`"]}`)
	w.do("GET", "/v2/balance", "", "Authorization", "Bearer "+plant("wrong key"))
	w.do("GET", "/v2/balance", "", "Authorization", plant("bare key"))
	w.do("GET", "/v2/balance", "", "Authorization", "", "X-Api-User", "user@example.com", "X-Api-Token", plant("wrong token"))
	w.do("GET", "/v2/managed_accounts?api_key="+plant("key in the query")+"&sort=x", "")
	w.do("GET", "/v2/managed_accounts/"+plant("key in the path"), "")
	w.do("GET", "/nowhere", "", "Cookie", plant("cookie"))
	w.do(plant("method"), "/v2/balance", "")
	w.do("GET", "/v2/balance", "", "Traceparent", plant("traceparent"))
	w.do("POST", "/v2/managed_accounts", "{}", "Idempotency-Key", plant("idempotency key")+" bad")
	// A handler that panics over them.
	answer := httptest.NewRecorder()
	request := httptest.NewRequest("POST", "/", strings.NewReader(`{"password":"`+plant("password in a panic")+`"}`))
	request.Header.Set("Content-Type", "application/json")
	w.serve(&operation{Route: Route{ID: "Panic", Scope: "public", handle: func(s *Server, c *call) (any, error) {
		var body api.CreateManagedAccount
		if err := c.decode(&body); err != nil || body.Password == nil {
			t.Errorf("the body was not read: %v", err)
		}
		panic("canary")
	}}}, answer, request, "")
	if answer.Code != 500 || !strings.Contains(answer.Body.String(), answer.Header().Get("X-Request-Id")) || strings.Contains(answer.Body.String(), "canary") {
		t.Errorf("panic: %d %s", answer.Code, answer.Body)
	}

	if !strings.Contains(log.String(), "a handler panicked") || !strings.Contains(log.String(), "operation=CreateSession") {
		t.Fatal("the log is not what it should be")
	}
	files, err := filepath.Glob(filepath.Join(w.folder, "*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%q, %v", files, err)
	}
	texts := map[string][]byte{"log": log.Bytes(), "metrics": fmt.Append(nil, seen.count), "traces": []byte(traces(spans))}
	for _, file := range files {
		if texts[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	// The search itself finds what is there.
	for _, name := range []string{"log", "metrics", "traces"} {
		if !bytes.Contains(texts[name], []byte("CreateManagedAccount")) {
			t.Errorf("%s: there is nothing to look through", name)
		}
	}
	if !bytes.Contains(append(texts["tenantry.db"], texts["tenantry.db-wal"]...), []byte("canary@example.com")) {
		t.Error("not even the address is in the files")
	}
	for what, secret := range secrets {
		for name, text := range texts {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s: %s is in %s", what, secret, name)
			}
		}
	}
}

// TestNoStaleReply: an answer that was read while the manager was blocked, by a
// request that was let in before, is not there after the block was lifted.
func TestNoStaleReply(t *testing.T) {
	w := newWorld(t, nil)
	operator := []string{"Authorization", "Bearer " + w.operatorToken}
	request := httptest.NewRequest("GET", "/v2/managed_accounts/"+w.child.ID, nil)
	request.SetPathValue("id", w.child.ID)
	request.Header.Set("Authorization", "Bearer "+w.manager.Key)
	late := &call{Request: request, header: map[string][]string{}}
	if err := w.authenticate(Route{Scope: "managed_accounts"}, late); err != nil {
		t.Fatal(err)
	}
	w.do("POST", "/operator/v1/accounts/"+w.manager.ID+"/actions/block", "", operator...)
	if answer, err := w.retrieveAccount(late); err == nil {
		t.Errorf("answered for a blocked manager: %s", answer)
	}
	w.do("POST", "/operator/v1/accounts/"+w.manager.ID+"/actions/unblock", "", operator...)
	answer := w.do("GET", "/v2/managed_accounts/"+w.child.ID, "")
	if answer.Code != 200 || !strings.Contains(answer.Body.String(), `"status_reasons":[]`) {
		t.Errorf("after the block: %s", answer.Body)
	}
}

// TestForeignIsMissing: another manager's account and one that is not there have
// the same answer, warm or cold.
func TestForeignIsMissing(t *testing.T) {
	w := newWorld(t, nil)
	missing := "00000000-0000-7000-8000-00000000dead"
	foreign := w.other.ID
	var warm api.Response[api.ManagedAccount]
	for range 2 {
		answer := w.do("GET", "/v2/managed_accounts/"+foreign, "", "Authorization", "Bearer "+w.managerKey(t, w.other.ManagerID))
		if json.Unmarshal(answer.Body.Bytes(), &warm); warm.Data.ID != foreign {
			t.Fatalf("its own manager gets %s", answer.Body)
		}
	}
	for _, try := range [][2]string{
		{"GET", ""}, {"PATCH", `{}`}, {"PATCH", `{"managed_account_allow_custom_pricing":true}`}, {"POST", "/actions/disable"}, {"POST", "/actions/enable"}, {"PATCH", `/update_global_channel_limit {"channel_limit":1}`},
	} {
		path, body, _ := strings.Cut(try[1], "{")
		if body != "" {
			body = "{" + body
		}
		var texts []string
		for _, id := range []string{foreign, missing} {
			answer := w.do(try[0], "/v2/managed_accounts/"+id+strings.TrimSpace(path), body)
			check(t, try[0]+try[1], answer)
			if answer.Code != 404 {
				t.Errorf("%s %s of %s: %d", try[0], try[1], id, answer.Code)
			}
			texts = append(texts, answer.Body.String())
		}
		if texts[0] != texts[1] {
			t.Errorf("%s %s: foreign\n%s\nmissing\n%s", try[0], try[1], texts[0], texts[1])
		}
	}
}

// managerKey asks the operator for a key.
func (w *world) managerKey(t *testing.T, id string) string {
	t.Helper()
	var body api.Response[api.OperatorAccount]
	answer := w.do("GET", "/operator/v1/accounts/"+id, "", "Authorization", "Bearer "+w.operatorToken)
	if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil || body.Data.APIKey == "" {
		t.Fatalf("%v: %s", err, answer.Body)
	}
	return body.Data.APIKey
}
