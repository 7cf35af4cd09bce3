package app_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
)

const (
	devManager = "KEY0DE00000000000000000000000000001_tenantry-dev-manager-k"
	devOwner   = "KEY0DE00000000000000000000000000002_tenantry-dev-organizat"
)

// listening is an app with the seed on a port of its own.
func listening(t *testing.T, e engine, seed string, configure func(*config.Config)) string {
	t.Helper()
	c, err := app.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	c.Data, c.Database, c.RateLimit = t.TempDir(), e.database(t), -1
	if configure != nil {
		configure(&c)
	}
	a, err := app.Open(t.Context(), c, app.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := app.ParseSeed([]byte(seed))
	if err == nil {
		_, err = a.Load(t.Context(), parsed)
	}
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- a.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		<-served
		a.Close()
	})
	return "http://" + listener.Addr().String()
}

const hostileSeed = `
accounts:
  - id: 00000000-0000-7000-8000-000000000001
    business_name: Manager
    email: manager@example.com
    api_key: ` + devManager + `
    manager: {channel_pool: 500}
    users:
      - {email: sub@example.com, api_key: ` + devOwner + `}
    managed_accounts:
      - {id: 00000000-0000-7000-8000-000000000011, business_name: One, email: one@example.com}
`

// TestCachedAnswerIsRefused: what the manager's request has just put into memory
// is not given to a sub-user without the permission, however close they come.
func TestCachedAnswerIsRefused(t *testing.T) { eachEngine(t, testCachedAnswerIsRefused) }

func testCachedAnswerIsRefused(t *testing.T, e engine) {
	url := listening(t, e, hostileSeed, nil) + "/v2/managed_accounts/00000000-0000-7000-8000-000000000011"
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var leaks, tries atomic.Int64
	for range 3 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if _, err := call[api.ManagedAccount](ctx, "GET", url, devOwner, ""); err == nil {
					leaks.Add(1)
				}
				tries.Add(1)
			}
		})
	}
	for i := range 300 {
		if _, err := call[api.ManagedAccount](ctx, "PATCH", url, devManager, fmt.Sprintf(`{"managed_account_allow_custom_pricing":%t}`, i%2 == 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := call[api.ManagedAccount](ctx, "GET", url, devManager, ""); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	clients.Wait()
	if leaks.Load() > 0 || tries.Load() == 0 {
		t.Errorf("%d of %d requests of a sub-user without permission were answered", leaks.Load(), tries.Load())
	}
}

// TestRefusedTryIsNoAnswer: a create that the rate limit turned away makes its own
// account when the SDK asks again, although an equal one was answered before.
func TestRefusedTryIsNoAnswer(t *testing.T) { eachEngine(t, testRefusedTryIsNoAnswer) }

func testRefusedTryIsNoAnswer(t *testing.T, e engine) {
	url := listening(t, e, hostileSeed, func(c *config.Config) { c.RateLimit, c.RateBurst = 20, 1 }) + "/v2/managed_accounts"
	create := func(try int) (int, string) {
		request, _ := http.NewRequest("POST", url, strings.NewReader(`{"business_name":"Same"}`))
		request.Header.Set("Authorization", "Bearer "+devManager)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Stainless-Retry-Count", fmt.Sprint(try))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		_, rest, _ := strings.Cut(string(body), `"id":"`)
		id, _, _ := strings.Cut(rest, `"`)
		return response.StatusCode, id
	}
	// untilDone asks until it is let in, as an SDK does.
	untilDone := func(try int) (int, string) {
		for ; ; try++ {
			if status, id := create(try); status != 429 {
				return try, id
			}
		}
	}
	_, first := untilDone(0)
	tries, second := untilDone(0)
	if tries == 0 {
		t.Skip("the second create was not turned away: the machine is too slow for this limit")
	}
	if first == second {
		t.Fatal("the second create got the first one's account")
	}
	// Its answer lost, it gets the same again.
	if _, again := untilDone(tries + 1); again != second {
		t.Errorf("asked again: %s, want %s", again, second)
	}
}

// TestBodyThatNeverComes: a request whose body does not come is answered, with
// good credentials or without, and its connection closed. One engine is enough: none
// hears of it.
func TestBodyThatNeverComes(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the deadline of a body: not with -short")
	}
	t.Parallel()
	address := strings.TrimPrefix(listening(t, sqlite, hostileSeed, nil), "http://")
	var open sync.WaitGroup
	for _, key := range []string{"wrong", devManager} {
		open.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST /v2/managed_accounts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n", key)
			conn.SetReadDeadline(time.Now().Add(40 * time.Second)) // far above the bound: it is there so that the test ends
			if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil && err != io.EOF {
				t.Errorf("key %.5s…: %v", key, err)
			}
		})
	}
	open.Wait()
}
