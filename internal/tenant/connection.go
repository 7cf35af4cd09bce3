package tenant

import (
	"cmp"
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
	// Usernames are SIP usernames in lower case, Addresses IP addresses that calls
	// come from, Numbers phone numbers in E.164 form; all are sorted. Each belongs to
	// one connection of the whole installation.
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

// SIPIdentity is a SIP username as it is looked up: the case of its letters does
// not count, and no other letter becomes one of them.
func SIPIdentity(username string) string {
	return "sip:" + strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, username)
}

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

// list is one of the three lists of a connection.
type list struct {
	name   string
	values *[]string
}

func (c *Connection) lists() []list {
	return []list{{"usernames", &c.Usernames}, {"addresses", &c.Addresses}, {"numbers", &c.Numbers}}
}

func (c *Connection) fields() []field {
	return []field{{"name", c.Name}, {"kind", c.Kind}, {"active", c.Active}, {"hold", c.Hold}}
}

// connectionFields says what changed of a connection: what came to a list, or went,
// each for itself. In an entry about the account the connection's name leads, and
// one that goes with the account is its name alone.
func (c *Change) connectionFields(d Diff[Connection]) []FieldChange {
	own := c.ResourceType == "connection"
	if !own && d.After == nil {
		return []FieldChange{{"connections", d.Before.Name, nil}}
	}
	changes := compare(d.Before, d.After, (*Connection).fields)
	before, after := cmp.Or(d.Before, &Connection{}).lists(), cmp.Or(d.After, &Connection{}).lists()
	for i := range before {
		for _, gone := range without(*before[i].values, *after[i].values) {
			changes = append(changes, FieldChange{before[i].name, gone, nil})
		}
		for _, come := range without(*after[i].values, *before[i].values) {
			changes = append(changes, FieldChange{after[i].name, nil, come})
		}
	}
	if !own {
		for i := range changes {
			changes[i].Field = "connections." + d.Before.Name + "." + changes[i].Field
		}
	}
	return changes
}

// without is what a list has and another, which is sorted, does not.
func without(list, other []string) (rest []string) {
	for _, v := range list {
		if _, found := slices.BinarySearch(other, v); !found {
			rest = append(rest, v)
		}
	}
	return rest
}

// check refuses a connection that cannot be, and puts its lists in order: its own
// copies, for whoever gave them may give them again.
func (c *Connection) check() error {
	if err := CheckName("name", c.Name); err != nil {
		return err
	}
	if c.Kind != KindCredentials && c.Kind != KindAddress {
		return RefuseField(NotEnumerated, "kind", "Must be credentials or address.")
	}
	if len(c.Hold) > MaxName {
		return RefuseField(OutOfRange, "hold", fmt.Sprintf("A reason may have at most %d bytes.", MaxName))
	}
	if strings.ContainsFunc(c.Hold, isControl) {
		return RefuseField(Invalid, "hold", "A reason may not contain control characters.")
	}
	total := 0
	for _, l := range c.lists() {
		if total += len(*l.values); total > MaxIdentities {
			return RefuseField(OutOfRange, l.name, fmt.Sprintf("A connection may have at most %d usernames, addresses and numbers together.", MaxIdentities))
		}
		*l.values = slices.Clone(*l.values)
	}
	for i, u := range c.Usernames {
		if !isUsername(u) {
			return RefuseField(Invalid, fmt.Sprintf("usernames/%d", i), "A SIP username has 1 to 64 characters out of A-Z, a-z, 0-9 and -_.!~*'()&=+$,;?/")
		}
		c.Usernames[i] = strings.ToLower(u)
	}
	for i, a := range c.Addresses {
		address, err := netip.ParseAddr(a)
		if address = address.Unmap(); err != nil || address.Zone() != "" || address.IsUnspecified() || address.IsMulticast() {
			return RefuseField(Invalid, fmt.Sprintf("addresses/%d", i), "Must be the IP address of a host, without a port or a network.")
		}
		c.Addresses[i] = address.String()
	}
	for i, n := range c.Numbers {
		if !IsE164(n) {
			return RefuseField(BadNumber, fmt.Sprintf("numbers/%d", i), "Must be a phone number in E.164 form, such as +15550100.")
		}
	}
	for _, l := range c.lists() {
		slices.Sort(*l.values)
		*l.values = slices.Compact(*l.values)
	}
	return nil
}

// isUsername holds for the characters of a SIP user part (RFC 3261) that need no
// escape.
func isUsername(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.!~*'()&=+$,;?/", r)
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

// obstacles are why one of an account's connections may not be on; none is nil.
func (c *Connection) obstacles(account *Account) []string {
	problems := c.Problems()
	if account.Disabled {
		problems = append(problems, "the account is disabled")
	}
	return problems
}

// NewConnection is the Change that adds a connection to an account. It is off while
// it has problems, and while the account is disabled. A cancelled account is refused
// with kind Conflict.
func NewConnection(actor Actor, account Account, connection Connection) (Change, error) {
	if account.Cancelled {
		return Change{}, Refuse(Conflict, "The account is cancelled.")
	}
	connection.AccountID = account.ID
	if err := connection.check(); err != nil {
		return Change{}, err
	}
	connection.Active = connection.Active && connection.obstacles(&account) == nil
	change := changeOf(actor, "connection.created", account.ID, "connection", connection.ID)
	change.Connections = []Diff[Connection]{{After: &connection}}
	return change, nil
}

// AlterConnection changes a connection of an account. Switching one on that has
// problems, or whose account is disabled, is refused with kind Conflict; one that
// gets problems is switched off.
func AlterConnection(actor Actor, account Account, before Connection, alter func(*Connection), now time.Time) (Change, error) {
	after := before
	alter(&after)
	if err := after.check(); err != nil {
		return Change{}, err
	}
	if obstacles := after.obstacles(&account); obstacles != nil && after.Active {
		if !before.Active {
			return Change{}, RefuseField(Conflict, "active", "The connection cannot be switched on: "+strings.Join(obstacles, "; ")+".")
		}
		after.Active = false
	}
	change := changeOf(actor, "connection.updated", before.AccountID, "connection", before.ID)
	change.Connections = []Diff[Connection]{{Before: &before, After: &after}}
	if len(change.Fields()) == 0 {
		return Change{}, nil
	}
	after.UpdatedAt = later(before.UpdatedAt, now)
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
			c.switchTo(before, false, now)
		}
	}
}

// switchOn adds those that may be used, and notes which may not.
func (c *Change) switchOn(connections []Connection, now time.Time) {
	for _, before := range connections {
		if before.Active {
			continue
		}
		if problems := before.Problems(); problems != nil {
			c.LeftOff = append(c.LeftOff, LeftOff{before, problems})
			continue
		}
		c.switchTo(before, true, now)
	}
}

func (c *Change) switchTo(before Connection, active bool, now time.Time) {
	after := before
	after.Active, after.UpdatedAt = active, later(before.UpdatedAt, now)
	c.Connections = append(c.Connections, Diff[Connection]{Before: &before, After: &after})
}
