package tenant

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Status is what an account may do, as its worst cause has it.
type Status string

// The statuses of an account.
const (
	StatusEnabled   Status = "enabled"
	StatusDisabled  Status = "disabled"  // by its manager
	StatusBlocked   Status = "blocked"   // by the operator
	StatusCancelled Status = "cancelled" // by the operator, for good
)

// The causes that keep an account from using services.
const (
	CauseCancelled        = "cancelled"
	CauseBlocked          = "operator_blocked"
	CauseDisabled         = "manager_disabled"
	CauseManagerCancelled = "manager_cancelled"
	CauseManagerBlocked   = "manager_blocked"
)

// MaxName is the longest organization or group name, in bytes.
const MaxName = 255

// Account is one tenant: a root account of the operator's, or a managed account
// of a manager's. It owns one organization, whose owner has the same id.
type Account struct {
	ID string
	// ManagerID is the managing account, "" for a root account.
	ManagerID string
	// Number counts the accounts of one manager in order of creation, from 1.
	// It is given when the account is stored and never changes.
	Number           int64
	Email            string
	OrganizationName string

	AllowCustomPricing bool
	RollupBilling      bool

	// The three causes are apart, so that lifting one leaves the others.
	Disabled  bool
	Blocked   bool
	Cancelled bool

	Balance Balance
	// ChannelLimit is a number of outbound channels.
	ChannelLimit int64

	CreatedAt time.Time
	UpdatedAt time.Time
}

// Status is the account's own status; what its manager suffers is not in it.
func (a *Account) Status() Status {
	switch {
	case a.Cancelled:
		return StatusCancelled
	case a.Blocked:
		return StatusBlocked
	case a.Disabled:
		return StatusDisabled
	default:
		return StatusEnabled
	}
}

// Causes lists why the account may not use services, worst first. A blocked or
// cancelled manager stops its managed accounts too; manager is nil for a root
// account. The result is never nil.
func (a *Account) Causes(manager *Account) []string {
	causes := []string{}
	if a.Cancelled {
		causes = append(causes, CauseCancelled)
	}
	if a.Blocked {
		causes = append(causes, CauseBlocked)
	}
	if a.Disabled {
		causes = append(causes, CauseDisabled)
	}
	if manager != nil && manager.Cancelled {
		causes = append(causes, CauseManagerCancelled)
	}
	if manager != nil && manager.Blocked {
		causes = append(causes, CauseManagerBlocked)
	}
	return causes
}

// Admit says whether the account may use services at all: nil, or a refusal of
// kind Unauthenticated (cancelled), Blocked or Inactive.
func (a *Account) Admit(manager *Account) error {
	switch {
	case a.Cancelled, manager != nil && manager.Cancelled:
		return &Error{Kind: Unauthenticated, Parameter: "Authorization"}
	case a.Blocked, manager != nil && manager.Blocked:
		return &Error{Kind: Blocked, Parameter: "Authorization"}
	case a.Disabled:
		return &Error{Kind: Inactive, Parameter: "Authorization"}
	}
	return nil
}

func (a *Account) fields() []field {
	return []field{
		{"email", a.Email},
		{"organization_name", a.OrganizationName},
		{"managed_account_allow_custom_pricing", a.AllowCustomPricing},
		{"rollup_billing", a.RollupBilling},
		{"disabled", a.Disabled},
		{"blocked", a.Blocked},
		{"cancelled", a.Cancelled},
		{"balance.balance", FormatMoney(a.Balance.Amount)},
		{"balance.credit_limit", FormatMoney(a.Balance.CreditLimit)},
		{"channel_limit", a.ChannelLimit},
	}
}

// CheckName refuses a name that is empty, too long or not visible text.
func CheckName(field, name string) error { return checkText(field, "A name", name) }

// CheckReason is the same for why something is done.
func CheckReason(reason string) error { return checkText("reason", "A reason", reason) }

func checkText(field, what, text string) error {
	switch {
	case text == "":
		return RefuseField(Missing, field, what+" is required.")
	case !strings.ContainsFunc(text, isVisible):
		return RefuseField(Missing, field, what+" must have at least one visible character.")
	case len(text) > MaxName:
		return RefuseField(OutOfRange, field, fmt.Sprintf("%s may have at most %d bytes.", what, MaxName))
	case strings.ContainsFunc(text, isControl):
		return RefuseField(Invalid, field, what+" may not contain control characters.")
	}
	return nil
}

func isVisible(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }

// isControl holds for what moves the cursor, breaks lines, turns the direction of
// the text around it, or stands for a character that was no UTF-8.
func isControl(r rune) bool {
	return unicode.IsControl(r) || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == unicode.ReplacementChar
}

// NewAccount is the Change that brings an account into the world, with its
// owner and the owner's credentials. Number is given by the store.
func NewAccount(actor Actor, account Account, owner User, keys []Key) (Change, error) {
	if err := CheckName("business_name", account.OrganizationName); err != nil {
		return Change{}, err
	}
	event := "managed_account.created"
	if account.ManagerID == "" {
		event = "account.created"
	}
	change := changeOf(actor, event, account.ID, "managed_account", account.ID)
	change.Accounts = []Diff[Account]{{After: &account}}
	change.Users = []Diff[User]{{After: &owner}}
	for _, key := range keys {
		change.Keys = append(change.Keys, Diff[Key]{After: &key})
	}
	return change, nil
}

