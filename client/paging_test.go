package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/client"
)

// book serves n accounts, named by their number from 1.
func book(n int, asked *[]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.Query().Encode())
		size, number := 20, 1
		if s := r.URL.Query().Get("page[size]"); s != "" {
			size, _ = strconv.Atoi(s)
		}
		if s := r.URL.Query().Get("page[number]"); s != "" {
			number, _ = strconv.Atoi(s)
		}
		var ids []string
		for i := (number-1)*size + 1; i <= min(number*size, n); i++ {
			ids = append(ids, strconv.Itoa(i))
		}
		meta := fmt.Sprintf(`{"total_pages":%d,"total_results":%d,"page_number":%d,"page_size":%d}`, (n+size-1)/size, n, number, size)
		answers(200, "application/json", list(meta, ids...))(w, r)
	}
}

// TestAll goes through lists of every length.
func TestAll(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		accounts     int
		params       client.ManagedAccountList
		first, calls int
	}{
		{0, client.ManagedAccountList{}, 1, 1},
		{1, client.ManagedAccountList{}, 1, 1},
		{19, client.ManagedAccountList{}, 1, 1},
		{20, client.ManagedAccountList{}, 1, 1},
		{21, client.ManagedAccountList{}, 1, 2},
		{40, client.ManagedAccountList{}, 1, 2},
		{95, client.ManagedAccountList{PageSize: 10}, 1, 10},
		{95, client.ManagedAccountList{PageSize: 10, PageNumber: 4}, 31, 7},
		{95, client.ManagedAccountList{PageSize: 10, PageNumber: 10}, 91, 1},
		{95, client.ManagedAccountList{PageSize: 10, PageNumber: 11}, 96, 1},
		{3, client.ManagedAccountList{PageSize: 1, Sort: "email"}, 1, 3},
	} {
		var asked []string
		c := scripted(t, book(test.accounts, &asked))
		next := test.first
		for account, err := range c.ManagedAccounts.All(t.Context(), test.params) {
			if err != nil || account.ID != strconv.Itoa(next) {
				t.Fatalf("%+v: %v, %v instead of %d", test, account, err, next)
			}
			next++
		}
		if next != max(test.accounts+1, test.first) || len(asked) != test.calls {
			t.Errorf("%+v: ended before %d after %q", test, next, asked)
		}
		for _, query := range asked {
			if test.params.Sort != "" && !strings.Contains(query, "sort=email") {
				t.Errorf("%+v: a page is asked for with %s", test, query)
			}
		}
	}
}

// TestAllAgain wants one range to be good for two loops, and nothing to be fetched
// before the first.
func TestAllAgain(t *testing.T) {
	t.Parallel()
	var asked []string
	c := scripted(t, book(5, &asked))
	all := c.ManagedAccounts.All(t.Context(), client.ManagedAccountList{PageSize: 2})
	if len(asked) != 0 {
		t.Errorf("asked %q before the loop", asked)
	}
	for range 2 {
		n := 0
		for _, err := range all {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 5 {
			t.Errorf("%d accounts", n)
		}
	}
}

func TestAllBreak(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ after, calls int }{{1, 1}, {2, 1}, {3, 2}, {4, 2}} {
		var asked []string
		c := scripted(t, book(100, &asked))
		n := 0
		for _, err := range c.ManagedAccounts.All(t.Context(), client.ManagedAccountList{PageSize: 2}) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == test.after {
				break
			}
		}
		if len(asked) != test.calls {
			t.Errorf("break after %d: asked %q", test.after, asked)
		}
	}
}

func TestAllError(t *testing.T) {
	t.Parallel()
	var asked []string
	pages := book(10, &asked)
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("page[number]") == "3" {
			answers(403, "application/json", envelope(`{"code":"10010","title":"Not authorized"}`))(w, r)
			return
		}
		pages(w, r)
	})
	good, bad := 0, 0
	for account, err := range c.ManagedAccounts.All(t.Context(), client.ManagedAccountList{PageSize: 2}) {
		if err != nil {
			bad++
			if account != nil || !errors.Is(err, client.ErrPermissionDenied) {
				t.Errorf("%v %v", account, err)
			}
			continue // who does not look at errors is not kept for ever
		}
		good++
	}
	if good != 4 || bad != 1 {
		t.Errorf("%d accounts, %d errors", good, bad)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for account, err := range c.ManagedAccounts.All(ctx, client.ManagedAccountList{PageSize: 2}) {
		if last = err; err == nil && account.ID == "2" {
			cancel()
		}
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("ended with %v after the context", last)
	}
}

