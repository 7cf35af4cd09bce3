package carrier

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

// The numbers to which the sandbox does not deliver, so that failures can be tried.
const (
	// ToRefused is refused at once.
	ToRefused = "+15005550001"
	// ToUndeliverable is sent, and then not delivered.
	ToUndeliverable = "+15005550002"
	// ToUnconfirmed is where nobody knows.
	ToUnconfirmed = "+15005550003"
	// ToUnreachable is where no carrier can be reached: the message waits, and expires.
	ToUnreachable = "+15005550004"
)

// Sandbox delivers nothing and says that it did: a message is queued, sent a moment
// later, and delivered another moment later.
type Sandbox struct{}

// moment is between two steps.
const moment = time.Second

// HandOver makes the next step.
func (Sandbox) HandOver(_ context.Context, m *tenant.Message) Outcome {
	switch {
	case m.Status == tenant.MessageQueued && m.To == ToRefused:
		return Outcome{Status: tenant.MessageRefused, Failure: tenant.FailureRejected, Reason: "The sandbox refuses what is sent to this number."}
	case m.Status == tenant.MessageQueued && m.To == ToUnreachable:
		return Outcome{Status: tenant.MessageQueued, Again: backoff(m.Attempts)}
	case m.Status == tenant.MessageQueued && m.To == ToUnconfirmed:
		return Outcome{Status: tenant.MessageUnconfirmed, Failure: tenant.FailureNoAnswer}
	case m.Status == tenant.MessageQueued && m.Attempts == 1:
		return Outcome{Status: tenant.MessageQueued, Again: moment}
	case m.Status == tenant.MessageQueued:
		return Outcome{Status: tenant.MessageSent, Again: moment}
	case m.To == ToUndeliverable:
		return Outcome{Status: tenant.MessageUndelivered, Failure: tenant.FailureUndeliverable, Reason: "The sandbox does not deliver to this number."}
	}
	return Outcome{Status: tenant.MessageDelivered}
}
