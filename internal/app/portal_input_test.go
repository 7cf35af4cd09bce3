package app_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/portal"
	"github.com/tenantry/tenantry/internal/store"
)

// entries tell how many entries there are in the audit logs of everybody in peopled.
func (s *server) entries(t *testing.T) (numbers []int64) {
	t.Helper()
	if err := s.app.DB.View(t.Context(), func(tx *store.Tx) error {
		for _, id := range []string{managerID, plainID, rivalID, managedID} {
			_, last, err := tx.AuditRange(id, time.Time{}, time.Time{})
			if err != nil {
				return err
			}
			numbers = append(numbers, last)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return numbers
}

// explained reports whether a refusal says what is wrong.
func (r reply) explained() bool {
	return wrongs[0].Match(r.body) || r.StatusCode == 410 || strings.Contains(string(r.body), "<h1>"+http.StatusText(r.StatusCode)+"</h1>")
}

// TestPortalForms sends every form with something wrong in each of its fields: it is
// taken, or refused with a word about it and without a trace.
func TestPortalForms(t *testing.T) {
	t.Parallel()
	spoilt := []struct {
		name  string
		spoil func(form url.Values, field string)
		// never says that no form is good with it.
		never bool
	}{
		{"missing", func(f url.Values, field string) { f.Del(field) }, false},
		{"empty", func(f url.Values, field string) { f.Set(field, "") }, false},
		{"blank", func(f url.Values, field string) { f.Set(field, " \t\n\u00a0") }, false},
		{"NUL", func(f url.Values, field string) { f.Set(field, f.Get(field)+"\x00") }, true},
		{"NUL alone", func(f url.Values, field string) { f.Set(field, "\x00") }, true},
		{"not UTF-8", func(f url.Values, field string) { f.Set(field, "\xff\xfe"+f.Get(field)) }, false},
		{"control characters", func(f url.Values, field string) { f.Set(field, "a\x07\x1b[31m\u202eb") }, false},
		{"long", func(f url.Values, field string) { f.Set(field, strings.Repeat("x", 256)) }, false},
		{"longer", func(f url.Values, field string) { f.Set(field, strings.Repeat("9", 20_000)) }, false},
		{"longer than it was", func(f url.Values, field string) { f.Set(field, f.Get(field)+strings.Repeat("x", 5000)) }, false},
		{"twice", func(f url.Values, field string) { f[field] = append(f[field], f.Get(field)+"2") }, false},
		{"a hundred times", func(f url.Values, field string) { f[field] = slices.Repeat(f[field], 100) }, false},
		{"negative", func(f url.Values, field string) { f.Set(field, "-1") }, false},
		{"endless", func(f url.Values, field string) { f.Set(field, "1e309") }, false},
		{"beyond 64 bits", func(f url.Values, field string) { f.Set(field, "9223372036854775808") }, false},
		{"another's", func(f url.Values, field string) { f.Set(field, "spy@example.net") }, false},
		{"more of them", func(f url.Values, field string) {
			for i := range 200 {
				f.Add("id", fmt.Sprint(i))
			}
			f.Set(field, strings.Repeat("x\n", 2000))
		}, false},
	}
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		var routes []portal.Route
		for _, route := range portal.Routes {
			if strings.HasPrefix(route.Pattern, "POST ") {
				routes = append(routes, route)
			}
		}
		// What ends sessions comes last, and very last what ends an account.
		late := func(r portal.Route) int {
			return slices.Index([]string{
				"POST /portal/operator/accounts/{id}/block", "POST /portal/operator/accounts/{id}/cancel",
				"POST /portal/forgot-password", // whose traces come later
			}, r.Pattern)
		}
		slices.SortStableFunc(routes, func(a, b portal.Route) int { return late(a) - late(b) })
		refused := 0
		for _, route := range routes {
			r := roleNamed("owner")
			switch {
			case route.Need == "anybody":
				r = roleNamed("nobody")
			case route.Need == "operator":
				r = roleNamed("operator")
			case outcome(t, route.Need, r) != "let in":
				r = roleNamed("manager")
			}
			_, path, body := s.asked(t, route, r)
			if home := map[bool]string{true: "/portal/operator", false: "/portal/"}[r.name == "operator"]; r.name != "nobody" && s.visitorAs(r).get(t, home).StatusCode != 200 {
				t.Fatalf("%s: %s is not signed in any more", route.Pattern, r.name)
			}
			send := func(name string, never bool, body string) {
				t.Helper()
				before := s.entries(t)
				v := s.visitorAs(r)
				v.shown = []string{s.keys["larry@example.com"], s.tokens["larry@example.com"]}
				got := v.do(t, "POST", path, "application/x-www-form-urlencoded", body)
				if got.StatusCode < 400 {
					if never {
						t.Errorf("%s, %s: it is taken (%d)", route.Pattern, name, got.StatusCode)
					}
					return
				}
				refused++
				if !got.explained() {
					t.Errorf("%s, %s: %d without a word", route.Pattern, name, got.StatusCode)
				}
				// The log tells of a lock, which is what failures come to, and of mails.
				if after := s.entries(t); !slices.Equal(after, before) && !strings.Contains(path, "sign-in") && !strings.Contains(path, "profile") && !strings.Contains(path, "forgot") {
					t.Errorf("%s, %s: %d, and it left traces", route.Pattern, name, got.StatusCode)
				}
			}
			send("not a form", true, body+"&%zz=%")
			send("huge", true, body+"&x="+strings.Repeat("x", 300<<10))
			form, err := url.ParseQuery(body)
			if err != nil {
				t.Fatal(err)
			}
			for field := range form {
				for _, bad := range spoilt {
					form, _ := url.ParseQuery(body)
					bad.spoil(form, field)
					send(field+" "+bad.name, bad.never, form.Encode())
				}
			}
		}
		if refused < 300 {
			t.Errorf("only %d forms were refused", refused)
		}
	})
}

// TestPortalQueries asks every page for nonsense in each of the parameters that pages
// have: it is passed over, or refused with a word about it.
func TestPortalQueries(t *testing.T) {
	t.Parallel()
	parameters := []string{"page", "size", "q", "status", "sort", "from", "after", "before", "event", "user", "resource", "next", "token", "organization", "code", "state", "error", "error_description"}
	values := []string{
		"0", "-1", "1000000000000000000", "1099511627775", "9223372036854775807", "1e18", "text", "", "%00", "a%00b", "%ff", "%ed%a0%80", "%e2%80%ae", "'%22%3E%3Cscript%3E", "1.1", "-1.-1",
		"9223372036854775807.9223372036854775807", "2026-01-31", "0000-00-00", "9999-12-31", "0001-01-01", "%25%5f%5c", "all", "a%20b%20c", strings.Repeat("x", 6000), strings.Repeat("%20", 600),
	}
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		before := s.entries(t)
		for _, route := range portal.Routes {
			if !strings.HasPrefix(route.Pattern, "GET ") {
				continue
			}
			r := roleNamed("manager")
			if route.Need == "operator" {
				r = roleNamed("operator")
			}
			_, path, _ := s.asked(t, route, r)
			ask := func(query string) {
				t.Helper()
				got := s.visitorAs(r).get(t, path+"?"+query)
				if got.StatusCode >= 400 && !got.explained() {
					t.Errorf("%s?%.100s: %d without a word", path, query, got.StatusCode)
				}
			}
			for _, value := range values {
				if len(value) > 1000 {
					ask("q=" + value)
					ask("user=" + value + "&from=3")
					ask("organization=" + value)
					continue
				}
				var all []string
				for _, name := range parameters {
					all = append(all, name+"="+value)
				}
				ask(strings.Join(all, "&"))
			}
			for _, query := range []string{"%zz", "a;b", "page=1&page=2", "page[number]=2", "page%5Bsize%5D=0", "&&&=", strings.Repeat("a=b&", 2000)} {
				ask(query)
			}
			// Something that is right beside what is not.
			for _, page := range []string{"0", "-1", "text", "1e18", "99999999999", "2"} {
				for _, size := range []string{"1", "0", "251", "text"} {
					ask("page=" + page + "&size=" + size)
				}
			}
		}
		if after := s.entries(t); !slices.Equal(after, before) {
			t.Error("looking at pages left traces")
		}
	})
}
