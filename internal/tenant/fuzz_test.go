package tenant

import (
	"net/mail"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

var addresses = []string{
	"", "user@example.com", "new_managed_account@customer.org", "User+tag@Example.COM", "a@b", "@", "a@", "@b", "a b@c.d", `"a b"@c.d`, "<a@b.c>", "A <a@b.c>", "a@b.c,d@e.f",
	"a@[127.0.0.1]", "a..b@c.d", ".a@b.c", "a.@b.c", "a@-b.c", "a@b.c.", "ü@exämple.de", "😀@example.com", "İ@example.com", "a\x00@b.c", "a\r\n@b.c", "a@b.c\xff",
	strings.Repeat("a", 64) + "@example.com", strings.Repeat("a", 65) + "@example.com", "a@" + strings.Repeat("b", 252), "a@" + strings.Repeat("b", 253),
	strings.Repeat("ü", 32) + "@" + strings.Repeat("b.", 80) + "de", "a@" + strings.Repeat("b", 240), "a@" + strings.Repeat("b", 231), "a@" + strings.Repeat("b", 232), "a@" + strings.Repeat("b", 233),
	strings.Repeat("a.", 31) + "a@" + strings.Repeat("b", 180),
}

// FuzzEmail: an address that is taken is one bare address, and an address can be
// made from it for each account.
func FuzzEmail(f *testing.F) {
	for _, seed := range addresses {
		f.Add(seed)
	}
	ids := NewSource(func() time.Time { return time.Unix(1_800_000_000, 0) }, nil)
	f.Fuzz(func(t *testing.T, email string) {
		err := CheckEmail("email", email)
		if err != nil {
			if !IsKind(err, BadEmail) && !IsKind(err, Missing) || IsKind(err, Missing) != (email == "") {
				t.Errorf("refused with %v", err)
			}
			return
		}
		parsed, err := mail.ParseAddress(email)
		if err != nil || parsed.Address != email || len(email) > 254 || !utf8.ValidString(email) || strings.ContainsAny(email, "\r\n\x00, <>") {
			t.Errorf("%q was taken", email)
		}
		first, second := ids.NewID(), ids.NewID()
		generated := GenerateEmail(email, first)
		if err := CheckEmail("email", generated); err != nil {
			t.Errorf("made %q (%d bytes) from %q (%d bytes), which is refused", generated, len(generated), email, len(email))
		}
		if generated == email || EmailKey(generated) == EmailKey(GenerateEmail(email, second)) {
			t.Errorf("%q is not an address of its own", generated)
		}
		if domain := email[strings.LastIndexByte(email, '@'):]; !strings.HasSuffix(generated, domain) {
			t.Errorf("%q is at another domain than %q", generated, email)
		}
		if EmailKey(EmailKey(email)) != EmailKey(email) {
			t.Errorf("the key of %q has another key", email)
		}
	})
}

func FuzzMoney(f *testing.F) {
	for _, seed := range []string{
		"", "0", "0.00", "300.00", "-300.00", "-0", "1.", ".5", "1.5", "1.005", "1e3", "+1", " 1", "1 ", "1,5", "0x1", "1_0", "٣", "1.2.3", "--1", "-", "1000000000000.00", "1000000000000.01",
		"9999999999999.99", "99999999999999", "00000000000000001", "NaN",
	} {
		f.Add(seed, int64(len(seed)))
	}
	f.Add("", int64(MaxMoney))
	f.Add("", int64(-MaxMoney))
	f.Fuzz(func(t *testing.T, text string, minor int64) {
		n, err := ParseMoney("balance", text)
		if err != nil {
			if !IsKind(err, Invalid) {
				t.Errorf("refused with %v", err)
			}
		} else {
			if n > MaxMoney || n < -MaxMoney {
				t.Errorf("%q is %d", text, n)
			}
			again, err := ParseMoney("balance", FormatMoney(n))
			if err != nil || again != n {
				t.Errorf("%q is %d, written %q, read as %d, %v", text, n, FormatMoney(n), again, err)
			}
			if strings.Trim(text, "-.0123456789") != "" {
				t.Errorf("%q was taken", text)
			}
		}
		if minor %= MaxMoney + 1; true {
			written := FormatMoney(minor)
			if again, err := ParseMoney("balance", written); err != nil || again != minor {
				t.Errorf("%d is written %q and read as %d, %v", minor, written, again, err)
			}
			if i := strings.IndexByte(written, '.'); i != len(written)-3 {
				t.Errorf("%d is written %q", minor, written)
			}
		}
	})
}

func FuzzName(f *testing.F) {
	for _, seed := range []string{"", " ", "Larry's Cat Food Inc", "\u00a0", "=cmd", "a\x00", "a\nb", "\xff", "\ufffd", strings.Repeat("x", 255), strings.Repeat("x", 256), "e\u0301", "\u202eevil", "😀"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := CheckName("business_name", name)
		visible := func(r rune) bool { return unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S) }
		turns := func(r rune) bool {
			return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) && r != 0x61c && r != 0x200e && r != 0x200f
		}
		bad := !strings.ContainsFunc(name, visible) || len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsRune(name, utf8.RuneError) || strings.ContainsFunc(name, turns)
		if bad != (err != nil) {
			t.Errorf("%q: %v", name, err)
		}
		if err != nil && !IsKind(err, Missing) && !IsKind(err, OutOfRange) && !IsKind(err, Invalid) {
			t.Errorf("refused with %v", err)
		}
	})
}

// TestIDs sort by the time they were made, and are what IsUUID takes.
func TestIDs(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	source := NewSource(func() time.Time { return now }, nil)
	last, seen := "", map[string]bool{}
	for range 10_000 {
		id := source.NewID()
		if !IsUUID(id) || id[14] != '7' || id <= last || seen[id] {
			t.Fatalf("%s after %s", id, last)
		}
		last, seen[id] = id, true
		now = now.Add(time.Microsecond)
	}
	for _, id := range []string{"", last[1:], strings.ToUpper(last), last[:35] + "g", strings.ReplaceAll(last, "-", "x")} {
		if IsUUID(id) {
			t.Errorf("%q is taken for a UUID", id)
		}
	}
}
