package tenant

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// MaxConnections is how many connections an account may have.
const MaxConnections = 1000

// MaxIdentities is how many usernames, addresses and numbers one connection may
// have together.
const MaxIdentities = 1000

// The kinds of connections.
const (
	// KindCredentials is a connection whose calls come with a SIP username.
	KindCredentials = "credentials"
	// KindAddress is one whose calls come from known addresses.
	KindAddress = "address"
)

// Connection is where an account's calls enter and leave: a trunk, a PBX, a phone.
type Connection struct {
	ID        string
	AccountID string
	Name      string
	Kind      string
	// Active says that it may be used, as far as it goes by the connection.
	Active bool
	// Hold is why the operator keeps it off, "" for no reason.
	Hold string
	// Usernames are SIP usernames, Addresses IP addresses that calls come from,
	// Numbers phone numbers in E.164 form. Each belongs to one connection of the
	// whole installation.
	Usernames, Addresses, Numbers []string
	CreatedAt, UpdatedAt          time.Time
}

// Identities are what a switch may see of the connection's calls, as the store
// keeps them.
func (c *Connection) Identities() []string {
	var all []string
	for _, u := range c.Usernames {
		all = append(all, SIPIdentity(u))
	}
	for _, a := range c.Addresses {
		all = append(all, AddressIdentity(a))
	}
	for _, n := range c.Numbers {
		all = append(all, NumberIdentity(n))
	}
	return all
}

// SIPIdentity, AddressIdentity and NumberIdentity are the forms in which the three
// are looked up.
func SIPIdentity(username string) string { return "sip:" + strings.ToLower(username) }

// AddressIdentity is an IP address as it is looked up, in one spelling.
func AddressIdentity(address string) string {
	if a, err := netip.ParseAddr(address); err == nil {
		address = a.Unmap().WithZone("").String()
	}
	return "ip:" + address
}

// NumberIdentity is a phone number as it is looked up.
func NumberIdentity(number string) string { return "tel:" + number }

// Problems are why a connection may not be switched on; none is nil.
func (c *Connection) Problems() []string {
	var problems []string
	if c.Hold != "" {
		problems = append(problems, "held by the operator: "+c.Hold)
	}
	if c.Kind == KindCredentials && len(c.Usernames) == 0 {
		problems = append(problems, "it has no SIP username")
	}
	if c.Kind == KindAddress && len(c.Addresses) == 0 {
		problems = append(problems, "it has no address")
	}
	return problems
}

func (c *Connection) fields() []field {
	return []field{
		{"name", c.Name}, {"kind", c.Kind}, {"active", c.Active}, {"hold", c.Hold},
		{"usernames", strings.Join(c.Usernames, ",")}, {"addresses", strings.Join(c.Addresses, ",")}, {"numbers", strings.Join(c.Numbers, ",")},
	}
}

// check refuses a connection that cannot be, and puts its lists in order.
func (c *Connection) check() error {
	if err := CheckName("name", c.Name); err != nil {
		return err
	}
	if c.Kind != KindCredentials && c.Kind != KindAddress {
		return RefuseField(NotEnumerated, "kind", "Must be credentials or address.")
	}
	if len(c.Hold) > MaxName || strings.ContainsFunc(c.Hold, isControl) {
		return RefuseField(Invalid, "hold", fmt.Sprintf("A reason is one line of at most %d bytes.", MaxName))
	}
	if n := len(c.Usernames) + len(c.Addresses) + len(c.Numbers); n > MaxIdentities {
		return RefuseField(OutOfRange, "usernames", fmt.Sprintf("A connection may have at most %d usernames, addresses and numbers.", MaxIdentities))
	}
	for i, u := range c.Usernames {
		if !isUsername(u) {
			return RefuseField(Invalid, fmt.Sprintf("usernames/%d", i), "A SIP username has 1 to 64 characters out of A-Z, a-z, 0-9 and -_.!~*'()&=+$,;?/%.")
		}
	}
	for i, a := range c.Addresses {
		address, err := netip.ParseAddr(a)
		if err != nil || address.Zone() != "" || address.IsUnspecified() {
			return RefuseField(Invalid, fmt.Sprintf("addresses/%d", i), "Must be an IP address.")
		}
		c.Addresses[i] = address.Unmap().String()
	}
	for i, n := range c.Numbers {
		if !IsE164(n) {
			return RefuseField(BadNumber, fmt.Sprintf("numbers/%d", i), "Must be a phone number in E.164 form, such as +15550100.")
		}
	}
	for _, list := range []*[]string{&c.Usernames, &c.Addresses, &c.Numbers} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return nil
}

