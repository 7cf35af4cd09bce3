package store

import (
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
	connections, err := tx.ConnectionRows(accountID)
	if err != nil || len(connections) == 0 {
		return connections, err
	}
	byID := make(map[string]*tenant.Connection, len(connections))
	for i := range connections {
		byID[connections[i].ID] = &connections[i]
	}
	return connections, each(tx, scanIdentity, func(i *Identity) error {
		if c := byID[i.ConnectionID]; c != nil {
			addIdentity(c, i.Value)
		}
		return nil
	}, `SELECT i.value, i.account_id, i.connection_id FROM connection c JOIN identity i ON i.connection_id = c.id
		WHERE c.account_id = $1 ORDER BY i.value`, accountID)
}

// ConnectionRows are the same without their usernames, addresses and numbers, for
// those who do not look at them.
func (tx *Tx) ConnectionRows(accountID string) ([]tenant.Connection, error) {
	return all(tx, scanConnection, connectionColumns+"account_id = $1 ORDER BY name", accountID)
}

// ConnectionCount is how many connections an account has.
func (tx *Tx) ConnectionCount(accountID string) (int64, error) {
	return tx.count("SELECT COUNT(*) FROM connection WHERE account_id = $1", accountID)
}

func (tx *Tx) identify(c *tenant.Connection) error {
	return each(tx, scanText, func(value *string) error {
		addIdentity(c, *value)
		return nil
	}, "SELECT value FROM identity WHERE connection_id = $1 ORDER BY value", c.ID)
}

// addIdentity puts an identity into the list that it is of.
func addIdentity(c *tenant.Connection, value string) {
	switch kind, rest, _ := strings.Cut(value, ":"); kind {
	case "sip":
		c.Usernames = append(c.Usernames, rest)
	case "ip":
		c.Addresses = append(c.Addresses, rest)
	case "tel":
		c.Numbers = append(c.Numbers, rest)
	}
}

// Identity says whose the calls are that a switch sees so.
type Identity struct {
	Value, AccountID, ConnectionID string
}

func scanIdentity(row scanner, i *Identity) error {
	return row.Scan(&i.Value, &i.AccountID, &i.ConnectionID)
}

// Identity is the one with that value, or nil.
func (tx *Tx) Identity(value string) (*Identity, error) {
	return one(tx, scanIdentity, "SELECT value, account_id, connection_id FROM identity WHERE value = $1", value)
}

func (tx *Tx) applyConnection(d tenant.Diff[tenant.Connection]) error {
	if d.After == nil {
		return tx.removeConnection(d.Before)
	}
	c := d.After
	tx.changed(c.ID)
	var err error
	if d.Before == nil {
		err = tx.exec(`INSERT INTO connection (id, account_id, name, kind, active, hold, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, c.ID, c.AccountID, c.Name, c.Kind, c.Active, c.Hold, micros(c.CreatedAt), micros(c.UpdatedAt))
	} else {
		err = tx.exec("UPDATE connection SET name = $2, kind = $3, active = $4, hold = $5, updated_at = $6 WHERE id = $1",
			c.ID, c.Name, c.Kind, c.Active, c.Hold, micros(c.UpdatedAt))
	}
	if isDuplicate(err, "name") {
		return tenant.RefuseField(tenant.Duplicate, "name", "Another connection of the account has this name.")
	}
	if err != nil {
		return err
	}
	return tx.applyIdentities(d)
}

// applyIdentities gives up what the connection has no longer, and claims what it had
// not.
func (tx *Tx) applyIdentities(d tenant.Diff[tenant.Connection]) error {
	had, has := map[string]bool{}, map[string]bool{}
	if d.Before != nil {
		for _, value := range d.Before.Identities() {
			had[value] = true
		}
	}
	c := d.After
	for _, value := range c.Identities() {
		has[value] = true
	}
	for value := range had {
		if has[value] {
			continue
		}
		tx.changed(value)
		if err := tx.exec("DELETE FROM identity WHERE value = $1 AND connection_id = $2", value, c.ID); err != nil {
			return err
		}
	}
	for _, claim := range []struct {
		field    string
		values   []string
		identity func(string) string
	}{
		{"usernames", c.Usernames, tenant.SIPIdentity},
		{"addresses", c.Addresses, tenant.AddressIdentity},
		{"numbers", c.Numbers, tenant.NumberIdentity},
	} {
		for _, v := range claim.values {
			value := claim.identity(v)
			if had[value] {
				continue
			}
			tx.changed(value)
			err := tx.exec("INSERT INTO identity (value, account_id, connection_id) VALUES ($1, $2, $3)", value, c.AccountID, c.ID)
			if isDuplicate(err, "value") {
				return tenant.RefuseField(tenant.Duplicate, claim.field, "Another connection has "+v+" already.")
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// removeConnection frees whatever identities the connection has: who removes it may
// not have read them.
func (tx *Tx) removeConnection(c *tenant.Connection) error {
	tx.changed(c.ID)
	if err := tx.exec("DELETE FROM connection WHERE id = $1", c.ID); err != nil {
		return err
	}
	values, err := all(tx, scanText, "DELETE FROM identity WHERE connection_id = $1 RETURNING value", c.ID)
	tx.ids = append(tx.ids, values...)
	return err
}
