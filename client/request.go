package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// request is one call; it may take several tries.
type request struct {
	operation string // what it does, for people
	method    string
	path      string // below the base URL, escaped
	query     url.Values
	body      any // nil for none
	accept    string
}

// idempotencyKeyOf finds a context's idempotency key.
type idempotencyKeyOf struct{}

// WithIdempotencyKey gives the POSTs made with the context this key instead of a
// random one, so that a program that was interrupted can send the same request
// again and have it done once. It is for one request: another one with the same
// key is refused. The key has 1 to 255 characters out of A-Z, a-z, 0-9, - and _.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, idempotencyKeyOf{}, key)
}

// call sends a request and decodes the answer into a T.
func call[T any](ctx context.Context, c *Client, r request) (*T, error) {
	a, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	value := new(T)
	if err := json.Unmarshal(a.text, value); err != nil {
		return nil, &Error{Operation: r.operation, StatusCode: a.status, RequestID: a.header.Get("X-Request-Id"), why: unexpected, cause: err}
	}
	if v, ok := any(value).(interface{ keep([]byte) }); ok {
		v.keep(a.text)
	}
	return value, nil
}

// reply is an answer that is no refusal: its text, or its body for a stream, which
// the caller closes.
type reply struct {
	status int
	header http.Header
	text   []byte
	body   io.ReadCloser
}

// send sends a request until it is answered or there is no use in trying again.
func (c *Client) send(ctx context.Context, r request) (*reply, error) {
	if path := r.path + "/"; strings.Contains(path, "//") || strings.Contains(path, "/./") || strings.Contains(path, "/../") {
		return nil, fmt.Errorf("%s: an id must not be empty or dots: %s", r.operation, r.path)
	}
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("%s: %w", r.operation, err)
		}
	}
	target := c.secrets().base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	idempotencyKey := ""
	if r.method == http.MethodPost {
		if idempotencyKey, _ = ctx.Value(idempotencyKeyOf{}).(string); idempotencyKey == "" {
			idempotencyKey = rand.Text()
		}
	}
	for try := 0; ; try++ {
		a, header, err := c.try(ctx, r, target, body, idempotencyKey)
		if err == nil {
			return a, nil
		}
		if try >= c.retries || ctx.Err() != nil || !mayPass(err, header) {
			return nil, err
		}
		pause := time.NewTimer(wait(try, header))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, givenUp(err, context.Cause(ctx))
		}
	}
}

// try sends a request once. The header is the answer's, nil without one.
func (c *Client) try(ctx context.Context, r request, target string, body []byte, idempotencyKey string) (*reply, http.Header, error) {
	stop := func() {}
	var timer *time.Timer
	if c.timeout > 0 {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		timer = time.AfterFunc(c.timeout, func() { cancel(context.DeadlineExceeded) })
		stop = func() { timer.Stop(); cancel(nil) }
	}
	streams := false
	defer func() {
		if !streams {
			stop()
		}
	}()
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, r.method, target, reader)
	if err != nil || request.URL.Host == "" || request.URL.Scheme != "http" && request.URL.Scheme != "https" {
		// Neither err nor the URL, which may hold what somebody searched for, or a key
		// in the wrong place.
		return nil, nil, fmt.Errorf("%s: the base URL (TELNYX_BASE_URL) has to be like %s", r.operation, DefaultBaseURL)
	}
	header := request.Header
	if s := c.secrets(); s.v1Token != "" {
		header["X-Api-User"], header["X-Api-Token"] = []string{s.v1User}, []string{s.v1Token}
	} else if s.key != "" {
		header["Authorization"] = []string{"Bearer " + s.key}
	}
	header["User-Agent"] = []string{c.userAgent}
	header["Accept"] = []string{r.accept}
	if r.accept == "" {
		header["Accept"] = acceptJSON
	}
	if body != nil {
		header["Content-Type"] = acceptJSON
	}
	if idempotencyKey != "" {
		header["Idempotency-Key"] = []string{idempotencyKey}
	}
	began := time.Now()
	response, err := c.http.Do(request)
	if c.log != nil {
		status := 0
		if response != nil {
			status = response.StatusCode
		}
		c.log.DebugContext(ctx, r.operation, "method", r.method, "path", r.path, "status", status, "took", time.Since(began))
	}
	if err != nil {
		// The URL in it may hold what somebody searched for.
		var inURL *url.Error
		if errors.As(err, &inURL) {
			err = inURL.Err
		}
		return nil, nil, &Error{Operation: r.operation, cause: cmp.Or(context.Cause(ctx), err)}
	}
	a := &reply{status: response.StatusCode, header: response.Header}
	if r.accept != "" && a.status < 300 {
		streams = true
		a.body = &stream{body: response.Body, ctx: ctx, stop: stop, timer: timer, timeout: c.timeout, operation: r.operation}
		if timer != nil {
			timer.Stop()
		}
		return a, a.header, nil
	}
	defer response.Body.Close()
	if a.status >= 300 {
		return nil, a.header, refusal(r.operation, response)
	}
	if a.text, err = readAll(response); err != nil {
		return nil, nil, &Error{Operation: r.operation, why: brokeOff, cause: cmp.Or(context.Cause(ctx), err)}
	}
	return a, a.header, nil
}

