// Package auth mints credentials and tells who holds them.
//
// Keys and tokens are random, found by a keyed hash and sealed at rest under the
// master key, because the contract shows them again on retrieve. Passwords are
// hashed with argon2id. Nothing here logs a secret or compares one in variable
// time.
package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tenantry/tenantry/internal/tenant"
)

// MasterKeySize is the length of a master key in bytes.
const MasterKeySize = 32

// Sealer encrypts secrets for storage and computes the digests they are found
// by. Two keys derived from the master key keep the uses apart.
type Sealer struct {
	source *tenant.Source
	aead   cipher.AEAD
	// The hashing key, padded and masked as RFC 2104 wants it.
	inner, outer [sha256.BlockSize]byte
}

// NewSealer derives the keys from a master key of MasterKeySize bytes.
func NewSealer(master []byte, source *tenant.Source) (*Sealer, error) {
	if len(master) != MasterKeySize {
		return nil, fmt.Errorf("the master key has %d bytes, it must have %d", len(master), MasterKeySize)
	}
	sealing, err := hkdf.Key(sha256.New, master, nil, "tenantry seal 1", 32)
	if err != nil {
		return nil, err
	}
	hashing, err := hkdf.Key(sha256.New, master, nil, "tenantry digest 1", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	s := &Sealer{source: source, aead: aead}
	copy(s.inner[:], hashing)
	copy(s.outer[:], hashing)
	for i := range s.inner {
		s.inner[i] ^= 0x36
		s.outer[i] ^= 0x5c
	}
	return s, nil
}

// Digest is what a secret is looked up by: HMAC-SHA256, in hex. It is written out
// because crypto/hmac takes four times as long to set up as the hashing itself,
// and every request pays for it.
func (s *Sealer) Digest(secret string) string {
	var space [256]byte
	inner := sha256.Sum256(append(append(space[:0], s.inner[:]...), secret...))
	sum := sha256.Sum256(append(append(space[:0], s.outer[:]...), inner[:]...))
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], sum[:])
	return string(text[:])
}

// OperatorID names who holds an operator token, in the sessions of the operator: those
// of another token are another's.
func (s *Sealer) OperatorID(token string) string { return s.Digest("operator " + token) }

// sealVersion leads every sealed text and says which keys made it.
const sealVersion = "1."

// Seal encrypts a secret. owner says what it belongs to: a sealed secret moved
// to another row does not open.
func (s *Sealer) Seal(secret []byte, owner string) string {
	nonce := s.source.Bytes(s.aead.NonceSize())
	return sealVersion + base64.RawStdEncoding.EncodeToString(s.aead.Seal(nonce, nonce, secret, []byte(owner)))
}

// Open is the reverse of Seal. It fails for another owner or master key.
func (s *Sealer) Open(sealed, owner string) ([]byte, error) {
	text, ok := strings.CutPrefix(sealed, sealVersion)
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if !ok || err != nil || len(raw) < s.aead.NonceSize() {
		return nil, errors.New("a sealed secret is damaged")
	}
	secret, err := s.aead.Open(nil, raw[:s.aead.NonceSize()], raw[s.aead.NonceSize():], []byte(owner))
	if err != nil {
		return nil, errors.New("a sealed secret does not open: was it sealed under another master key?")
	}
	return secret, nil
}

// LoadSecret reads n secret bytes from the file, base64 in one line, or makes
// them and the file, with mode 0600. A file that others may read is refused.
func LoadSecret(path string, n int, source *tenant.Source) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret := source.Bytes(n)
		if err := writeSecret(path, base64.StdEncoding.EncodeToString(secret)); err != nil {
			return nil, err
		}
		return secret, nil
	}
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others: chmod 600 it", path)
	}
	return ParseSecret(string(text), n)
}

// ParseSecret reads n secret bytes from their base64 form.
func ParseSecret(text string, n int) ([]byte, error) {
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(secret) != n {
		return nil, fmt.Errorf("a secret must be %d bytes in base64", n)
	}
	return secret, nil
}

// writeSecret makes sure that the secret is on disk before anything is sealed
// with it: a key lost in a power cut would take every credential with it.
func writeSecret(path, text string) error {
	temporary := path + ".new"
	// One that was left there may have another mode.
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, text+"\n")
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil && runtime.GOOS != "windows" {
		return err
	}
	return nil
}