// isUsername holds for the characters of a SIP user part (RFC 3261) that need no
// escape.
func isUsername(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.!~*'()&=+$,;?/%", r)
	})
}

// IsE164 reports whether a text is a phone number in E.164 form: + and up to 15
// digits, of which the first is not 0.
func IsE164(s string) bool {
	if len(s) < 3 || len(s) > 16 || s[0] != '+' || s[1] == '0' {
		return false
	}
	return !strings.ContainsFunc(s[1:], func(r rune) bool { return r < '0' || r > '9' })
}

// NewConnection is the Change that adds a connection. One with problems is switched
// off.
func NewConnection(actor Actor, connection Connection) (Change, error) {
	if err := connection.check(); err != nil {
		return Change{}, err
	}
	connection.Active = connection.Active && connection.Problems() == nil
	change := changeOf(actor, "connection.created", connection.AccountID, "connection", connection.ID)
	change.Connections = []Diff[Connection]{{After: &connection}}
	return change, nil
}

// AlterConnection changes a connection. Switching one on that has problems is
// refused with kind Conflict; one that gets them is switched off.
func AlterConnection(actor Actor, before Connection, alter func(*Connection), now time.Time) (Change, error) {
	after := before
	after.Usernames, after.Addresses, after.Numbers = slices.Clone(before.Usernames), slices.Clone(before.Addresses), slices.Clone(before.Numbers)
	alter(&after)
	if err := after.check(); err != nil {
		return Change{}, err
	}
	if problems := after.Problems(); problems != nil && after.Active {
		if !before.Active {
			return Change{}, Refuse(Conflict, "The connection cannot be switched on: "+strings.Join(problems, "; ")+".")
		}
		after.Active = false
	}
	if len(compare(&before, &after, (*Connection).fields)) == 0 {
		return Change{}, nil
	}
	after.UpdatedAt = later(before.UpdatedAt, now)
	change := changeOf(actor, "connection.updated", before.AccountID, "connection", before.ID)
	change.Connections = []Diff[Connection]{{Before: &before, After: &after}}
	return change, nil
}

// RemoveConnection takes a connection away; its usernames, addresses and numbers
// are free again.
func RemoveConnection(actor Actor, connection Connection) Change {
	change := changeOf(actor, "connection.removed", connection.AccountID, "connection", connection.ID)
	change.Connections = []Diff[Connection]{{Before: &connection}}
	return change
}

// LeftOff is a connection that was not switched on again, and why.
type LeftOff struct {
	Connection Connection
	Problems   []string
}

// switchOff adds the active ones of an account's connections to the Change.
func (c *Change) switchOff(connections []Connection, now time.Time) {
	for _, before := range connections {
		if before.Active {
			after := before
			after.Active, after.UpdatedAt = false, later(before.UpdatedAt, now)
			c.Connections = append(c.Connections, Diff[Connection]{Before: &before, After: &after})
		}
	}
}

// switchOn adds those that may be used, and says which may not.
func (c *Change) switchOn(connections []Connection, now time.Time) []LeftOff {
	var left []LeftOff
	for _, before := range connections {
		if before.Active {
			continue
		}
		if problems := before.Problems(); problems != nil {
			left = append(left, LeftOff{before, problems})
			continue
		}
		after := before
		after.Active, after.UpdatedAt = true, later(before.UpdatedAt, now)
		c.Connections = append(c.Connections, Diff[Connection]{Before: &before, After: &after})
	}
	c.LeftOff = left
	return left
}
