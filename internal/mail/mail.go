// Package mail sends plain mails to people.
package mail

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Message is a mail of plain text.
type Message struct {
	// To is one bare address.
	To string
	// Subject is one line.
	Subject string
	Text    string
}

// Check refuses what would not be one mail to one person. The error is Permanent.
func (m Message) Check() error {
	for name, text := range map[string]string{"recipient": m.To, "subject": m.Subject} {
		if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 }) {
			return Permanent(fmt.Errorf("the %s of a mail is empty or has a line break in it", name))
		}
	}
	if strings.ContainsAny(m.To, " ,;<>") {
		return Permanent(errors.New("the recipient of a mail is not one bare address"))
	}
	return nil
}

// Sender sends mails. It is safe for concurrent use.
type Sender interface {
	// Send returns nil once somebody else has taken charge of the mail. An error that
	// IsPermanent will come again.
	Send(ctx context.Context, m Message) error
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error that no other try will mend.
func Permanent(err error) error { return permanent{err} }

// IsPermanent reports whether another try is of no use.
func IsPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}

// Kept is a mail that nobody sent.
type Kept struct {
	Message
	At time.Time
}

// mostKept is how many mails a Memory has.
const mostKept = 100

// Memory is a Sender that keeps the last 100 mails, to be looked at.
type Memory struct {
	mu   sync.Mutex
	kept []Kept
}

// Send keeps the mail.
func (k *Memory) Send(_ context.Context, m Message) error {
	if err := m.Check(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.kept) == mostKept {
		k.kept = append(k.kept[:0], k.kept[1:]...)
	}
	k.kept = append(k.kept, Kept{m, time.Now().UTC()})
	return nil
}

// Mails are those it has, the newest first.
func (k *Memory) Mails() []Kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	mails := make([]Kept, 0, len(k.kept))
	for i := len(k.kept) - 1; i >= 0; i-- {
		mails = append(mails, k.kept[i])
	}
	return mails
}
