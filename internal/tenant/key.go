package tenant

import (
	"fmt"
	"time"
)

// KeyKind tells the two kinds of credentials apart.
type KeyKind string

// The kinds of credentials.
const (
	// KeyV2 is a bearer key.
	KeyV2 KeyKind = "v2"
	// KeyV1 is the token half of a V1 user and token pair.
	KeyV1 KeyKind = "v1"
)

// Key is one credential. The secret itself is never in it.
type Key struct {
	ID        string
	AccountID string
	// UserID is whom the key acts for; the owner's is the account's id.
	UserID string
	Kind   KeyKind
	// Digest finds the key: a keyed hash of the secret.
	Digest string
	// Sealed is the secret, encrypted under the master key.
	Sealed    string
	CreatedAt time.Time

	// Name is what its user calls a key that was made by hand; "" for the key that
	// came with the account or the user.
	Name string
	// ExpiresAt is zero for a key that never expires.
	ExpiresAt time.Time
	// LastUsedAt is to the hour, zero for never; only keys with a name have it.
	LastUsedAt time.Time
}

// MaxKeys is how many keys that have not expired a user may have made.
const MaxKeys = 20

// MaxOverlap is how long a key may live beside the one that replaces it.
const MaxOverlap = 30 * 24 * time.Hour

// Expired reports whether the key's time is over.
func (k *Key) Expired(now time.Time) bool { return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) }

func (k *Key) fields() []field {
	if k.Name == "" {
		return nil // what it came with has said it all
	}
	expires := "never"
	if !k.ExpiresAt.IsZero() {
		expires = k.ExpiresAt.Format(time.RFC3339)
	}
	return []field{{"api_key.name", k.Name}, {"api_key.expires_at", expires}}
}

// NewKey is the Change that gives a user one more key. keys are those that the user
// has.
func NewKey(actor Actor, key Key, keys []Key, now time.Time) (Change, error) {
	if err := CheckName("name", key.Name); err != nil {
		return Change{}, err
	}
	if !key.ExpiresAt.IsZero() && !key.ExpiresAt.After(now) {
		return Change{}, RefuseField(OutOfRange, "expires_at", "Must be in the future.")
	}
	if live(keys, now) >= MaxKeys {
		return Change{}, Refuse(Conflict, fmt.Sprintf("A user may have at most %d keys.", MaxKeys))
	}
	for _, other := range keys {
		// A key that is being replaced shares its name with the new one.
		if other.Name == key.Name && other.ExpiresAt.IsZero() {
			return Change{}, RefuseField(Duplicate, "name", "Another key has this name.")
		}
	}
	change := changeOf(actor, "api_key.created", key.AccountID, "api_key", key.ID)
	change.Keys = append(outdated(keys, now), Diff[Key]{After: &key})
	return change, nil
}

// RotateKey is the Change that replaces a key by a new one of the same name; the old
// one lives on for overlap, and no longer than it would have.
func RotateKey(actor Actor, old, key Key, keys []Key, overlap time.Duration, now time.Time) (Change, error) {
	if old.Name == "" {
		return Change{}, Refuse(Conflict, "The key that came with the account or the user cannot be rotated.")
	}
	if overlap < 0 || overlap > MaxOverlap {
		return Change{}, RefuseField(OutOfRange, "overlap", "Must be from 0 to 30 days.")
	}
	if old.Expired(now) {
		return Change{}, Refuse(Conflict, "The key has expired.")
	}
	if live(keys, now) > MaxKeys { // the old one makes room soon
		return Change{}, Refuse(Conflict, fmt.Sprintf("A user may have at most %d keys.", MaxKeys))
	}
	key.Name, key.ExpiresAt = old.Name, old.ExpiresAt
	after := old
	if until := now.Add(overlap); old.ExpiresAt.IsZero() || until.Before(old.ExpiresAt) {
		after.ExpiresAt = until
	}
	change := changeOf(actor, "api_key.rotated", key.AccountID, "api_key", key.ID)
	change.Keys = append(outdated(keys, now), Diff[Key]{Before: &old, After: &after}, Diff[Key]{After: &key})
	return change, nil
}

// RevokeKey ends a key at once. The owner's first keys are the account's, which the
// contract shows to its manager: they are refused with kind Conflict.
func RevokeKey(actor Actor, key Key) (Change, error) {
	if key.Name == "" && key.UserID == key.AccountID {
		return Change{}, Refuse(Conflict, "The account's own key cannot be revoked.")
	}
	change := changeOf(actor, "api_key.revoked", key.AccountID, "api_key", key.ID)
	change.Keys = []Diff[Key]{{Before: &key}}
	return change, nil
}

func live(keys []Key, now time.Time) (n int) {
	for _, key := range keys {
		if key.Name != "" && !key.Expired(now) {
			n++
		}
	}
	return n
}

// outdated takes away what expired so long ago that nobody asks for it.
func outdated(keys []Key, now time.Time) (gone []Diff[Key]) {
	for _, key := range keys {
		if key.Name != "" && key.Expired(now.Add(-MaxOverlap)) {
			gone = append(gone, Diff[Key]{Before: &key})
		}
	}
	return gone
}
