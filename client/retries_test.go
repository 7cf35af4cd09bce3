package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry/client"
)

// The tests here run in bubbles of testing/synctest, where time passes only when
// everybody waits: a pause of a minute takes none.

// TestWhatIsRetried counts the tries for each answer.
func TestWhatIsRetried(t *testing.T) {
	t.Parallel()
	type test struct {
		status  int
		should  string // x-should-retry
		retries int
		tries   int
	}
	tests := []test{
		{404, "true", 2, 3}, {422, "true", 1, 2}, {301, "true", 2, 3}, {500, "false", 2, 1}, {429, "false", 2, 1}, {409, "false", 2, 1},
		{500, "perhaps", 2, 3}, {404, "perhaps", 2, 1}, {500, "TRUE", 2, 3},
		{503, "", 0, 1}, {503, "", -1, 1}, {503, "", 1, 2}, {503, "", 5, 6}, {503, "", 60, 61},
		{200, "true", 2, 1},
	}
	for _, status := range []int{408, 409, 429, 500, 501, 502, 503, 504, 529, 599} {
		tests = append(tests, test{status, "", 2, 3})
	}
	for _, status := range []int{200, 300, 301, 302, 304, 307, 400, 401, 402, 403, 404, 405, 406, 410, 412, 413, 415, 418, 422, 423, 425, 428, 431, 451} {
		tests = append(tests, test{status, "", 2, 1})
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
					tries++
					if test.should != "" {
						w.Header().Set("X-Should-Retry", test.should)
					}
					answers(test.status, "text/html", "not the API")(w, r)
				}, client.WithRetries(test.retries))
				_, err := c.ManagedAccounts.UpdateGlobalChannelLimit(t.Context(), "x", 1)
				if tries != test.tries || err == nil {
					t.Errorf("%d tries, not %d: %v", tries, test.tries, err)
				}
			})
		})
	}
}

// TestEndsWell wants the answer of the last try.
func TestEndsWell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if string(body) != `{"business_name":"A"}` {
				t.Errorf("try %d sends %q", tries, body)
			}
			switch tries++; tries {
			case 1:
				panic(http.ErrAbortHandler) // no answer
			case 2:
				w.Header().Set("Content-Length", "100") // half an answer
				io.WriteString(w, `{"data":`)
			case 3:
				w.WriteHeader(500)
			default:
				io.WriteString(w, `{"data":{"id":"made"}}`)
			}
		}, client.WithRetries(3))
		account, err := c.ManagedAccounts.Create(t.Context(), client.ManagedAccountCreate{BusinessName: "A"})
		if err != nil || account.ID != "made" || tries != 4 {
			t.Errorf("%v %v after %d tries", account, err, tries)
		}
	})
}

