package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

// The exit codes; docs/cli.md promises them.
const (
	exitOK          = 0
	exitFailed      = 1 // anything that has no code of its own
	exitUsage       = 2 // wrong usage or set-up: nothing was sent
	exitNotFound    = 3 // 404
	exitRefused     = 4 // 400, 401, 403, 409, 422 and their like; a decision to deny
	exitRateLimited = 5 // 429
	exitNetwork     = 6 // no answer, or none in time
	exitPartly      = 7 // a bulk run in which some rows failed or are left
)

var kinds = map[int]string{
	exitFailed: "failed", exitUsage: "usage", exitNotFound: "not_found", exitRefused: "refused",
	exitRateLimited: "rate_limited", exitNetwork: "network", exitPartly: "partly_failed",
}

// usageError is a mistake of whoever typed the command.
type usageError struct{ text, hint string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, values ...any) error {
	return &usageError{text: fmt.Sprintf(format, values...)}
}

// partlyError is the end of a bulk run that did not do everything.
type partlyError struct{ text string }

func (e *partlyError) Error() string { return e.text }

// exitCode is what the shell is told of an error.
func exitCode(err error) int {
	var usage *usageError
	var partly *partlyError
	var call *client.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errDenied):
		return exitRefused
	case errors.As(err, &partly):
		return exitPartly
	case errors.Is(err, context.Canceled) || !errors.As(err, &call):
		return exitFailed
	case errors.Is(err, client.ErrNotFound):
		return exitNotFound
	case errors.Is(err, client.ErrRateLimited):
		return exitRateLimited
	case errors.Is(err, client.ErrTimeout), errors.Is(err, client.ErrConnection):
		return exitNetwork
	case call.StatusCode >= 400 && call.StatusCode < 500:
		return exitRefused
	}
	return exitFailed
}

// hintOf is where to go on after an error, "" when that is plain.
func hintOf(err error) string {
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		return usage.hint
	case errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, client.ErrAuthentication), errors.Is(err, client.ErrPermissionDenied), exitCode(err) == exitNetwork:
		return "Try: tenantry doctor"
	}
	return ""
}

// failure is an error as JSON.
type failure struct {
	Message      string      `json:"message"`
	Kind         string      `json:"kind"`
	ExitCode     int         `json:"exit_code"`
	Status       int         `json:"status,omitempty"`
	RequestID    string      `json:"request_id,omitempty"`
	RetryAfterMS int64       `json:"retry_after_ms,omitempty"`
	Errors       []api.Error `json:"errors,omitempty"`
}

// report says on standard error what went wrong and returns the exit code.
func (t *Terminal) report(err error) int {
	code := exitCode(err)
	if errors.Is(err, errDenied) {
		return code
	}
	if t.json {
		f := failure{Message: err.Error(), Kind: kinds[code], ExitCode: code}
		var call *client.Error
		if errors.As(err, &call) {
			f.Status, f.RequestID, f.RetryAfterMS, f.Errors = call.StatusCode, call.RequestID, call.RetryAfter.Milliseconds(), call.Errors
		}
		e := json.NewEncoder(t.Err)
		e.SetEscapeHTML(false)
		e.Encode(map[string]failure{"error": f})
		return code
	}
	text := plain(err.Error())
	if errors.Is(err, context.Canceled) {
		text = "interrupted"
	}
	fmt.Fprintln(t.Err, t.paint(t.Err, red, "tenantry:"), text)
	if hint := hintOf(err); hint != "" {
		fmt.Fprintln(t.Err, hint)
	}
	return code
}
