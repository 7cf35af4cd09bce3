package httpapi

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

// query is the query string, taken apart parameter by parameter. What is wrong
// is gathered; whoever has asked for all parameters then asks done.
type query struct {
	values url.Values
	asked  map[string]bool
	errs   []error
}

// listFamilies are the parameters of which an unknown member is an error:
// passing over a misspelt filter would answer with everything.
var listFamilies = []string{"filter", "page", "sort", "include_", "number"}

// query reads the query string. Ruby SDKs before 5.51.1 printed nested
// parameters as Ruby writes a hash: those are spread into bracket names.
func (c *call) query() *query { return parseQuery(c.URL.RawQuery) }

func parseQuery(raw string) *query {
	q := &query{asked: map[string]bool{}}
	values, err := url.ParseQuery(raw)
	if err != nil {
		q.errs = append(q.errs, tenant.Refuse(tenant.Malformed, "The query string is not well-formed."))
		values = url.Values{}
	}
	q.values = url.Values{}
	for name, list := range values {
		for _, value := range list {
			if !utf8.ValidString(name) || !utf8.ValidString(value) || strings.ContainsRune(name+value, 0) {
				q.refuse(tenant.BadEncoding, strings.ToValidUTF8(name, "?"), "Must be UTF-8 without NUL.")
				continue
			}
			if (name == "filter" || name == "page") && strings.HasPrefix(value, "{") {
				if err := spreadHash(name, value, q.values); err != nil {
					q.refuse(tenant.Malformed, name, "Must be given as "+name+"[…]=…")
				}
				continue
			}
			q.values.Add(name, value)
		}
	}
	return q
}

func (q *query) refuse(kind tenant.Kind, parameter, detail string) {
	q.errs = append(q.errs, tenant.RefuseParameter(kind, parameter, detail))
}

// text is the value of a parameter. Given twice with different values it is
// refused, as is an empty one.
func (q *query) text(name string) (string, bool) {
	q.asked[name] = true
	list := q.values[name]
	if len(list) == 0 {
		return "", false
	}
	for _, value := range list[1:] {
		if value != list[0] {
			q.refuse(tenant.Malformed, name, "Must be given once.")
			return "", false
		}
	}
	if list[0] == "" {
		q.refuse(tenant.Missing, name, "Must not be empty.")
		return "", false
	}
	return list[0], true
}

// contains is a search term of at least least characters, or "".
func (q *query) contains(name string, least int) string {
	value, ok := q.text(name)
	if ok && utf8.RuneCountInString(value) < least {
		q.refuse(tenant.OutOfRange, name, fmt.Sprintf("Must have at least %d characters.", least))
		return ""
	}
	return value
}

// enum is one of the values, or "".
func (q *query) enum(name string, values ...string) string {
	value, ok := q.text(name)
	if ok && !slices.Contains(values, value) {
		q.refuse(tenant.NotEnumerated, name, "Must be one of "+strings.Join(values, ", ")+".")
		return ""
	}
	return value
}

func (q *query) flag(name string) bool {
	value, ok := q.text(name)
	if ok && value != "true" && value != "false" {
		q.refuse(tenant.WrongType, name, "Must be true or false.")
	}
	return value == "true"
}

// time is a moment in any of the spellings that the SDKs send.
func (q *query) time(name string) time.Time {
	value, ok := q.text(name)
	if !ok {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05 MST", "2006-01-02 15:04:05 -0700", "2006-01-02T15:04:05", time.DateOnly} {
		// Only UTC has a name that says how far away it is.
		if t, err := time.Parse(layout, value); err == nil && (!strings.HasSuffix(layout, "MST") || strings.HasSuffix(value, "UTC") || strings.HasSuffix(value, "GMT")) {
			return t.UTC()
		}
	}
	q.refuse(tenant.WrongType, name, "Must be a moment such as 2026-01-31T12:00:00Z.")
	return time.Time{}
}

// whole is a number from least to most in the first of the names that is given.
func (q *query) whole(name string, least, most int64) (int64, bool) {
	value, ok := q.text(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		q.refuse(tenant.WrongType, name, "Must be a whole number.")
	case n < least || n > most:
		q.refuse(tenant.OutOfRange, name, fmt.Sprintf("Must be from %d to %d.", least, most))
	default:
		return n, true
	}
	return 0, false
}

const (
	mostPerPage = 250
	lastPage    = 1<<53 - 1
)

// page reads which page is asked for, in every spelling the SDKs have had. When
// several are there the largest number counts: the pager's own comes beside the
// one that the user started from and is always later.
func (q *query) page(c *call, size int64) service.Page {
	p := service.Page{Number: 1, Size: size, Reader: c.actor.CredentialID, Client: c.RemoteAddr, Retry: c.try() > 0}
	for _, name := range []string{"page[number]", "page_number", "number"} {
		q.last(name)
		if n, ok := q.whole(name, 1, lastPage); ok {
			p.Number = max(p.Number, n)
		}
	}
	// The last spelling read wins: page[size] before page_size.
	for _, name := range []string{"page_size", "page[size]"} {
		if n, ok := q.whole(name, 1, mostPerPage); ok {
			p.Size = n
		}
	}
	return p
}

// last keeps the largest of a repeated number.
func (q *query) last(name string) {
	list := q.values[name]
	if len(list) < 2 {
		return
	}
	best := list[0]
	for _, value := range list[1:] {
		a, errA := strconv.ParseInt(best, 10, 64)
		b, errB := strconv.ParseInt(value, 10, 64)
		if errB != nil || errA == nil && b > a {
			best = value
		}
	}
	q.values[name] = []string{best}
}

// done refuses what was found wrong, and members of the list families that
// nobody asked for.
func (q *query) done() error {
	var unknown []string
	for name := range q.values {
		if !q.asked[name] && slices.ContainsFunc(listFamilies, func(family string) bool { return strings.HasPrefix(name, family) }) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		q.refuse(tenant.Malformed, name, "There is no such parameter here.")
	}
	return errors.Join(q.errs...)
}