// Disable takes an account out of service for its manager, and switches its
// connections off. reason is for the audit log, "" for none. Disabling twice is an
// empty change. A cancelled account is refused with kind Conflict.
func Disable(actor Actor, account Account, connections []Connection, reason string, now time.Time) (Change, error) {
	change, err := alterAccount(actor, "managed_account.disabled", account, now, func(a *Account) { a.Disabled = true })
	change.EndSessions = true
	if err == nil && !change.Empty() {
		change.switchOff(connections, now)
	}
	return change.because(reason, err)
}

// because notes the reason of a change, if one was given and there is anything to note
// it of.
func (c Change) because(reason string, err error) (Change, error) {
	if err != nil || reason == "" {
		return c, err
	}
	if err := CheckReason(reason); err != nil {
		return Change{}, err
	}
	if !c.Empty() {
		c.Notes = append(c.Notes, FieldChange{"reason", nil, reason})
	}
	return c, nil
}

// CredentialsViewed is the Change that tells that the actor has seen the key and the
// token of an account's owner.
func CredentialsViewed(actor Actor, account Account) Change {
	change := changeOf(actor, "managed_account.credentials_viewed", account.ID, "managed_account", account.ID)
	change.Notes = []FieldChange{}
	return change
}

// HangUp asks the switches to end calls of an account that run. Whether they do is
// theirs; no call is a Change that is empty.
func HangUp(actor Actor, account Account, calls []Call) Change {
	change := changeOf(actor, "calls.terminate", account.ID, "managed_account", account.ID)
	change.HangUp = calls
	return change
}

// Enable lifts what Disable did and nothing else: an account that the operator
// blocked stays blocked. Its connections stay off unless reenable; then those with
// problems do, and are in LeftOff. reason is for the audit log, "" for none. Enabling
// twice is an empty change, but for the connections.
func Enable(actor Actor, account Account, connections []Connection, reenable bool, reason string, now time.Time) (Change, error) {
	change, err := alterAccount(actor, "managed_account.enabled", account, now, func(a *Account) { a.Disabled = false })
	if err != nil || !reenable {
		return change.because(reason, err)
	}
	if change.Empty() {
		change = changeOf(actor, "managed_account.enabled", account.ID, "managed_account", account.ID)
	}
	change.switchOn(connections, now)
	return change.because(reason, nil)
}

// Block takes an account out of service for the operator.
func Block(actor Actor, account Account, now time.Time) (Change, error) {
	change, err := alterAccount(actor, "account.blocked", account, now, func(a *Account) { a.Blocked = true })
	change.EndSessions = true
	return change, err
}

// Unblock lifts what Block did and nothing else.
func Unblock(actor Actor, account Account, now time.Time) (Change, error) {
	return alterAccount(actor, "account.unblocked", account, now, func(a *Account) { a.Blocked = false })
}

// Cancel ends an account for good, gives its channels back to the pool and takes its
// connections away, so that their usernames, addresses and numbers are free.
// Cancelling twice is an empty change.
func Cancel(actor Actor, account Account, connections []Connection, now time.Time) (Change, error) {
	if account.Cancelled {
		return Change{}, nil
	}
	change, err := alterAccount(actor, "account.cancelled", account, now, func(a *Account) {
		a.Cancelled = true
		a.ChannelLimit = 0
	})
	change.EndSessions = true
	for _, connection := range connections {
		change.Connections = append(change.Connections, Diff[Connection]{Before: &connection})
	}
	return change, err
}

// SetCustomPricing detaches an account from its manager's prices or attaches it
// again.
func SetCustomPricing(actor Actor, account Account, allow bool, now time.Time) (Change, error) {
	return alterAccount(actor, "managed_account.updated", account, now, func(a *Account) { a.AllowCustomPricing = allow })
}

// SetCredit sets balance and credit limit; nil leaves either as it is.
func SetCredit(actor Actor, account Account, balance, creditLimit *int64, now time.Time) (Change, error) {
	if account.RollupBilling {
		return Change{}, Refuse(Conflict, "The account's billing is rolled up to its manager: it has no balance of its own.")
	}
	return alterAccount(actor, "account.credit_updated", account, now, func(a *Account) {
		if balance != nil {
			a.Balance.Amount = *balance
		}
		if creditLimit != nil {
			a.Balance.CreditLimit = *creditLimit
		}
	})
}

// SetChannelLimit gives an account another share of its manager's channels. The
// store refuses it, in the same transaction, when the pool cannot bear it.
func SetChannelLimit(actor Actor, account Account, limit int64, now time.Time) (Change, error) {
	return alterAccount(actor, "managed_account.channel_limit_updated", account, now, func(a *Account) { a.ChannelLimit = limit })
}

func alterAccount(actor Actor, event string, before Account, now time.Time, alter func(*Account)) (Change, error) {
	if before.Cancelled {
		return Change{}, Refuse(Conflict, "The account is cancelled and cannot be changed any more.")
	}
	after := before
	alter(&after)
	if after == before {
		return Change{}, nil
	}
	after.UpdatedAt = later(before.UpdatedAt, now)
	change := changeOf(actor, event, before.ID, "managed_account", before.ID)
	change.Accounts = []Diff[Account]{{Before: &before, After: &after}}
	return change, nil
}

// later keeps updated_at from running backwards when the clock does.
func later(before, now time.Time) time.Time {
	if now.Before(before) {
		return before
	}
	return now
}
