package api

// CreateSession is the body of POST /portal/session.
type CreateSession struct {
	Email    string `json:"email"`
	Password string `json:"password"`
	// OrganizationID chooses among organizations that know the same address.
	OrganizationID *string `json:"organization_id,omitempty"`
	// Code is of the user's second factor, or a recovery code; without one, none is
	// needed.
	Code *string `json:"code,omitempty"`
}

// Session is a person who is signed in.
type Session struct {
	// RecordType is always "session".
	RecordType string           `json:"record_type"`
	ExpiresAt  string           `json:"expires_at"`
	User       OrganizationUser `json:"user"`
}

// CreatedSession is the answer to a sign-in; Token is shown this once.
type CreatedSession struct {
	// RecordType is always "session".
	RecordType string           `json:"record_type"`
	Token      string           `json:"token"`
	ExpiresAt  string           `json:"expires_at"`
	User       OrganizationUser `json:"user"`
}

// Health is the answer of /healthz and /readyz.
type Health struct {
	// Status is always "ok".
	Status string `json:"status"`
}
