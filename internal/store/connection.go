package store

import (
	"fmt"
	"strings"

	"github.com/tenantry/tenantry/internal/tenant"
)

const connectionColumns = "SELECT id, account_id, name, kind, active, hold, created_at, updated_at FROM connection WHERE "

func scanConnection(row scanner, c *tenant.Connection) error {
	var created, updated int64
	err := row.Scan(&c.ID, &c.AccountID, &c.Name, &c.Kind, &c.Active, &c.Hold, &created, &updated)
	c.CreatedAt, c.UpdatedAt = fromMicros(created), fromMicros(updated)
	return err
}

// Connection is the account's connection with that id; anything else is refused
// with kind NotFound.
func (tx *Tx) Connection(accountID, id, parameter string) (*tenant.Connection, error) {
	connection, err := one(tx, scanConnection, connectionColumns+"id = $1", id)
	if err != nil {
		return nil, err
	}
	if connection == nil || connection.AccountID != accountID {
		return nil, tenant.Missed(parameter)
	}
	return connection, tx.identify(connection)
}

// ConnectionByID is the connection with that id whose ever it is, or nil. Its
// identities are not read.
func (tx *Tx) ConnectionByID(id string) (*tenant.Connection, error) {
	return one(tx, scanConnection, connectionColumns+"id = $1", id)
}

// Connections are all connections of an account, by name; there are at most
// tenant.MaxConnections.
func (tx *Tx) Connections(accountID string) ([]tenant.Connection, error) {
	connections, err := all(tx, scanConnection, connectionColumns+"account_id = $1 ORDER BY name", accountID)
	for i := range connections {
		if err == nil {
			err = tx.identify(&connections[i])
		}
	}
	return connections, err
}

func (tx *Tx) identify(c *tenant.Connection) error {
	return each(tx, scanText, func(value *string) error {
		kind, rest, _ := strings.Cut(*value, ":")
		switch kind {
		case "sip":
			c.Usernames = append(c.Usernames, rest)
		case "ip":
			c.Addresses = append(c.Addresses, rest)
		case "tel":
			c.Numbers = append(c.Numbers, rest)
		}
		return nil
	}, "SELECT value FROM identity WHERE connection_id = $1 ORDER BY value", c.ID)
}

// Identity says whose the calls are that a switch sees so.
type Identity struct {
	Value, AccountID, ConnectionID string
}

// Identity is the one with that value, or nil.
func (tx *Tx) Identity(value string) (*Identity, error) {
	return one(tx, func(row scanner, i *Identity) error { return row.Scan(&i.Value, &i.AccountID, &i.ConnectionID) },
		"SELECT value, account_id, connection_id FROM identity WHERE value = $1", value)
}

func (tx *Tx) applyConnection(d tenant.Diff[tenant.Connection]) error {
	if d.After == nil {
		tx.changed(d.Before.ID)
		if err := tx.exec("DELETE FROM connection WHERE id = $1", d.Before.ID); err != nil {
			return err
		}
		return tx.release(d.Before)
	}
	c := d.After
	tx.changed(c.ID)
	if d.Before == nil {
		err := tx.exec(`INSERT INTO connection (id, account_id, name, kind, active, hold, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, c.ID, c.AccountID, c.Name, c.Kind, c.Active, c.Hold, micros(c.CreatedAt), micros(c.UpdatedAt))
		if err != nil {
			return connectionTaken(err)
		}
		return tx.claim(c)
	}
	if err := tx.exec("UPDATE connection SET name = $2, kind = $3, active = $4, hold = $5, updated_at = $6 WHERE id = $1",
		c.ID, c.Name, c.Kind, c.Active, c.Hold, micros(c.UpdatedAt)); err != nil {
		return connectionTaken(err)
	}
	if strings.Join(c.Identities(), " ") == strings.Join(d.Before.Identities(), " ") {
		return nil
	}
	if err := tx.release(d.Before); err != nil {
		return err
	}
	return tx.claim(c)
}

func connectionTaken(err error) error {
	if isDuplicate(err, "name") {
		return tenant.RefuseField(tenant.Duplicate, "name", "Another connection of the account has this name.")
	}
	return err
}

func (tx *Tx) release(c *tenant.Connection) error {
	tx.ids = append(tx.ids, c.Identities()...)
	return tx.exec("DELETE FROM identity WHERE connection_id = $1", c.ID)
}

// claim makes the connection's identities its own.
func (tx *Tx) claim(c *tenant.Connection) error {
	for kind, list := range map[string][]string{"usernames": c.Usernames, "addresses": c.Addresses, "numbers": c.Numbers} {
		for i, v := range list {
			value := identityValue(kind, v)
			tx.changed(value)
			err := tx.exec("INSERT INTO identity (value, account_id, connection_id) VALUES ($1, $2, $3)", value, c.AccountID, c.ID)
			if isDuplicate(err, "value") {
				return tenant.RefuseField(tenant.Duplicate, fmt.Sprintf("%s/%d", kind, i), "Another connection has it.")
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func identityValue(kind, value string) string {
	switch kind {
	case "usernames":
		return tenant.SIPIdentity(value)
	case "addresses":
		return tenant.AddressIdentity(value)
	default:
		return tenant.NumberIdentity(value)
	}
}