var acceptJSON = []string{"application/json"}

// readAll reads the body in one piece when its length is known.
func readAll(response *http.Response) ([]byte, error) {
	if n := response.ContentLength; n > 0 && n < 1<<24 {
		text := make([]byte, n)
		_, err := io.ReadFull(response.Body, text)
		return text, err
	}
	return io.ReadAll(response.Body)
}

// stream is a body that may take longer than the timeout, which bounds each wait
// for more of it.
type stream struct {
	body      io.ReadCloser
	ctx       context.Context // of the try
	stop      func()
	timer     *time.Timer // nil without a timeout
	timeout   time.Duration
	operation string
}

func (s *stream) Read(p []byte) (int, error) {
	if s.timer != nil {
		s.timer.Reset(s.timeout)
		defer s.timer.Stop()
	}
	n, err := s.body.Read(p)
	if err != nil && err != io.EOF {
		err = &Error{Operation: s.operation, why: brokeOff, cause: cmp.Or(context.Cause(s.ctx), err)}
	}
	return n, err
}

func (s *stream) Close() error {
	defer s.stop()
	return s.body.Close()
}

// longestRefusal bounds what is read of an answer that is an error, in bytes.
const longestRefusal = 1 << 20

func refusal(operation string, response *http.Response) *Error {
	e := &Error{Operation: operation, StatusCode: response.StatusCode, RequestID: response.Header.Get("X-Request-Id")}
	e.RetryAfter, _ = asked(response.Header)
	if text, err := io.ReadAll(io.LimitReader(response.Body, longestRefusal)); err == nil {
		e.Errors = wireErrors(text)
	}
	return e
}

// mayPass reports whether the same request may succeed later.
func mayPass(err error, header http.Header) bool {
	switch header.Get("X-Should-Retry") {
	case "true":
		return true
	case "false":
		return false
	}
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	return e.StatusCode == 0 || e.StatusCode == 408 || e.StatusCode == 409 || e.StatusCode == 429 || e.StatusCode >= 500
}

// longestWait is the longest pause that a server may ask for; who asks for more is
// not believed.
const longestWait = time.Minute

// wait is how long to wait before try+1: as the server asks, else half a second
// doubled each time, at most 8 s, less up to a quarter.
func wait(try int, header http.Header) time.Duration {
	if pause, ok := asked(header); ok && pause <= longestWait {
		return pause
	}
	longest := time.Second / 2 << min(try, 4)
	return longest - time.Duration(mathrand.Int64N(int64(longest)/4+1))
}

// asked is the pause that the server asks for: Retry-After-Ms, or Retry-After in
// seconds or as a date.
func asked(header http.Header) (time.Duration, bool) {
	const most = 1 << 33 // milliseconds or seconds that a Duration holds
	after := header.Get("Retry-After")
	if ms, err := strconv.ParseFloat(header.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 && ms < most {
		return time.Duration(ms * float64(time.Millisecond)), true
	}
	if s, err := strconv.ParseFloat(after, 64); err == nil && s >= 0 && s < most {
		return time.Duration(s * float64(time.Second)), true
	}
	at, err := http.ParseTime(after)
	pause := time.Until(at)
	return max(0, pause), err == nil && pause > 0
}
