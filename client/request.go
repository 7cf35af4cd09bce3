package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/api"
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

// call sends a request and decodes the answer into a T.
func call[T any](ctx context.Context, c *Client, r request) (*T, error) {
	response, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := readAll(response)
	if err != nil {
		return nil, &Error{Operation: r.operation, cause: err}
	}
	value := new(T)
	if err := json.Unmarshal(text, value); err != nil {
		return nil, fmt.Errorf("%s: the answer is not what was expected: %w", r.operation, err)
	}
	if v, ok := any(value).(interface{ keep([]byte) }); ok {
		v.keep(text)
	}
	return value, nil
}

// readAll reads the body in one piece when its length is known.
func readAll(response *http.Response) ([]byte, error) {
	if n := response.ContentLength; n > 0 && n < 1<<24 {
		text := make([]byte, n)
		_, err := io.ReadFull(response.Body, text)
		return text, err
	}
	return io.ReadAll(response.Body)
}

// send sends a request until it is answered or there is no use in trying again.
// The caller closes the body of a response without error.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("%s: %w", r.operation, err)
		}
	}
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	idempotencyKey := ""
	if r.method == http.MethodPost {
		idempotencyKey = rand.Text()
	}
	for try := 0; ; try++ {
		response, header, err := c.try(ctx, r, target, body, idempotencyKey)
		if err == nil {
			return response, nil
		}
		if try >= c.retries || ctx.Err() != nil || !mayPass(err, header) {
			return nil, err
		}
		pause := time.NewTimer(wait(try, header))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, err
		}
	}
}

// try sends a request once. The header is the answer's, nil without one.
func (c *Client) try(ctx context.Context, r request, target string, body []byte, idempotencyKey string) (*http.Response, http.Header, error) {
	stop := func() {}
	var timer *time.Timer
	if c.timeout > 0 {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		timer = time.AfterFunc(c.timeout, func() { cancel(context.DeadlineExceeded) })
		stop = func() { timer.Stop(); cancel(nil) }
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, r.method, target, reader)
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("%s: %w", r.operation, err)
	}
	header := request.Header
	if c.v1Token != "" {
		header["X-Api-User"], header["X-Api-Token"] = []string{c.v1User}, []string{c.v1Token}
	} else if c.key != "" {
		header["Authorization"] = []string{"Bearer " + c.key}
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
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		stop()
		// The URL in it may hold what somebody searched for.
		var inURL *url.Error
		if errors.As(err, &inURL) {
			err = inURL.Err
		}
		return nil, nil, &Error{Operation: r.operation, cause: err}
	}
	if response.StatusCode >= 300 {
		defer stop()
		defer response.Body.Close()
		return nil, response.Header, refusal(r.operation, response)
	}
	response.Body = &tryBody{response.Body, stop, timer, r.accept != ""}
	return response, response.Header, nil
}

var acceptJSON = []string{"application/json"}

// tryBody ends the try's timer with the body. A stream may take longer than the
// timer, which then is for the time until it begins.
type tryBody struct {
	io.ReadCloser
	stop   func()
	timer  *time.Timer
	stream bool
}

func (b *tryBody) Read(p []byte) (int, error) {
	if b.stream && b.timer != nil {
		b.timer.Stop()
	}
	return b.ReadCloser.Read(p)
}

func (b *tryBody) Close() error {
	defer b.stop()
	return b.ReadCloser.Close()
}

// longestRefusal bounds what is read of an answer that is an error, in bytes.
const longestRefusal = 1 << 20

func refusal(operation string, response *http.Response) *Error {
	e := &Error{Operation: operation, StatusCode: response.StatusCode, RequestID: response.Header.Get("X-Request-Id")}
	if pause, ok := asked(response.Header); ok {
		e.RetryAfter = pause
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, longestRefusal))
	var wire api.Errors
	if err == nil && json.Unmarshal(text, &wire) == nil {
		e.Errors = wire.Errors
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

// wait is how long to wait before try+1: as the server asks, else half a second
// doubled each time, at most 8 s, less up to a quarter.
func wait(try int, header http.Header) time.Duration {
	if pause, ok := asked(header); ok {
		return pause
	}
	longest := min(8*time.Second, time.Duration(float64(time.Second/2)*math.Pow(2, float64(try))))
	return longest - time.Duration(mathrand.Int64N(int64(longest)/4+1))
}

// longestWait is the longest pause that a server may ask for.
const longestWait = time.Minute

// asked is the pause that the server asks for: Retry-After-Ms, or Retry-After in
// seconds or as a date.
func asked(header http.Header) (time.Duration, bool) {
	pause := time.Duration(-1)
	if ms, err := strconv.ParseFloat(header.Get("Retry-After-Ms"), 64); err == nil && ms < 1e9 {
		pause = time.Duration(ms * float64(time.Millisecond))
	} else if s, err := strconv.ParseFloat(header.Get("Retry-After"), 64); err == nil && s < 1e6 {
		pause = time.Duration(s * float64(time.Second))
	} else if at, err := http.ParseTime(header.Get("Retry-After")); err == nil {
		pause = time.Until(at)
	}
	return pause, pause >= 0 && pause <= longestWait
}
