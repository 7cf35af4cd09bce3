package tenant

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"io"
	"time"
)

// Source is the one place where time and randomness come from. A test that
// wants to own either replaces the function.
type Source struct {
	now    func() time.Time
	random io.Reader
}

// NewSource makes a source; a nil argument means the real thing.
func NewSource(now func() time.Time, random io.Reader) *Source {
	if now == nil {
		now = time.Now
	}
	if random == nil {
		random = rand.Reader
	}
	return &Source{now, random}
}

// Now is the time in UTC, in whole microseconds, which is what is stored.
func (s *Source) Now() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// Bytes are n random bytes, fit for secrets.
func (s *Source) Bytes(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.random, b); err != nil {
		// crypto/rand never fails; a reader that does must not yield a guessable
		// secret.
		panic("tenant: no randomness: " + err.Error())
	}
	return b
}

// NewID is a UUID of version 7: ids sort by the time they were made, so that
// rows made together lie together in an index. The sub-millisecond part of the
// time stands in the field that RFC 9562 leaves for it.
func (s *Source) NewID() string {
	b := timeOf(s.Now())
	copy(b[8:], s.Bytes(8))
	b[8] = b[8]&0x3f | 0x80
	return FormatUUID(b)
}

// timeOf is an id of which nothing but the time is there.
func timeOf(at time.Time) (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], uint64(at.UnixMilli())<<16)
	fraction := uint16(at.Nanosecond() % 1e6 / 1e3 * 4) // microseconds in 12 bits
	binary.BigEndian.PutUint16(b[6:], 0x7000|fraction&0x0fff)
	return b
}

// FirstID sorts before every id of NewID that is made at that time or later, and
// after those made before.
func FirstID(at time.Time) string { return FormatUUID(timeOf(at)) }

// FormatUUID writes the usual 8-4-4-4-12 form in lower case.
func FormatUUID(b [16]byte) string {
	var out [36]byte
	hex.Encode(out[0:8], b[0:4])
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:36], b[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// IsUUID reports whether s is a UUID in the form FormatUUID writes.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}
