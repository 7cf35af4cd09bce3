package httpapi

import (
	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/tenant"
)

const connectionPath = operatorPrefix + "/accounts/{id}/connections"

var connectionRoutes = []Route{
	{"OperatorListConnections", "GET " + connectionPath, "operator", (*Server).operatorListConnections},
	{"OperatorCreateConnection", "POST " + connectionPath, "operator", (*Server).operatorCreateConnection},
	{"OperatorRetrieveConnection", "GET " + connectionPath + "/{connection_id}", "operator", (*Server).operatorRetrieveConnection},
	{"OperatorUpdateConnection", "PATCH " + connectionPath + "/{connection_id}", "operator", (*Server).operatorUpdateConnection},
	{"OperatorRemoveConnection", "DELETE " + connectionPath + "/{connection_id}", "operator", (*Server).operatorRemoveConnection},
}

func (s *Server) operatorListConnections(c *call) (any, error) {
	connections, err := s.service.Connections(c.Context(), c.id)
	if err != nil {
		return nil, err
	}
	wire := make([]api.Connection, len(connections))
	for i := range connections {
		wire[i] = wireConnection(&connections[i])
	}
	return api.Response[[]api.Connection]{Data: wire}, nil
}

func (s *Server) operatorCreateConnection(c *call) (any, error) {
	var body api.CreateConnection
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	once, err := c.once()
	if err != nil {
		return nil, err
	}
	in := tenant.Connection{
		Name: body.Name, Kind: body.Kind, Active: body.Active == nil || *body.Active,
		Usernames: body.Usernames, Addresses: body.Addresses, Numbers: body.Numbers,
	}
	give(&in.Hold, body.Hold)
	answer, err := s.service.CreateConnection(c.Context(), c.actor, c.id, in, once, func(connection *tenant.Connection) ([]byte, error) {
		return encode(api.Response[api.Connection]{Data: wireConnection(connection)})
	})
	return encoded(answer), err
}

func (s *Server) operatorRetrieveConnection(c *call) (any, error) {
	return connectionAnswer(s.service.Connection(c.Context(), c.id, c.PathValue("connection_id")))
}

func (s *Server) operatorUpdateConnection(c *call) (any, error) {
	var body api.UpdateConnection
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return connectionAnswer(s.service.AlterConnection(c.Context(), c.actor, c.id, c.PathValue("connection_id"), func(connection *tenant.Connection) {
		give(&connection.Name, body.Name)
		give(&connection.Kind, body.Kind)
		give(&connection.Active, body.Active)
		give(&connection.Hold, body.Hold)
		give(&connection.Usernames, body.Usernames)
		give(&connection.Addresses, body.Addresses)
		give(&connection.Numbers, body.Numbers)
	}))
}

func (s *Server) operatorRemoveConnection(c *call) (any, error) {
	return connectionAnswer(s.service.RemoveConnection(c.Context(), c.actor, c.id, c.PathValue("connection_id")))
}

// give sets a field where the body has it.
func give[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

func connectionAnswer(connection *tenant.Connection, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return api.Response[api.Connection]{Data: wireConnection(connection)}, nil
}

func wireConnection(c *tenant.Connection) api.Connection {
	return api.Connection{
		ID: c.ID, RecordType: "connection", Name: c.Name, Kind: c.Kind, Active: c.Active, Hold: c.Hold,
		Usernames: listed(c.Usernames), Addresses: listed(c.Addresses), Numbers: listed(c.Numbers), Problems: listed(c.Problems()),
		CreatedAt: api.Time(c.CreatedAt), UpdatedAt: api.Time(c.UpdatedAt),
	}
}

// listed is a list that is never null.
func listed(values []string) []string {
	if values == nil {
		return []string{}
	}
	return values
}
