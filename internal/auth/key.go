package auth

import (
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/tenantry/tenantry/internal/tenant"
)

// MintKey makes a V2 key in the vendor's shape: "KEY", 32 upper-case hex digits,
// "_" and 22 base64url characters; 256 random bits in all.
func (s *Sealer) MintKey() string {
	b := s.source.Bytes(32)
	return "KEY" + strings.ToUpper(hex.EncodeToString(b[:16])) + "_" + base64.RawURLEncoding.EncodeToString(b[16:])
}

// MintToken makes a V1 token in the vendor's shape: 22 base64url characters.
func (s *Sealer) MintToken() string {
	return base64.RawURLEncoding.EncodeToString(s.source.Bytes(16))
}

// NewKey is the row for a secret that acts for a user.
func (s *Sealer) NewKey(kind tenant.KeyKind, secret, accountID, userID string) tenant.Key {
	id := s.source.NewID()
	return tenant.Key{
		ID: id, AccountID: accountID, UserID: userID, Kind: kind,
		Digest: s.Digest(secret), Sealed: s.Seal([]byte(secret), id), CreatedAt: s.source.Now(),
	}
}

// NewUserKey is the row for a V2 key that its user makes and is shown once: nobody
// can read it again.
func (s *Sealer) NewUserKey(secret, name string, accountID, userID string) tenant.Key {
	key := s.NewKey(tenant.KeyV2, secret, accountID, userID)
	key.Name, key.Sealed = name, ""
	return key
}

// Reveal is the secret of a key.
func (s *Sealer) Reveal(key *tenant.Key) (string, error) {
	secret, err := s.Open(key.Sealed, key.ID)
	return string(secret), err
}
