package api

// Errors is the envelope of every refusal.
type Errors struct {
	Errors []Error `json:"errors"`
}

// Error is one thing that is wrong with a request.
type Error struct {
	// Code is one of the constants below, always a string.
	Code   string       `json:"code"`
	Title  string       `json:"title"`
	Detail string       `json:"detail"`
	Source *ErrorSource `json:"source,omitempty"`
	Meta   *ErrorMeta   `json:"meta,omitempty"`
}

// ErrorSource points at what was wrong: one of the two is set.
type ErrorSource struct {
	// Pointer is a JSON pointer into the body, "/" when nothing nearer exists.
	Pointer string `json:"pointer,omitempty"`
	// Parameter is a query parameter, path parameter or header.
	Parameter string `json:"parameter,omitempty"`
}

// ErrorMeta links to the vendor's page about the code.
type ErrorMeta struct {
	URL string `json:"url"`
}

// The vendor's error codes that Tenantry sends. Sources: S is the vendor's
// public OpenAPI document, D its developer pages; where they disagree
// docs/compatibility.md names the choice.
const (
	CodeInvalidNumber     = "10002" // D
	CodeInvalidURL        = "10003" // D
	CodeMissingParameter  = "10004" // D
	CodeNotFound          = "10005" // S
	CodeInvalidID         = "10006" // D
	CodeUnexpected        = "10007" // S, D
	CodeTimeout           = "10008" // D
	CodeAuthentication    = "10009" // S, D
	CodeNotAuthorized     = "10010" // S
	CodeTooManyRequests   = "10011" // D
	CodeDuplicate         = "10012" // D
	CodeMediaType         = "10014" // D
	CodeBadRequest        = "10015" // S
	CodePhoneNumber       = "10016" // D
	CodeSortDirection     = "10018" // D
	CodeInvalidEmail      = "10019" // D
	CodeConflict          = "10021" // S
	CodeInvalidJSON       = "10023" // D
	CodeParameterType     = "10026" // D
	CodeIdempotencyReuse  = "10027" // S
	CodeCharacterEncoding = "10028" // D
	CodeEnumeratedValue   = "10032" // D
	CodeOutOfRange        = "10033" // D
	CodeChannelLimit      = "10039" // D
	CodeAccountInactive   = "20012" // D
	CodeAccountBlocked    = "20013" // D
	CodeInsufficientFunds = "20100" // D
	CodeRejected          = "40004" // D
	CodeUnreachable       = "40006" // D
	CodeUndeliverable     = "40008" // D
	CodeExpired           = "40014" // D
)