// TestLyingMeta wants every loop to end, whatever a server says.
func TestLyingMeta(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		meta string
		want int
	}{
		{`{}`, 2},
		{``, 2},
		{`null`, 2},
		{`{"total_pages":0,"page_number":1}`, 2},
		{`{"total_pages":-1,"page_number":1}`, 2},
		{`{"total_pages":4}`, 8},                 // no number
		{`{"total_pages":4,"page_number":1}`, 8}, // always the first page
		{`{"total_pages":4,"page_number":0}`, 8},
		{`{"total_pages":4,"page_number":9}`, 8},
		{`{"total_pages":1000000}`, 20}, // more than there is: an empty page ends
	} {
		calls := 0
		c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
			text := list(test.meta, "a", "b")
			if calls++; calls > 11 {
				t.Errorf("meta %s: asked %d times", test.meta, calls)
				w.WriteHeader(400)
				return
			}
			if calls > 10 {
				text = list(test.meta)
			}
			answers(200, "application/json", text)(w, r)
		})
		n := 0
		for _, err := range c.ManagedAccounts.All(t.Context(), client.ManagedAccountList{}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != test.want {
			t.Errorf("meta %s: %d items, not %d", test.meta, n, test.want)
		}
	}
	for _, body := range []string{`{}`, `{"data":null}`, `null`, `{"data":[],"meta":{"total_pages":9,"page_number":1}}`} {
		c := scripted(t, answers(200, "application/json", body))
		for account, err := range c.ManagedAccounts.All(t.Context(), client.ManagedAccountList{}) {
			t.Errorf("%s: %v %v", body, account, err)
		}
	}
}

// TestPages goes page by page.
func TestPages(t *testing.T) {
	t.Parallel()
	var asked []string
	c := scripted(t, book(5, &asked))
	page, err := c.ManagedAccounts.List(t.Context(), client.ManagedAccountList{PageSize: 2, PageNumber: 2})
	if err != nil || page.Data[0].ID != "3" || !page.HasNext() || page.Meta.TotalResults != 5 {
		t.Fatalf("%+v %v", page, err)
	}
	last, err := page.Next(t.Context())
	if err != nil || len(last.Data) != 1 || last.Data[0].ID != "5" || last.HasNext() {
		t.Fatalf("%+v %v", last, err)
	}
	if again, err := page.Next(t.Context()); err != nil || again.Data[0].ID != "5" {
		t.Errorf("the same page again: %+v %v", again, err)
	}
	if none, err := last.Next(t.Context()); none != nil || err != nil {
		t.Errorf("after the last: %+v %v", none, err)
	}
	want := []string{"page%5Bnumber%5D=2&page%5Bsize%5D=2", "page%5Bnumber%5D=3&page%5Bsize%5D=2", "page%5Bnumber%5D=3&page%5Bsize%5D=2"}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
}

// TestAllOfRealServer pages through a real server's users and accounts.
func TestAllOfRealServer(t *testing.T) {
	t.Parallel()
	eachServer(t, testAllOfRealServer)
}

func testAllOfRealServer(t *testing.T, s *server) {
	c := s.client(t)
	for i := range 7 {
		if _, err := c.ManagedAccounts.Create(t.Context(), client.ManagedAccountCreate{BusinessName: fmt.Sprint("Number ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int64{0, 1, 3, 5, 10, 250} {
		seen := map[string]bool{}
		for account, err := range c.ManagedAccounts.All(t.Context(), client.ManagedAccountList{PageSize: size, Sort: "email"}) {
			if err != nil {
				t.Fatal(err)
			}
			seen[account.ID] = true
		}
		users := 0
		for _, err := range c.OrganizationUsers.All(t.Context(), client.OrganizationUserList{PageSize: size}) {
			if err != nil {
				t.Fatal(err)
			}
			users++
		}
		if len(seen) != 10 || users != 4 {
			t.Errorf("pages of %d: %d accounts, %d users", size, len(seen), users)
		}
	}
}
