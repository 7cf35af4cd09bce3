package carrier

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tenantry/tenantry/internal/tenant"
)

// Gateway hands messages over to an HTTP server of the operator's.
type Gateway struct {
	address, token string
	http           *http.Client
	log            *slog.Logger
	// timeout is how long it may take to answer.
	timeout time.Duration
	// state is how it went last: what changes is logged.
	state atomic.Pointer[string]
}

const (
	// gatewayTime is how long a gateway may take.
	gatewayTime = 5 * time.Second
	// mostAnswer is how much is read of an answer, in bytes.
	mostAnswer = 64 << 10
	// mostReason is how much of a reason is kept, in characters.
	mostReason = 200
)

// NewGateway makes one that sends to address, with a bearer token if it is not "".
func NewGateway(address, token string, log *slog.Logger) *Gateway {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: gatewayTime / 2}).DialContext,
		TLSHandshakeTimeout: gatewayTime / 2,
		MaxIdleConnsPerHost: mostBusy, IdleConnTimeout: time.Minute,
		MaxResponseHeaderBytes: mostAnswer,
	}
	return &Gateway{address: address, token: token, log: log, timeout: gatewayTime, http: &http.Client{
		Transport: transport,
		// It would turn a POST into a GET, and show the token to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// gatewayMessage is what the gateway gets.
type gatewayMessage struct {
	ID        string `json:"id"`
	AccountID string `json:"account_id"`
	tenant.MessageContent
	ReceivedAt time.Time `json:"received_at"`
}

// HandOver sends the message once. What does not reach the gateway, and what it answers
// with 502, 503 or 504, is to be sent again; what it may have taken, and did not say in
// time, is not.
func (g *Gateway) HandOver(ctx context.Context, m *tenant.Message) Outcome {
	if m.Status != tenant.MessageQueued { // the sandbox had it, before there was a gateway
		return Outcome{Status: tenant.MessageUnconfirmed, Failure: tenant.FailureNoAnswer}
	}
	again := Outcome{Status: tenant.MessageQueued, Again: backoff(m.Attempts)}
	ctx, stop := context.WithTimeout(ctx, g.timeout)
	defer stop()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	body, err := json.Marshal(gatewayMessage{ID: m.ID, AccountID: m.AccountID, MessageContent: m.MessageContent, ReceivedAt: m.ReceivedAt})
	if err != nil {
		return g.note(again, "it cannot be encoded", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.address, bytes.NewReader(body))
	if err != nil {
		return g.note(again, "it cannot be asked", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "tenantry")
	request.Header.Set("Idempotency-Key", m.ID)
	if g.token != "" {
		request.Header.Set("Authorization", "Bearer "+g.token)
	}
	answer, err := g.http.Do(request)
	if err != nil {
		var inURL *url.Error
		if errors.As(err, &inURL) {
			err = inURL.Err // the URL may have a secret in it
		}
		if sent.Load() && ctx.Err() != nil {
			return g.note(Outcome{Status: tenant.MessageUnconfirmed, Failure: tenant.FailureNoAnswer}, "it does not answer in time", nil)
		}
		return g.note(again, "it cannot be reached", err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, mostAnswer)) // what is missing is a reason less
	switch status := answer.StatusCode; {
	case status >= 200 && status < 300:
		return g.note(Outcome{Status: tenant.MessageSent}, "", nil)
	case status == 502 || status == 503 || status == 504:
		return g.note(again, fmt.Sprintf("it answers %d", status), nil)
	default:
		trouble := "" // to refuse a message is its business, any other refusal is about us
		if status < 400 || status == 401 || status == 403 || status == 404 || status >= 500 {
			trouble = fmt.Sprintf("it answers %d", status)
		}
		return g.note(Outcome{Status: tenant.MessageRefused, Failure: tenant.FailureRejected, Reason: reason(text)}, trouble, nil)
	}
}

// note logs how it went when it went otherwise than before.
func (g *Gateway) note(o Outcome, trouble string, err error) Outcome {
	before := g.state.Swap(&trouble)
	switch {
	case trouble == "" && before != nil && *before != "":
		g.log.Info("the message gateway takes messages again")
	case trouble != "" && (before == nil || *before != trouble):
		g.log.Warn("the message gateway: "+trouble, "error", err)
	}
	return o
}

// reason is what a gateway says of a refusal, in the form of the API's own errors or as
// "detail": one line, without what a terminal would obey. "" when it says nothing.
func reason(text []byte) string {
	var refusal struct {
		Detail string `json:"detail"`
		Errors []struct {
			Title  string `json:"title"`
			Detail string `json:"detail"`
		} `json:"errors"`
	}
	if json.Unmarshal(text, &refusal) != nil {
		return ""
	}
	said := refusal.Detail
	if said == "" && len(refusal.Errors) > 0 {
		said = cmp.Or(refusal.Errors[0].Detail, refusal.Errors[0].Title)
	}
	said = strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, said))
	if characters := []rune(said); len(characters) > mostReason {
		said = string(characters[:mostReason-1]) + "…"
	}
	return said
}
