package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/internal/dbtest"
)

// TestOneConnection does calls of all kinds one after the other: they share one
// connection.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	eachServer(t, testOneConnection)
}

func testOneConnection(t *testing.T, s *server) {
	c := s.client(t)
	for range 20 {
		for _, call := range calls(c, unknownID) {
			call(t.Context())
		}
		for _, err := range c.ManagedAccounts.All(t.Context(), client.ManagedAccountList{PageSize: 1}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		for range c.ManagedAccounts.All(t.Context(), client.ManagedAccountList{PageSize: 1}) {
			break
		}
		body, err := c.OrganizationUsers.GroupsReportCSV(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, body)
		body.Close()
	}
	if n := s.connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestManyAtOnce has 64 goroutines use one client, with the connections that it
// has by default, and looks for what is left over in the whole process: the engines
// take turns.
func TestManyAtOnce(t *testing.T) {
	dbtest.InTurn(t, func(t *testing.T, address func(testing.TB) string) { testManyAtOnce(t, start(t, address(t))) })
}

func testManyAtOnce(t *testing.T, s *server) {
	var transport *http.Transport
	c := client.New(client.WithBaseURL(s.base+"/v2"), client.WithKey(managerKey), func(c *client.Client) {
		transport = http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = 64
		client.WithHTTPClient(&http.Client{Transport: transport})(c)
	})
	const workers, rounds = 64, 5
	var wait sync.WaitGroup
	for i := range workers {
		wait.Go(func() {
			for j := range rounds {
				made, err := c.ManagedAccounts.Create(t.Context(), client.ManagedAccountCreate{BusinessName: fmt.Sprintf("Worker %d.%d", i, j)})
				if err != nil {
					t.Error(err)
					return
				}
				got, err := c.ManagedAccounts.Retrieve(t.Context(), made.ID)
				if err != nil || got.OrganizationName != made.OrganizationName {
					t.Errorf("%v, %v", got, err)
				}
				var status string
				if ok, err := got.Field("status", &status); !ok || err != nil || status != "enabled" {
					t.Errorf("%t %v %q", ok, err, status)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(j)*time.Millisecond)
				if _, err := c.Balance.Retrieve(ctx); err != nil && !errors.Is(err, client.ErrTimeout) {
					t.Error(err)
				}
				cancel()
				if i%8 > 0 { // a server may bound how many reports one key reads at once
					continue
				}
				for _, err := range c.OrganizationUsers.GroupsReportRows(t.Context()) {
					if err != nil {
						t.Error(err)
					}
					if j%2 == 0 {
						break
					}
				}
			}
		})
	}
	wait.Wait()
	n := 0
	for _, err := range c.ManagedAccounts.All(t.Context(), client.ManagedAccountList{PageSize: 100, OrganizationNameContains: "worker "}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != workers*rounds {
		t.Errorf("%d accounts, not %d", n, workers*rounds)
	}
	transport.CloseIdleConnections()
	// Connections of the client, and contexts that wait for their parents.
	left := func() int {
		return goroutines("net/http.(*persistConn)") + goroutines("context.(*cancelCtx).propagateCancel")
	}
	for deadline := time.Now().Add(10 * time.Second); left() > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if n := left(); n > 0 {
		t.Errorf("%d goroutines are left", n)
	}
}

// goroutines counts those that have a function in their stacks.
func goroutines(function string) (n int) {
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for one := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(one, function) {
			n++
		}
	}
	return n
}

// TestDefaultConnections wants calls at once to find their connections open again.
func TestDefaultConnections(t *testing.T) {
	t.Parallel()
	eachServer(t, testDefaultConnections)
}

func testDefaultConnections(t *testing.T, s *server) {
	c := client.New(client.WithBaseURL(s.base+"/v2"), client.WithKey(managerKey), client.WithHTTPClient(nil))
	const workers = 16
	for range 20 {
		var wait sync.WaitGroup
		for range workers {
			wait.Go(func() {
				if _, err := c.Balance.Retrieve(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
	}
	// A connection is free a little after its call has ended, and so a few are dialled.
	if n := s.connections.Load(); n > 5*workers { // with two kept open it is 200 and more
		t.Errorf("%d connections for %d calls at a time", n, workers)
	}
}

// TestLargeRefusal wants a refusal that is too long to be read not to be waited for.
func TestLargeRefusal(t *testing.T) {
	t.Parallel()
	written := make(chan int64, 1)
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		n, _ := io.Copy(w, endless{})
		written <- n
	}, client.WithTimeout(0))
	if _, err := c.Balance.Retrieve(t.Context()); !isOnly(err, client.ErrBadRequest) {
		t.Error(err)
	}
	if n := <-written; n > 64<<20 {
		t.Errorf("read on for %d bytes", n)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, strings.Repeat("x", len(p))), nil }

// TestHTTP2 wants the vendor's protocol to say the same about answers that do not
// come.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("spoken to in %s", r.Proto)
		}
		if r.URL.Path == "/v2/balance" {
			<-r.Context().Done()
			return
		}
		io.WriteString(w, reportHead+"\n1,a@example.com,enabled,then,,\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	c := client.New(client.WithBaseURL(s.URL+"/v2"), client.WithHTTPClient(s.Client()), client.WithTimeout(100*time.Millisecond), client.WithRetries(0))

	_, headers := c.Balance.Retrieve(t.Context())
	_, body := c.OrganizationUsers.GroupsReport(t.Context())
	rows := 0
	var stream error
	for _, stream = range c.OrganizationUsers.GroupsReportRows(t.Context()) {
		rows++
	}
	if rows != 2 {
		t.Errorf("%d rows and errors", rows)
	}
	for name, err := range map[string]error{"no headers": headers, "half a body": body, "half a stream": stream} {
		if !isOnly(err, client.ErrConnection, client.ErrTimeout) || !strings.HasSuffix(err.Error(), ": the server did not answer in time: context deadline exceeded") {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := c.Balance.Retrieve(ctx); !isOnly(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
