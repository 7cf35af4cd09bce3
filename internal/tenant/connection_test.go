package tenant

import (
	"slices"
	"strings"
	"testing"
)

func TestConnectionValidation(t *testing.T) {
	for _, test := range []struct {
		name    string
		c       Connection
		kind    Kind
		pointer string
	}{
		{"no name", Connection{Kind: KindAddress}, Missing, "/name"},
		{"control character", Connection{Name: "a\tb", Kind: KindAddress}, Invalid, "/name"},
		{"no kind", Connection{Name: "x"}, NotEnumerated, "/kind"},
		{"long hold", Connection{Name: "x", Kind: KindAddress, Hold: strings.Repeat("x", 256)}, OutOfRange, "/hold"},
		{"lines in hold", Connection{Name: "x", Kind: KindAddress, Hold: "a\nb"}, Invalid, "/hold"},
		{"username with domain", Connection{Name: "x", Kind: KindAddress, Usernames: []string{"a", "a@b"}}, Invalid, "/usernames/1"},
		{"escaped username", Connection{Name: "x", Kind: KindAddress, Usernames: []string{"%61"}}, Invalid, "/usernames/0"},
		{"long username", Connection{Name: "x", Kind: KindAddress, Usernames: []string{strings.Repeat("a", 65)}}, Invalid, "/usernames/0"},
		{"address with port", Connection{Name: "x", Kind: KindAddress, Addresses: []string{"192.0.2.1:5060"}}, Invalid, "/addresses/0"},
		{"no address at all", Connection{Name: "x", Kind: KindAddress, Addresses: []string{"::ffff:0.0.0.0"}}, Invalid, "/addresses/0"},
		{"multicast", Connection{Name: "x", Kind: KindAddress, Addresses: []string{"224.0.1.75"}}, Invalid, "/addresses/0"},
		{"address with zone", Connection{Name: "x", Kind: KindAddress, Addresses: []string{"fe80::1%eth0"}}, Invalid, "/addresses/0"},
		{"national number", Connection{Name: "x", Kind: KindAddress, Numbers: []string{"+15550100", "15550100"}}, BadNumber, "/numbers/1"},
		{"number from 0", Connection{Name: "x", Kind: KindAddress, Numbers: []string{"+05550100"}}, BadNumber, "/numbers/0"},
		{"long number", Connection{Name: "x", Kind: KindAddress, Numbers: []string{"+1234567890123456"}}, BadNumber, "/numbers/0"},
		{"many", Connection{Name: "x", Kind: KindAddress, Usernames: make([]string, 999), Addresses: make([]string, 2)}, OutOfRange, "/addresses"},
	} {
		_, err := NewConnection(Actor{}, Account{}, test.c)
		if e, ok := err.(*Error); !ok || e.Kind != test.kind || e.Pointer != test.pointer {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// FuzzIdentities: what is taken is kept in a form that is taken again as it is, and
// that is found however it was written.
func FuzzIdentities(f *testing.F) {
	f.Add("Alice", "192.0.2.1", "+15550100")
	f.Add("a.b-c_d!~*'()&=+$,;?/", "2001:DB8::0:1", "+123456789012345")
	f.Add("ſıK", "::ffff:192.0.2.1", "+1")
	f.Add("", "fe80::1%eth0", "+٣٣")
	f.Fuzz(func(t *testing.T, username, address, number string) {
		c := Connection{Name: "x", Kind: KindCredentials, Usernames: []string{username}, Addresses: []string{address}, Numbers: []string{number}}
		if c.check() != nil {
			return
		}
		again := c
		if err := again.check(); err != nil || !slices.Equal(again.Identities(), c.Identities()) {
			t.Errorf("%q was taken and then %q, %v", c.Identities(), again.Identities(), err)
		}
		if want := []string{SIPIdentity(username), AddressIdentity(address), NumberIdentity(number)}; !slices.Equal(c.Identities(), want) {
			t.Errorf("%q is looked up as %q", c.Identities(), want)
		}
		if strings.ContainsAny(strings.Join(c.Identities(), ""), " \n\x00") {
			t.Errorf("%q is more than one word each", c.Identities())
		}
	})
}

// A letter that only looks like another when it is lower-cased is another's name.
func TestUsernameCase(t *testing.T) {
	if SIPIdentity("ALICE-K") != SIPIdentity("alice-k") {
		t.Error("the case of a username counts")
	}
	if SIPIdentity("alice-\u212a") == SIPIdentity("alice-k") {
		t.Error("the Kelvin sign is taken for a k")
	}
}