// TestNoConnection counts the tries when nobody can be reached, and when answers
// are cut.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			dials++
			return nil, errors.New("no route")
		}}
		c := client.New(client.WithBaseURL("http://server.invalid/v2"), client.WithHTTPClient(&http.Client{Transport: transport}))
		_, err := c.Balance.Retrieve(t.Context())
		if dials != 3 || !isOnly(err, client.ErrConnection) || err.Error() != "retrieve balance: the server cannot be reached: no route" {
			t.Errorf("%d dials: %v", dials, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			tries++
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"data":`)
		})
		_, err := c.Balance.Retrieve(t.Context())
		if tries != 3 || !isOnly(err, client.ErrConnection) || !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "retrieve balance: the answer broke off: unexpected EOF" {
			t.Errorf("%d tries: %v", tries, err)
		}
	})
}

// pauses are the times between the tries of one call that is refused with 503.
func pauses(t *testing.T, retries int, header func(http.Header)) []time.Duration {
	t.Helper()
	var between []time.Duration
	synctest.Test(t, func(t *testing.T) {
		var last time.Time
		c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			if !last.IsZero() {
				between = append(between, time.Since(last))
			}
			last = time.Now()
			header(w.Header())
			w.WriteHeader(503)
		}, client.WithRetries(retries))
		if _, err := c.Balance.Retrieve(t.Context()); !isOnly(err, client.ErrServer) {
			t.Error(err)
		}
	})
	return between
}

// TestRetryAfter wants the pauses that the server asks for, unless they are absurd.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const own = -1 // the client's own pause
	in := func(d time.Duration) func() string {
		return func() string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	}
	is := func(s string) func() string { return func() string { return s } }
	for _, test := range []struct {
		name      string
		after, ms func() string
		want      time.Duration
	}{
		{"nothing", nil, nil, own},
		{"seconds", is("2"), nil, 2 * time.Second},
		{"no pause", is("0"), nil, 0},
		{"part of a second", is("0.25"), nil, 250 * time.Millisecond},
		{"a minute", is("60"), nil, time.Minute},
		{"milliseconds", nil, is("1500"), 1500 * time.Millisecond},
		{"part of a millisecond", nil, is("0.5"), 500 * time.Microsecond},
		{"both: milliseconds win", is("7"), is("300"), 300 * time.Millisecond},
		{"both: milliseconds are nonsense", is("7"), is("soon"), 7 * time.Second},
		{"both: milliseconds are negative", is("7"), is("-1"), 7 * time.Second},
		{"a date", in(3 * time.Second), nil, 3 * time.Second},
		{"a date in the past", in(-time.Hour), nil, own},
		{"a date far away", in(24 * time.Hour), nil, own},
		{"more than a minute", is("61"), nil, own},
		{"an hour", nil, is("3600000"), own},
		{"negative", is("-1"), nil, own},
		{"too large for a duration", is("99999999999999999999"), nil, own},
		{"larger than a number", is("1e999"), nil, own},
		{"infinite", is("Inf"), nil, own},
		{"not a number", is("NaN"), is("NaN"), own},
		{"words", is("in a while"), nil, own},
		{"empty", is(""), is(""), own},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			between := pauses(t, 2, func(h http.Header) {
				if test.after != nil {
					h.Set("Retry-After", test.after())
				}
				if test.ms != nil {
					h.Set("Retry-After-Ms", test.ms())
				}
			})
			if len(between) != 2 {
				t.Fatalf("pauses %v", between)
			}
			for i, pause := range between {
				least, most := test.want, test.want
				if test.want == own {
					most = 500 * time.Millisecond << i
					least = most - most/4
				}
				if pause < least || pause > most {
					t.Errorf("pause %d is %s, not %s to %s", i+1, pause, least, most)
				}
			}
		})
	}
}

// TestBackoff wants longer and longer pauses, never the same twice, up to 8 s.
func TestBackoff(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]int{}
	for range 20 {
		for i, pause := range pauses(t, 8, func(http.Header) {}) {
			most := min(500*time.Millisecond<<i, 8*time.Second)
			if pause > most || pause < most*3/4 {
				t.Errorf("pause %d is %s, of at most %s", i+1, pause, most)
			}
			seen[pause]++
		}
	}
	if len(seen) < 150 {
		t.Errorf("only %d different pauses of 160", len(seen))
	}
}

// TestContextInPause ends a pause with the context.
func TestContextInPause(t *testing.T) {
	t.Parallel()
	cause := errors.New("somebody pulled the plug")
	for name, end := range map[string]func(context.Context) (context.Context, error){
		"deadline": func(ctx context.Context) (context.Context, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			context.AfterFunc(ctx, cancel)
			return ctx, context.DeadlineExceeded
		},
		"cancel": func(ctx context.Context) (context.Context, error) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, context.Canceled
		},
		"cause": func(ctx context.Context) (context.Context, error) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(cause) })
			return ctx, cause
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			tries, began := 0, time.Now()
			c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
				tries++
				w.Header().Set("Retry-After", "30")
				answers(429, "application/json", envelope(`{"code":"10011","title":"Too many requests"}`))(w, r)
			})
			ctx, want := end(t.Context())
			_, err := c.Balance.Retrieve(ctx)
			// Both: why there was no good answer, and why there was no other try.
			if !isOnly(err, client.ErrRateLimited) || !errors.Is(err, want) || refused(t, err).RetryAfter != 30*time.Second || tries != 1 || time.Since(began) != time.Second {
				t.Errorf("%s: %v after %s and %d tries", name, err, time.Since(began), tries)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			refuse := errors.New("no route")
			c := inMemory(t, nil, client.WithRetries(9), client.WithHTTPClient(&http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, refuse })}))
			began := time.Now()
			ctx, want := end(t.Context())
			_, err := c.Balance.Retrieve(ctx)
			if !errors.Is(err, refuse) || !errors.Is(err, want) || time.Since(began) != time.Second {
				t.Errorf("%s without a connection: %v after %s", name, err, time.Since(began))
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestContextInCall ends a try with the context, and there is no other.
func TestContextInCall(t *testing.T) {
	t.Parallel()
	for _, headers := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			tries, began := 0, time.Now()
			c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
				tries++
				if headers {
					io.WriteString(w, `{"data":`)
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
			})
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			_, err := c.Balance.Retrieve(ctx)
			synctest.Wait() // for the handler, as far as it goes
			if !isOnly(err) || err.Error() != "retrieve balance: cancelled: context canceled" || tries != 1 || time.Since(began) != time.Second {
				t.Errorf("%v after %s and %d tries", err, time.Since(began), tries)
			}
		})
	}
}

// TestTimeout bounds each try, until the end of its answer.
func TestTimeout(t *testing.T) {
	t.Parallel()
	for _, headers := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var at []time.Duration
			c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
				at = append(at, time.Since(began))
				if headers {
					io.WriteString(w, `{"data":`)
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
			}, client.WithTimeout(10*time.Second), client.WithRetries(1))
			_, err := c.Balance.Retrieve(t.Context())
			synctest.Wait()
			if !isOnly(err, client.ErrConnection, client.ErrTimeout) || len(at) != 2 || at[1] < 10*time.Second+375*time.Millisecond || time.Since(began) != at[1]+10*time.Second {
				t.Errorf("%v after %s, tries at %v", err, time.Since(began), at)
			}
			if want := "retrieve balance: the server did not answer in time: context deadline exceeded"; err.Error() != want {
				t.Errorf("reads %q", err)
			}
		})
	}
	slow := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(time.Hour):
			io.WriteString(w, `{"data":{"balance":"1.00"}}`)
		case <-r.Context().Done():
		}
	}
	synctest.Test(t, func(t *testing.T) {
		balance, err := inMemory(t, slow, client.WithTimeout(0)).Balance.Retrieve(t.Context())
		if err != nil || balance.Balance.Balance != "1.00" {
			t.Errorf("without a bound: %v %v", balance, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := inMemory(t, slow, client.WithRetries(0)).Balance.Retrieve(t.Context())
		if !errors.Is(err, client.ErrTimeout) || time.Since(began) != time.Minute {
			t.Errorf("by default: %v after %s", err, time.Since(began))
		}
	})
}

// TestIdempotencyKeys wants one key for all tries of a POST, another for each call,
// and none for anything else.
func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calledFor := map[string]map[string]int{} // tries by key by what was called
		var key func(*http.Request) string
		c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			call := r.Method + " " + r.URL.Path
			if calledFor[call] == nil {
				calledFor[call] = map[string]int{}
			}
			calledFor[call][key(r)]++
			w.WriteHeader(503)
		})
		key = func(r *http.Request) string { return strings.Join(r.Header["Idempotency-Key"], "|") }
		for range 5 {
			for _, call := range calls(c, "x") {
				call(t.Context())
			}
		}
		for call, tries := range calledFor {
			if !strings.HasPrefix(call, "POST") {
				if len(tries) != 1 || tries[""] == 0 {
					t.Errorf("%s is sent with %v", call, tries)
				}
				continue
			}
			for key, n := range tries {
				if len(key) < 20 || len(key) > 255 || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" || n != 3 || len(tries) != 5 {
					t.Errorf("%s is sent with %v", call, tries)
				}
			}
		}
		if len(calledFor) != 16 {
			t.Errorf("%d operations", len(calledFor))
		}
	})
}

// TestGivenIdempotencyKey wants a key of the caller's to go with POSTs alone.
func TestGivenIdempotencyKey(t *testing.T) {
	t.Parallel()
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		want := map[string]string{"POST": "line-17"}[r.Method]
		if got := strings.Join(r.Header["Idempotency-Key"], "|"); got != want {
			t.Errorf("%s %s with key %q", r.Method, r.URL.Path, got)
		}
		io.WriteString(w, `{}`)
	})
	for _, call := range calls(c, "x") {
		call(client.WithIdempotencyKey(t.Context(), "line-17"))
	}
}

// TestCutCreate puts a proxy in front of a real server that passes requests on and
// cuts the answers: before they begin, in the headers, and in the body. There
// must be one account for each create.
func TestCutCreate(t *testing.T) {
	t.Parallel()
	eachServer(t, testCutCreate)
}

func testCutCreate(t *testing.T, s *server) {
	for _, after := range []int64{0, 20, 400, 700} { // an answer has about 800 bytes
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			p := cut(t, s.address, after, 2)
			c := newClient(t, "http://"+p.address+"/v2", client.WithKey(managerKey))
			name := fmt.Sprint("Cut after ", after)
			made, err := c.ManagedAccounts.Create(t.Context(), client.ManagedAccountCreate{BusinessName: name})
			if err != nil {
				t.Fatal(err)
			}
			page, err := s.client(t).ManagedAccounts.List(t.Context(), client.ManagedAccountList{OrganizationNameEq: name})
			if err != nil || len(page.Data) != 1 || page.Data[0].ID != made.ID {
				t.Errorf("%v, %v", page, err)
			}
			if n := p.cuts.Load(); n != 2 {
				t.Errorf("%d cuts", n)
			}
		})
	}
}

type cutter struct {
	address string
	cuts    atomic.Int64
}

// cut passes connections on to a server and cuts the first few answers after so
// many bytes.
func cut(t *testing.T, to string, after, times int64) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	c := &cutter{address: listener.Addr().String()}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				return
			}
			go io.Copy(far, near)
			go func() {
				defer near.Close()
				defer far.Close()
				if c.cuts.Load() < times {
					// The first byte means that the work is done.
					first := make([]byte, 1)
					io.ReadFull(far, first)
					if after > 0 {
						near.Write(first)
						io.CopyN(near, far, after-1)
					}
					c.cuts.Add(1)
					return
				}
				io.Copy(near, far)
			}()
		}
	}()
	return c
}
