package tenant

import "time"

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
}
