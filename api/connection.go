package api

// Connection is where an account's calls enter and leave. The operator keeps them.
type Connection struct {
	ID string `json:"id"`
	// RecordType is always "connection".
	RecordType string `json:"record_type"`
	Name       string `json:"name"`
	// Kind is "credentials" or "address".
	Kind string `json:"kind"`
	// Active says that the connection is on.
	Active bool `json:"active"`
	// Hold is why the operator keeps it off, "" for no reason.
	Hold string `json:"hold"`
	// Usernames are SIP usernames in lower case.
	Usernames []string `json:"usernames"`
	// Addresses are IP addresses that calls come from.
	Addresses []string `json:"addresses"`
	// Numbers are phone numbers in E.164 form.
	Numbers []string `json:"numbers"`
	// Problems are why it cannot be switched on; empty when it can.
	Problems  []string `json:"problems"`
	CreatedAt string   `json:"created_at"`
	UpdatedAt string   `json:"updated_at"`
}

// CreateConnection is the body of POST /operator/v1/accounts/{id}/connections.
type CreateConnection struct {
	Name string `json:"name"`
	// Kind is "credentials" or "address".
	Kind      string   `json:"kind"`
	Usernames []string `json:"usernames,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Numbers   []string `json:"numbers,omitempty"`
	// Active is true when absent.
	Active *bool   `json:"active,omitempty"`
	Hold   *string `json:"hold,omitempty"`
}

// UpdateConnection is the body of PATCH on a connection; what is absent stays.
type UpdateConnection struct {
	Name *string `json:"name,omitempty"`
	// Kind is "credentials" or "address".
	Kind *string `json:"kind,omitempty"`
	// Usernames, Addresses and Numbers replace the whole list.
	Usernames *[]string `json:"usernames,omitempty"`
	Addresses *[]string `json:"addresses,omitempty"`
	Numbers   *[]string `json:"numbers,omitempty"`
	Active    *bool     `json:"active,omitempty"`
	// Hold "" lifts it.
	Hold *string `json:"hold,omitempty"`
}

// ConnectionLeftOff is a connection that could not be switched on.
type ConnectionLeftOff struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Problems say why.
	Problems []string `json:"problems"`
}
