package webhook

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/store"
)

// deliver is one round of attempts. It ends before the deadline; once ctx has ended no
// attempt begins.
func (s *Sender) deliver(ctx context.Context, due *store.Due, deadline time.Time) result {
	r := result{due: due}
	event := describe(due)
	for _, target := range s.urls {
		for n := range perURL {
			if n > 0 || len(r.attempts) > 0 {
				select {
				case <-time.After(s.o.Pause << n):
				case <-ctx.Done():
				}
			}
			if ctx.Err() != nil || time.Now().Add(s.o.Timeout).After(deadline) {
				r.stopped = true
				return r
			}
			attempt := s.attempt(event, target, due.Attempts+int64(len(r.attempts))+1)
			r.attempts = append(r.attempts, attempt)
			if attempt.Error == "" {
				r.accepted = true
				return r
			}
			s.o.Counted("refused")
		}
	}
	return r
}

// Test sends an event "webhook.test" to the URL once, and tells what came of it.
func (s *Sender) Test() store.Attempt {
	now := s.db.Source().Now()
	return s.attempt(api.WebhookEventData{
		RecordType: "event", EventType: TestEvent, ID: s.db.Source().NewID(), OccurredAt: api.Time(now),
		Payload: api.WebhookPayload{ChangeMadeBy: "telnyx", ResourceType: "webhook", Changes: []api.AuditChange{}},
	}, s.urls[0], 1)
}

// TestEvent is the type of the event that Test sends.
const TestEvent = "webhook.test"

// describe is what an event says.
func describe(due *store.Due) api.WebhookEventData {
	payload := api.WebhookPayload{
		AccountID: due.AccountID, ManagerAccountID: due.ManagerID, Sequence: due.Number,
		UserID: due.UserID, ChangeMadeBy: due.MadeBy, RequestID: due.RequestID,
		ResourceType: due.ResourceType, ResourceID: due.ResourceID, Changes: []api.AuditChange{},
	}
	for _, f := range due.Changes {
		payload.Changes = append(payload.Changes, api.AuditChange{Field: f.Field, From: f.From, To: f.To})
		if due.Event != "calls.terminate" {
			continue
		}
		// A switch follows the call that it has.
		switch text, _ := f.To.(string); f.Field {
		case "call_id":
			payload.Calls = append(payload.Calls, api.WebhookCall{CallID: text})
		case "switch":
			if n := len(payload.Calls); n > 0 {
				payload.Calls[n-1].Switch = text
			}
		}
	}
	return api.WebhookEventData{
		RecordType: "event", EventType: due.Event, ID: due.ID, OccurredAt: api.Time(due.CreatedAt), Payload: payload,
	}
}

// attempt sends an event once. It does not depend on whether anybody waits: a request
// that was sent is worth its answer.
func (s *Sender) attempt(event api.WebhookEventData, target string, number int64) store.Attempt {
	a := store.Attempt{StartedAt: s.db.Source().Now(), URL: place(target)}
	ctx, stop := context.WithTimeout(context.Background(), s.o.Timeout)
	defer stop()
	var err error
	a.Status, err = s.send(ctx, api.WebhookEvent{Data: event, Meta: api.WebhookEventMeta{Attempt: number, DeliveredTo: target}}, target)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		a.Error = fmt.Sprintf("no answer within %s", s.o.Timeout)
	case err != nil:
		a.Error = short(err)
	case a.Status < 200 || a.Status > 299:
		a.Error = fmt.Sprintf("the answer has status %d", a.Status)
	}
	a.FinishedAt = s.db.Source().Now()
	return a
}

func (s *Sender) send(ctx context.Context, event api.WebhookEvent, target string) (status int, err error) {
	body, err := json.Marshal(event)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "tenantry")
	timestamp := strconv.FormatInt(s.db.Source().Now().Unix(), 10)
	request.Header.Set("Telnyx-Timestamp", timestamp)
	request.Header.Set("Telnyx-Signature-Ed25519", Sign(s.o.Key, timestamp, body))
	response, err := s.o.Client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	// What stands in it does not matter, but once it is read the connection is good for
	// the next. The answer has come, whatever becomes of the rest.
	io.CopyN(io.Discard, response.Body, mostAnswer)
	return response.StatusCode, nil
}

// Sign is the signature of a body that is sent at that time, Unix seconds in decimal.
func Sign(key ed25519.PrivateKey, timestamp string, body []byte) string {
	return base64.StdEncoding.EncodeToString(ed25519.Sign(key, append([]byte(timestamp+"|"), body...)))
}

// place is scheme and host of a URL: paths and queries may be secret.
func place(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// short is what an error says, without the URL, in printable text that is not long:
// a receiver may have a part in it.
func short(err error) string {
	var whole *url.Error
	if errors.As(err, &whole) {
		err = whole.Err
	}
	if dns := new(net.DNSError); errors.As(err, &dns) {
		return "the host is not found"
	}
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, err.Error())
	if letters := []rune(text); len(letters) > 200 {
		text = string(letters[:200])
	}
	return text
}
