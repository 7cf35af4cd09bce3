package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/tenantry/tenantry/api"
)

// Fields holds an object of an answer as it came. Embedded in a result it keeps
// what this package does not know within reach.
type Fields struct {
	raw *answer
	at  int // index in a list, -1 for a single object
}

// answer is the whole text, shared by all objects in it, and split when somebody
// asks. It is behind two pointers, where no verb of fmt finds it.
type answer struct{ *text }

type text struct {
	whole   []byte
	split   sync.Once
	objects []json.RawMessage
	err     error
}

// Raw is the object as it came, nil if it did not come from a server.
func (f Fields) Raw() (json.RawMessage, error) {
	if f.raw == nil {
		return nil, nil
	}
	f.raw.split.Do(func() {
		if f.at >= 0 {
			var list struct{ Data []json.RawMessage }
			f.raw.err = json.Unmarshal(f.raw.whole, &list)
			f.raw.objects = list.Data
			return
		}
		var one struct{ Data json.RawMessage }
		f.raw.err = json.Unmarshal(f.raw.whole, &one)
		f.raw.objects = []json.RawMessage{one.Data}
	})
	if f.raw.err != nil {
		return nil, f.raw.err
	}
	return f.raw.objects[max(f.at, 0)], nil
}

// Field decodes one field of the object, by its name on the wire, into into. It
// reports false when the object has no such field.
func (f Fields) Field(name string, into any) (bool, error) {
	raw, err := f.Raw()
	if err != nil || raw == nil {
		return false, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return false, err
	}
	value, ok := object[name]
	if !ok {
		return false, nil
	}
	return true, json.Unmarshal(value, into)
}

// marshal is the object as it came, or else what is known of it.
func (f Fields) marshal(known any) ([]byte, error) {
	if raw, err := f.Raw(); err != nil || raw != nil {
		return raw, err
	}
	return json.Marshal(known)
}

func (f *Fields) keep(raw *answer, at int) { f.raw, f.at = raw, at }

// single is the envelope of one object.
type single[T any] struct {
	Data T `json:"data"`
}

func (s *single[T]) keep(whole []byte) {
	if k, ok := any(&s.Data).(interface{ keep(*answer, int) }); ok {
		k.keep(&answer{&text{whole: whole}}, -1)
	}
}

// Page is one page of a list.
type Page[T any] struct {
	Data []T      `json:"data"`
	Meta api.Meta `json:"meta"`

	number int64 // of the page that was asked for: an answer may lack it
	next   func(context.Context, int64) (*Page[T], error)
}

func (p *Page[T]) keep(whole []byte) {
	raw := &answer{&text{whole: whole}}
	for i := range p.Data {
		if k, ok := any(&p.Data[i]).(interface{ keep(*answer, int) }); ok {
			k.keep(raw, i)
		}
	}
}

// HasNext reports whether another page follows.
func (p *Page[T]) HasNext() bool {
	return len(p.Data) > 0 && p.number < p.Meta.TotalPages
}

// Next fetches the next page; nil without error after the last one.
func (p *Page[T]) Next(ctx context.Context) (*Page[T], error) {
	if !p.HasNext() {
		return nil, nil
	}
	return p.next(ctx, p.number+1)
}

// object fetches one object.
func object[T any](ctx context.Context, c *Client, r request) (*T, error) {
	envelope, err := call[single[T]](ctx, c, r)
	if err != nil {
		return nil, err
	}
	return &envelope.Data, nil
}

// page fetches one page, and knows how to fetch others. number and size of 0 are
// not sent.
func page[T any](ctx context.Context, c *Client, r request, number, size int64) (*Page[T], error) {
	if r.query == nil {
		r.query = url.Values{}
	}
	if number > 0 {
		r.query.Set("page[number]", strconv.FormatInt(number, 10))
	}
	if size > 0 {
		r.query.Set("page[size]", strconv.FormatInt(size, 10))
	}
	p, err := call[Page[T]](ctx, c, r)
	if err != nil {
		return nil, err
	}
	p.number = max(number, 1)
	p.next = func(ctx context.Context, number int64) (*Page[T], error) { return page[T](ctx, c, r, number, size) }
	return p, nil
}

// every goes through all items of all pages from the first. After an error it
// ends.
func every[T any](ctx context.Context, first func() (*Page[T], error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		p, err := first()
		for ; err == nil && p != nil; p, err = p.Next(ctx) {
			for i := range p.Data {
				if !yield(&p.Data[i], nil) {
					return
				}
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// set puts a parameter into a query unless it is "".
func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func pathID(prefix, id string, rest ...string) string {
	return prefix + "/" + url.PathEscape(id) + strings.Join(rest, "")
}
