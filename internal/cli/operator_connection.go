package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

var connectionView = view[api.Connection]{
	id: func(c *api.Connection) string { return c.ID },
	columns: []column[api.Connection]{
		{wire: "id", head: "ID", shape: whole, value: func(c *api.Connection) string { return c.ID }},
		{wire: "name", head: "NAME", value: func(c *api.Connection) string { return c.Name }},
		{wire: "kind", head: "KIND", shape: whole, value: func(c *api.Connection) string { return c.Kind }},
		{wire: "active", head: "ACTIVE", shape: whole, value: func(c *api.Connection) string { return strconv.FormatBool(c.Active) }},
		{wire: "usernames", head: "USERNAMES", value: func(c *api.Connection) string { return strings.Join(c.Usernames, " ") }},
		{wire: "addresses", head: "ADDRESSES", value: func(c *api.Connection) string { return strings.Join(c.Addresses, " ") }},
		{wire: "numbers", head: "NUMBERS", value: func(c *api.Connection) string { return strings.Join(c.Numbers, " ") }},
		{wire: "hold", value: func(c *api.Connection) string { return c.Hold }},
		{wire: "problems", head: "PROBLEMS", shape: spare, value: func(c *api.Connection) string { return strings.Join(c.Problems, "; ") }},
		{wire: "created_at", value: func(c *api.Connection) string { return c.CreatedAt }},
		{wire: "updated_at", value: func(c *api.Connection) string { return c.UpdatedAt }},
	},
}

// ListConnections is a command.
type ListConnections struct {
	OnAccount
	OperatorReading
}

// Help shows an example.
func (ListConnections) Help() string {
	return `Example:
  tenantry operator connections ID`
}

// Run lists connections.
func (x *ListConnections) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	connections, err := s.operator.Connections(ctx, x.ID)
	if err != nil {
		return err
	}
	if x.JSON {
		return encode(t.Out, connections)
	}
	return showItems(t, x.Output, connectionView, eachOf(connections))
}

// OnConnection is the arguments of commands about one connection.
type OnConnection struct {
	OnAccount
	ConnectionID string `arg:"" name:"connection" help:"Connection id."`
}

// GetConnection is a command.
type GetConnection struct {
	OnConnection
	OperatorReading
}

// Help shows an example.
func (GetConnection) Help() string {
	return `Example:
  tenantry operator connection ID CONNECTION`
}

// Run shows a connection.
func (x *GetConnection) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	c, err := s.operator.Connection(ctx, x.ID, x.ConnectionID)
	return finish(s, connectionView, c, err, false)
}

// CreateConnection is a command.
type CreateConnection struct {
	OnAccount
	Name     string   `arg:"" help:"Name of the connection."`
	Kind     string   `required:"" enum:"credentials,address" placeholder:"KIND" help:"What its calls are known by: credentials (a SIP username) or address."`
	Username []string `sep:"none" placeholder:"NAME" help:"SIP username; may be repeated."`
	Address  []string `sep:"none" placeholder:"IP" help:"IP address that calls come from; may be repeated."`
	Number   []string `sep:"none" placeholder:"E.164" help:"Phone number, such as +15550100; may be repeated."`
	Off      bool     `help:"Do not switch it on yet."`
	Hold     *string  `placeholder:"REASON" help:"Keep it off, for this reason."`
	OperatorChanging
}

// Help shows an example.
func (CreateConnection) Help() string {
	return `Examples:
  tenantry operator create-connection ID Office --kind credentials --username larry --number +15550100
  tenantry operator create-connection ID Trunk --kind address --address 192.0.2.1`
}

// Run adds a connection.
func (x *CreateConnection) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	active := !x.Off
	c, err := s.operator.CreateConnection(ctx, x.ID, api.CreateConnection{
		Name: x.Name, Kind: x.Kind, Usernames: x.Username, Addresses: x.Address, Numbers: x.Number, Active: &active, Hold: x.Hold,
	})
	if err == nil && active && !c.Active {
		t.note("The connection is off: %s.", plain(why(c.Problems, "its account is disabled")))
	}
	return finish(s, connectionView, c, err, false)
}

