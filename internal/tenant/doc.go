// Package tenant is the domain: accounts, their managers, organization users,
// groups, credentials and channels, and the rules they obey.
//
// Everything here is pure: a rule takes values and the time and returns a
// Change or an Error. It reads no clock, no database and no network, and
// imports the standard library alone.
package tenant
