package tenant

import "time"

const (
	// MaxTries is how often somebody may fail to sign in within TryTime.
	MaxTries = 5
	// MaxTriesFrom is the same for all who come from one address.
	MaxTriesFrom = 50
	// TryTime is how long a failure counts.
	TryTime = 15 * time.Minute

	firstLock   = 5 * time.Minute
	longestLock = 2 * time.Hour
	// A lock makes the next one longer, unless there is none for so long.
	lockMemory = 24 * time.Hour
)

// Tries counts tries to sign in. A try counts as it begins, so that no more of them
// run at the same time than may fail.
type Tries struct {
	// Subject is a keyed hash of whom they are for, or of where they come from.
	Subject     string
	Count       int64
	Since       time.Time
	Locks       int64
	LockedUntil time.Time
}

// Begin counts one more, or refuses it with kind TooMany; most may fail.
func (t Tries) Begin(most int64, now time.Time) (Tries, error) {
	if now.Sub(t.Since) >= TryTime {
		t.Count, t.Since = 0, now
	}
	if now.Before(t.LockedUntil) || t.Count >= most {
		return t, RefuseField(TooMany, "email", "Too many tries. Wait a little.")
	}
	t.Count++
	return t, nil
}

// Failed is what is left of one that Begin counted; the last of those that may fail
// locks, each time for longer, and reports so.
func (t Tries) Failed(most int64, now time.Time) (Tries, bool) {
	if t.Count < most || now.Before(t.LockedUntil) {
		return t, false
	}
	if now.Sub(t.LockedUntil) >= lockMemory {
		t.Locks = 0
	}
	t.LockedUntil = now.Add(min(firstLock<<min(t.Locks, 16), longestLock))
	t.Locks++
	t.Count = 0
	return t, true
}

// Kept is how long there is a reason to remember it.
func (t Tries) Kept() time.Time {
	if t.LockedUntil.After(t.Since) {
		return t.LockedUntil.Add(lockMemory)
	}
	return t.Since.Add(TryTime)
}
