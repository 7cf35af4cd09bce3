package tenant

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// SignOn says how the people of an organization sign in elsewhere, by OpenID Connect.
type SignOn struct {
	AccountID string
	// Issuer is an https URL.
	Issuer   string
	ClientID string
	// Sealed is the client secret, encrypted under the master key.
	Sealed string
	// Domains are whose addresses are trusted from there, in lower case.
	Domains []string
	// Required keeps passwords out, except of those who bypass it, and the owner's.
	Required  bool
	UpdatedAt time.Time
}

func (s *SignOn) fields() []field {
	return []field{
		{"single_sign_on.issuer", s.Issuer}, {"single_sign_on.client_id", s.ClientID},
		{"single_sign_on.domains", strings.Join(s.Domains, ",")}, {"single_sign_on.required", s.Required},
		{"single_sign_on.secret_set", s.Sealed != ""},
	}
}

// maxDomains bounds the list of domains.
const maxDomains = 50

// SetSignOn sets it.
func SetSignOn(actor Actor, before *SignOn, after SignOn) (Change, error) {
	u, err := url.Parse(after.Issuer)
	if err != nil || u.Scheme != "https" && !(u.Scheme == "http" && (u.Hostname() == "127.0.0.1" || u.Hostname() == "localhost")) ||
		u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(after.Issuer) > MaxName {
		return Change{}, RefuseField(Invalid, "issuer", "Must be an https URL without a query.")
	}
	if after.ClientID == "" || len(after.ClientID) > MaxName || strings.ContainsFunc(after.ClientID, isControl) {
		return Change{}, RefuseField(Missing, "client_id", "A client id is required.")
	}
	if len(after.Domains) == 0 || len(after.Domains) > maxDomains {
		return Change{}, RefuseField(Missing, "domains", "From 1 to 50 e-mail domains are required.")
	}
	after.Domains = slices.Clone(after.Domains)
	for i, domain := range after.Domains {
		after.Domains[i] = strings.ToLower(domain)
		if CheckEmail("", "user@"+domain) != nil {
			return Change{}, RefuseField(Invalid, "domains", "A domain looks like example.com.")
		}
	}
	slices.Sort(after.Domains)
	after.Domains = slices.Compact(after.Domains)
	if before != nil && before.Issuer == after.Issuer && before.ClientID == after.ClientID && before.Sealed == after.Sealed &&
		before.Required == after.Required && slices.Equal(before.Domains, after.Domains) {
		return Change{}, nil
	}
	change := changeOf(actor, "single_sign_on.updated", after.AccountID, "single_sign_on", after.AccountID)
	change.SignOns = []Diff[SignOn]{{Before: before, After: &after}}
	return change, nil
}

// RemoveSignOn takes it away: everybody needs a password again.
func RemoveSignOn(actor Actor, before *SignOn) Change {
	if before == nil {
		return Change{}
	}
	change := changeOf(actor, "single_sign_on.removed", before.AccountID, "single_sign_on", before.AccountID)
	change.SignOns = []Diff[SignOn]{{Before: before}}
	return change
}

// Trusts reports whether an address is of a domain that the issuer speaks for.
func (s *SignOn) Trusts(email string) bool {
	at := strings.LastIndexByte(email, '@')
	return at > 0 && slices.Contains(s.Domains, strings.ToLower(email[at+1:]))
}

// AdmitPassword refuses, with kind Forbidden, a password where single sign-on is
// required of the user. The owner always may: somebody must be able to mend it.
func (s *SignOn) AdmitPassword(user *User) error {
	if s == nil || !s.Required || user.BypassesSSO || user.Owner() {
		return nil
	}
	return RefuseField(Forbidden, "password", "Your organization wants you to use single sign-on.")
}

// Identity is who a user is elsewhere.
type Identity struct {
	AccountID string
	Issuer    string
	Subject   string
	UserID    string
	CreatedAt time.Time
}

func (i *Identity) fields() []field {
	return []field{{"single_sign_on.issuer", i.Issuer}, {"single_sign_on.subject", i.Subject}}
}

// Link ties a user to who that is elsewhere.
func Link(user User, identity Identity, requestID string) Change {
	change := changeOf(user.Actor(nil, requestID), "organization_user.linked", user.AccountID, "organization_user", user.ID)
	change.Identities = []Diff[Identity]{{After: &identity}}
	return change
}

// Unlink unties a user from who that is elsewhere.
func Unlink(actor Actor, user User, identity Identity) Change {
	change := changeOf(actor, "organization_user.unlinked", user.AccountID, "organization_user", user.ID)
	change.Identities = []Diff[Identity]{{Before: &identity}}
	return change
}

// SetBypassesSSO decides whether the user may use a password where single sign-on is
// required.
func SetBypassesSSO(actor Actor, user User, bypasses bool) Change {
	if user.BypassesSSO == bypasses {
		return Change{}
	}
	after := user
	after.BypassesSSO = bypasses
	change := changeOf(actor, "organization_user.updated", user.AccountID, "organization_user", user.ID)
	change.Users = []Diff[User]{{Before: &user, After: &after}}
	return change
}
