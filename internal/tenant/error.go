package tenant

import "errors"

// Kind says what is wrong, independent of any wire format.
type Kind int

// The kinds of refusal. Each has a row in the error table of package httpapi.
const (
	// Malformed means the request could not be understood at all.
	Malformed Kind = iota
	// Missing means a required value is absent.
	Missing
	// Invalid means a value breaks a rule that has no kind of its own.
	Invalid
	// WrongType means a value has another JSON type than the rule wants.
	WrongType
	// OutOfRange means a value is too small, too large, too short or too long.
	OutOfRange
	// NotEnumerated means a value is none of those allowed.
	NotEnumerated
	// BadSort means an unknown sort field or direction.
	BadSort
	// BadEmail means an address that cannot be used.
	BadEmail
	// BadNumber means a phone number that is not in E.164 form.
	BadNumber
	// NoNumber means one that has that form, and that nobody can have.
	NoNumber
	// BadURL means a URL that is none, or of a kind that is not taken.
	BadURL
	// BadEncoding means text that is not UTF-8, or that has a NUL in it.
	BadEncoding
	// BadJSON means a body that is not one JSON object.
	BadJSON
	// Duplicate means a value that must be unique is taken.
	Duplicate
	// KeyReused means an idempotency key came back with another request.
	KeyReused
	// BadKey means an idempotency key of the wrong form.
	BadKey
	// Unauthenticated means absent or wrong credentials.
	Unauthenticated
	// Forbidden means known credentials without the right to do this.
	Forbidden
	// Inactive means the account was disabled by its manager.
	Inactive
	// Blocked means the account was blocked by the operator.
	Blocked
	// NotFound means the thing does not exist, or is somebody else's.
	NotFound
	// NoMethod means the path exists and the method does not.
	NoMethod
	// Conflict means the state of the thing forbids this now.
	Conflict
	// Rejected means that the carrier would not take a message.
	Rejected
	// TooLarge means a body over the limit.
	TooLarge
	// MediaType means a body, or an answer asked for, in an unknown format.
	MediaType
	// TooMany means the rate limit.
	TooMany
	// Unavailable means that nothing was done and the same request may be tried
	// again.
	Unavailable
	// BadGateway means that a service behind the gateway gave no answer that is one.
	BadGateway
	// GatewayTimeout means that it took too long.
	GatewayTimeout
)

// Error is a refusal. Pointer or Parameter names what was wrong.
type Error struct {
	Kind   Kind
	Detail string
	// Pointer is a JSON pointer into the request body.
	Pointer string
	// Parameter is a query parameter, path parameter or header.
	Parameter string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return kindDetail[e.Kind]
	}
	return e.Detail
}

// Refuse makes a refusal that points at nothing in particular.
func Refuse(kind Kind, detail string) *Error {
	return &Error{Kind: kind, Detail: detail, Pointer: "/"}
}

// RefuseField makes a refusal of one field of the body.
func RefuseField(kind Kind, field, detail string) *Error {
	return &Error{Kind: kind, Detail: detail, Pointer: "/" + field}
}

// RefuseParameter makes a refusal of one parameter or header.
func RefuseParameter(kind Kind, parameter, detail string) *Error {
	return &Error{Kind: kind, Detail: detail, Parameter: parameter}
}

// Missed is the refusal for an id that does not exist for the caller.
func Missed(parameter string) *Error {
	return &Error{Kind: NotFound, Parameter: parameter}
}

// kindDetail is what is said when nothing nearer is known.
var kindDetail = map[Kind]string{
	NotFound:        "The requested resource or URL could not be found.",
	Unauthenticated: "Could not understand the provided credentials.",
	Forbidden:       "You are not authorized to access the requested resource.",
	TooMany:         "You have exceeded the maximum number of allowed requests.",
	Inactive:        "The account is inactive: it was disabled by its manager.",
	Blocked:         "The account is blocked. Contact the operator.",
	Rejected:        "The carrier did not take the message.",
	Unavailable:     "The service is unavailable for a moment. Try again.",
	BadGateway:      "The service behind this path gave no answer.",
	GatewayTimeout:  "The service behind this path took too long to answer.",
}

// IsKind reports whether err is, or wraps, a refusal of that kind.
func IsKind(err error, kind Kind) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == kind
}
