// Package client is a light Go client for Tenantry.
//
// It needs the standard library and package api alone. Requests that fail for a
// reason that may pass are sent again, with an idempotency key where a repeat
// could do harm.
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
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/api"
)

// Client calls one server with one key. It is safe for concurrent use.
type Client struct {
	base    string
	key     string
	http    *http.Client
	retries int
	pause   time.Duration
}

// Option changes a Client.
type Option func(*Client)

// WithBaseURL sets the address of the API, such as http://127.0.0.1:8077/v2.
func WithBaseURL(base string) Option { return func(c *Client) { c.base = base } }

// WithKey sets the key that is sent as a bearer token.
func WithKey(key string) Option { return func(c *Client) { c.key = key } }

// WithHTTPClient sets what sends the requests.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithRetries sets how often a request is sent again; the default is 2.
func WithRetries(n int) Option { return func(c *Client) { c.retries = n } }

// New makes a client. Without options it reads TELNYX_BASE_URL and
// TELNYX_API_KEY.
func New(options ...Option) *Client {
	c := &Client{
		base: os.Getenv("TELNYX_BASE_URL"), key: os.Getenv("TELNYX_API_KEY"),
		http: &http.Client{Timeout: time.Minute}, retries: 2, pause: 500 * time.Millisecond,
	}
	for _, option := range options {
		option(c)
	}
	if c.base == "" {
		c.base = "https://api.telnyx.com/v2"
	}
	c.base = strings.TrimSuffix(c.base, "/")
	return c
}

// String names the server and never the key.
func (c *Client) String() string { return "client of " + c.base }

// GoString is String, so that %#v tells no more.
func (c *Client) GoString() string { return c.String() }

// Error is a refusal by the server.
type Error struct {
	// StatusCode is the HTTP status.
	StatusCode int
	// Errors says what was wrong; it may be empty when the answer was no JSON.
	Errors []api.Error
	// RequestID is the answer's x-request-id, for the operator.
	RequestID string
}

func (e *Error) Error() string {
	var out strings.Builder
	for i, one := range e.Errors {
		if i > 0 {
			out.WriteString("; ")
		}
		out.WriteString(one.Title)
		if one.Detail != "" && one.Detail != one.Title {
			out.WriteString(": " + one.Detail)
		}
		if s := one.Source; s != nil && s.Parameter != "" {
			out.WriteString(" (" + s.Parameter + ")")
		} else if s != nil && s.Pointer != "" && s.Pointer != "/" {
			out.WriteString(" (" + strings.TrimPrefix(s.Pointer, "/") + ")")
		}
	}
	if out.Len() == 0 {
		out.WriteString(http.StatusText(e.StatusCode))
	}
	return fmt.Sprintf("%s [HTTP %d, request %s]", out.String(), e.StatusCode, e.RequestID)
}

// do sends a request and decodes the answer's data. A nil body sends none.
func do[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (*T, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	answer, err := c.send(ctx, method, path, query, text)
	if err != nil {
		return nil, err
	}
	var value T
	if err := json.Unmarshal(answer, &value); err != nil {
		return nil, fmt.Errorf("the answer to %s %s is not what was expected: %w", method, path, err)
	}
	return &value, nil
}

func (c *Client) send(ctx context.Context, method, path string, query url.Values, body []byte) ([]byte, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	idempotencyKey := ""
	if method == http.MethodPost {
		idempotencyKey = rand.Text()
	}
	for try := 0; ; try++ {
		request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+c.key)
		request.Header.Set("Accept", "application/json")
		request.Header.Set("User-Agent", "tenantry-go")
		request.Header.Set("X-Stainless-Retry-Count", strconv.Itoa(try))
		if body != nil {
			request.Header.Set("Content-Type", "application/json")
		}
		if idempotencyKey != "" {
			request.Header.Set("Idempotency-Key", idempotencyKey)
		}
		answer, header, err := c.once(request)
		var refused *Error
		if err == nil || try >= c.retries || ctx.Err() != nil || errors.As(err, &refused) && !again(refused.StatusCode, header) {
			return answer, err
		}
		select {
		case <-time.After(c.wait(try, header)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// once sends the request a single time.
func (c *Client) once(request *http.Request) ([]byte, http.Header, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, err
	}
	if response.StatusCode >= 300 {
		var wire api.Errors
		json.Unmarshal(answer, &wire) // what is no JSON has no errors to tell
		return nil, response.Header, &Error{response.StatusCode, wire.Errors, response.Header.Get("X-Request-Id")}
	}
	return answer, response.Header, nil
}

func again(status int, header http.Header) bool {
	switch header.Get("X-Should-Retry") {
	case "true":
		return true
	case "false":
		return false
	}
	return status == 408 || status == 409 || status == 429 || status >= 500
}

// wait is how long to wait: as the server says, or longer each time.
func (c *Client) wait(try int, header http.Header) time.Duration {
	if ms, err := strconv.ParseFloat(header.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 && ms <= 60_000 {
		return time.Duration(ms * float64(time.Millisecond))
	}
	if s, err := strconv.ParseFloat(header.Get("Retry-After"), 64); err == nil && s >= 0 && s <= 60 {
		return time.Duration(s * float64(time.Second))
	}
	longest := min(8*time.Second, time.Duration(float64(c.pause)*math.Pow(2, float64(try))))
	return longest - time.Duration(mathrand.Int64N(int64(longest)/4+1))
}
