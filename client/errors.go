package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tenantry/tenantry/api"
)

// What errors.Is finds in an *Error.
var (
	ErrBadRequest       = errors.New("bad request")                 // 400
	ErrAuthentication   = errors.New("authentication failed")       // 401
	ErrPermissionDenied = errors.New("permission denied")           // 403
	ErrNotFound         = errors.New("not found")                   // 404
	ErrConflict         = errors.New("conflict")                    // 409
	ErrUnprocessable    = errors.New("unprocessable")               // 422
	ErrRateLimited      = errors.New("rate limited")                // 429
	ErrServer           = errors.New("server error")                // 500 and above
	ErrConnection       = errors.New("no connection to the server") // nothing was answered
	ErrTimeout          = errors.New("timed out")                   // nothing was answered in time, or 408
)

// Error is why a call failed: a refusal by the server, no whole answer (then
// StatusCode is 0), or an answer that is none of the API's (then it is 200). What
// cannot be sent, such as an empty id, is an error of another type.
type Error struct {
	// Operation is what was tried, such as "create managed account".
	Operation string
	// StatusCode is the HTTP status, 0 when there was no whole answer.
	StatusCode int
	// Errors says what was wrong; empty when the answer was not the API's.
	Errors []api.Error
	// RequestID is the answer's x-request-id, for the operator.
	RequestID string
	// RetryAfter is how long the server wants to be left alone, 0 when it did not
	// say.
	RetryAfter time.Duration

	why   string // why there is no answer, "" when the server cannot be reached
	cause error
}

// What why says.
const (
	brokeOff   = "the answer broke off"
	unexpected = "the answer is not what was expected"
)

// givenUp is err, and why there was no other try after it.
func givenUp(err, cause error) error {
	e, ok := err.(*Error)
	switch {
	case !ok:
	case e.cause == nil:
		e.cause = cause
	default:
		e.cause = fmt.Errorf("%w (%w)", e.cause, cause)
	}
	return err
}

// Code is the first of the vendor's codes, "" when there is none.
func (e *Error) Code() string {
	if len(e.Errors) == 0 {
		return ""
	}
	return e.Errors[0].Code
}

// Error reads like a sentence: what was tried, why it failed, and where to look.
func (e *Error) Error() string {
	if e.StatusCode == 0 {
		why := cmp.Or(e.why, "the server cannot be reached")
		if errors.Is(e.cause, context.Canceled) {
			why = "cancelled"
		} else if errors.Is(e, ErrTimeout) {
			why = "the server did not answer in time"
		}
		return fmt.Sprintf("%s: %s: %v", e.Operation, why, e.cause)
	}
	var reasons, notes []string
	for _, one := range e.Errors {
		reason := strings.TrimSuffix(one.Detail, ".")
		if reason = cmp.Or(reason, one.Title); reason == "" {
			continue
		}
		if s := one.Source; s != nil && s.Parameter != "" && s.Parameter != "Authorization" {
			reason = s.Parameter + ": " + reason
		} else if s != nil && len(s.Pointer) > 1 {
			reason = s.Pointer[1:] + ": " + reason
		}
		reasons = append(reasons, reason)
	}
	if e.why != "" {
		reasons = []string{fmt.Sprintf("%s: %v", e.why, e.cause)}
	} else if len(reasons) == 0 {
		reasons = []string{cmp.Or(strings.ToLower(http.StatusText(e.StatusCode)), "the server refuses")}
	}
	notes = append(notes, fmt.Sprintf("HTTP %d", e.StatusCode))
	if code := e.Code(); code != "" {
		notes = append(notes, "code "+code)
	}
	if e.RequestID != "" {
		notes = append(notes, "request "+e.RequestID)
	}
	return fmt.Sprintf("%s: %s (%s)", e.Operation, strings.Join(reasons, "; "), strings.Join(notes, ", "))
}

// Unwrap is what the network said when there was no answer.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether the error is of the kind of one of the Err values.
func (e *Error) Is(kind error) bool {
	switch kind {
	case ErrBadRequest:
		return e.StatusCode == 400
	case ErrAuthentication:
		return e.StatusCode == 401
	case ErrPermissionDenied:
		return e.StatusCode == 403
	case ErrNotFound:
		return e.StatusCode == 404
	case ErrConflict:
		return e.StatusCode == 409
	case ErrUnprocessable:
		return e.StatusCode == 422
	case ErrRateLimited:
		return e.StatusCode == 429
	case ErrServer:
		return e.StatusCode >= 500
	case ErrConnection:
		return e.StatusCode == 0 && !errors.Is(e.cause, context.Canceled)
	case ErrTimeout:
		var network net.Error
		return e.StatusCode == 408 || e.StatusCode == 0 &&
			(errors.Is(e.cause, context.DeadlineExceeded) || errors.As(e.cause, &network) && network.Timeout())
	}
	return false
}

// wireErrors are the errors of an answer's text, as far as they can be read. Some
// of the vendor's answers have numbers for codes.
func wireErrors(text []byte) []api.Error {
	var wire struct {
		Errors []struct {
			api.Error
			Code looseText `json:"code"`
		} `json:"errors"`
	}
	var mismatch *json.UnmarshalTypeError
	if err := json.Unmarshal(text, &wire); err != nil && !errors.As(err, &mismatch) {
		return nil
	}
	var all []api.Error
	for _, one := range wire.Errors {
		one.Error.Code = string(one.Code)
		all = append(all, one.Error)
	}
	return all
}

// looseText is a string, or whatever else stands in its place, as it is written.
type looseText string

func (t *looseText) UnmarshalJSON(text []byte) error {
	var s string
	if json.Unmarshal(text, &s) != nil {
		s = string(text)
	}
	*t = looseText(s)
	return nil
}