// why are the problems, or what else it may be.
func why(problems []string, otherwise string) string {
	if len(problems) == 0 {
		return otherwise
	}
	return strings.Join(problems, "; ")
}

// UpdateConnection is a command.
type UpdateConnection struct {
	OnConnection
	Name     *string  `placeholder:"NAME" help:"New name."`
	Kind     *string  `enum:"credentials,address" placeholder:"KIND" help:"New kind: credentials or address."`
	Username []string `sep:"none" placeholder:"NAME" help:"SIP username, in the place of all that it has; may be repeated."`
	Address  []string `sep:"none" placeholder:"IP" help:"IP address, in the place of all that it has; may be repeated."`
	Number   []string `sep:"none" placeholder:"E.164" help:"Phone number, in the place of all that it has; may be repeated."`
	Clear    []string `enum:"usernames,addresses,numbers" placeholder:"LIST" help:"Take all usernames, addresses or numbers away."`
	On       bool     `xor:"active" help:"Switch it on."`
	Off      bool     `xor:"active" help:"Switch it off."`
	Hold     *string  `xor:"hold" placeholder:"REASON" help:"Keep it off, for this reason."`
	Release  bool     `xor:"hold" help:"Keep it off no longer; --on switches it on too."`
	OperatorChanging
}

// Help shows an example.
func (UpdateConnection) Help() string {
	return `What is not named stays as it is. Examples:
  tenantry operator update-connection ID CONNECTION --number +15550100 --number +15550101
  tenantry operator update-connection ID CONNECTION --hold "Address not verified"
  tenantry operator update-connection ID CONNECTION --release --on`
}

// body is what the server is told.
func (x *UpdateConnection) body() (api.UpdateConnection, error) {
	body := api.UpdateConnection{Name: x.Name, Kind: x.Kind, Hold: x.Hold}
	lists := map[string]struct {
		values []string
		field  **[]string
	}{
		"usernames": {x.Username, &body.Usernames}, "addresses": {x.Address, &body.Addresses}, "numbers": {x.Number, &body.Numbers},
	}
	for _, list := range lists {
		if list.values != nil {
			*list.field = &list.values
		}
	}
	for _, name := range x.Clear {
		if lists[name].values != nil {
			return body, usagef("--clear %s does not go with new ones: those replace what is there", name)
		}
		*lists[name].field = &[]string{}
	}
	if x.On || x.Off {
		body.Active = &x.On
	}
	if x.Release {
		body.Hold = new(string)
	}
	if body == (api.UpdateConnection{}) {
		return body, usagef("nothing to change: tenantry operator update-connection --help shows what can be")
	}
	return body, nil
}

// Run changes a connection.
func (x *UpdateConnection) Run(ctx context.Context, t *Terminal) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	c, err := s.operator.UpdateConnection(ctx, x.ID, x.ConnectionID, body)
	return finish(s, connectionView, c, err, false)
}

// RemoveConnection is a command.
type RemoveConnection struct {
	OnConnection
	Yes bool `help:"Do it without asking."`
	OperatorChanging
}

// Help shows an example.
func (RemoveConnection) Help() string {
	return `Its usernames, addresses and numbers are free for others. Examples:
  tenantry operator remove-connection ID CONNECTION
  tenantry operator remove-connection ID CONNECTION --yes`
}

// Run removes a connection.
func (x *RemoveConnection) Run(ctx context.Context, t *Terminal) error {
	if err := t.confirm(x.Yes || x.DryRun, "Removing connection "+x.ConnectionID+" cannot be undone", x.ConnectionID); err != nil {
		return err
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	c, err := s.operator.RemoveConnection(ctx, x.ID, x.ConnectionID)
	return finish(s, connectionView, c, err, false)
}

// noteLeftOff names the connections that enabling an account has left off.
func noteLeftOff(t *Terminal, a *client.ManagedAccount) {
	for _, c := range a.ConnectionsLeftOff {
		t.note("Connection %s stays off: %s.", plain(c.Name), plain(strings.Join(c.Problems, "; ")))
	}
}
