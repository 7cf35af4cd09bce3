package tenant

import (
	"net/mail"
	"strings"
	"unicode/utf8"
)

// maxDomain leaves room, within 254 bytes, for the mailbox that GenerateEmail
// makes at the same domain. No name that resolves is nearly as long.
const maxDomain = 254 - len("@") - len(managedTag) - managedDigits

const (
	managedTag    = "+managed-"
	managedDigits = 12
)

// CheckEmail refuses what is not one bare address of usable length, with kind
// BadEmail (or Missing).
func CheckEmail(field, email string) error {
	if email == "" {
		return RefuseField(Missing, field, "An email address is required.")
	}
	bad := RefuseField(BadEmail, field, "Must be one email address, such as user@example.com.")
	if len(email) > 254 || !utf8.ValidString(email) || strings.ContainsFunc(email, isControl) {
		return bad
	}
	address, err := mail.ParseAddress(email)
	if err != nil || address.Address != email {
		return bad
	}
	at := strings.LastIndexByte(email, '@')
	local, domain := email[:at], email[at+1:]
	if len(local) > 64 || len(domain) > maxDomain || strings.ContainsAny(email, " \t\"<>(),;:\\[]") || strings.Trim(domain, ".-") != domain {
		return bad
	}
	return nil
}

// EmailKey is the form in which addresses are compared: case does not count.
func EmailKey(email string) string { return strings.ToLower(email) }

// GenerateEmail makes an address for a managed account from its manager's: the
// same mailbox, tagged with a part of the account's id.
func GenerateEmail(managerEmail, accountID string) string {
	at := strings.LastIndexByte(managerEmail, '@')
	local, domain := managerEmail[:at], managerEmail[at:]
	tag := managedTag + strings.ReplaceAll(accountID, "-", "")[32-managedDigits:]
	if room := 64 - len(tag); len(local) > room {
		local = strings.ToValidUTF8(local[:room], "")
		local = strings.TrimRight(local, ".")
	}
	if room := 254 - len(tag) - len(domain); len(local) > room {
		local = strings.TrimRight(strings.ToValidUTF8(local[:room], ""), ".")
	}
	return local + tag + domain
}
