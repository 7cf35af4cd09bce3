package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/tenant"
)

// problem is how one kind of refusal looks on the wire.
type problem struct {
	status int
	code   string
	title  string
}

// problems is the one table of errors. Where a refusal points at a query
// parameter its 422 becomes a 400: the request, not the thing, is wrong.
var problems = map[tenant.Kind]problem{
	tenant.Malformed:       {400, api.CodeBadRequest, "Bad Request"},
	tenant.BadJSON:         {400, api.CodeInvalidJSON, "Invalid JSON"},
	tenant.BadKey:          {400, api.CodeBadRequest, "Bad Request"},
	tenant.Missing:         {422, api.CodeMissingParameter, "Missing required parameter"},
	tenant.Invalid:         {422, api.CodeBadRequest, "Bad Request"},
	tenant.WrongType:       {422, api.CodeParameterType, "Invalid parameter type"},
	tenant.OutOfRange:      {422, api.CodeOutOfRange, "Value outside of range"},
	tenant.NotEnumerated:   {422, api.CodeEnumeratedValue, "Invalid enumerated value"},
	tenant.BadSort:         {422, api.CodeSortDirection, "Invalid sort direction"},
	tenant.BadEmail:        {422, api.CodeInvalidEmail, "Invalid email address"},
	tenant.BadNumber:       {422, api.CodePhoneNumber, "Invalid phone number"},
	tenant.NoNumber:        {422, api.CodeInvalidNumber, "Invalid phone number"},
	tenant.BadURL:          {422, api.CodeInvalidURL, "Invalid URL"},
	tenant.BadEncoding:     {422, api.CodeCharacterEncoding, "Character encoding error"},
	tenant.Duplicate:       {422, api.CodeDuplicate, "Duplicate resource"},
	tenant.KeyReused:       {422, api.CodeIdempotencyReuse, "Idempotency key reused"},
	tenant.Unauthenticated: {401, api.CodeAuthentication, "Authentication failed"},
	tenant.Forbidden:       {403, api.CodeNotAuthorized, "Not authorized"},
	tenant.Inactive:        {403, api.CodeAccountInactive, "Account inactive"},
	tenant.Blocked:         {403, api.CodeAccountBlocked, "Account blocked"},
	tenant.NotFound:        {404, api.CodeNotFound, "Resource not found"},
	tenant.NoMethod:        {405, api.CodeBadRequest, "Method not allowed"},
	tenant.Conflict:        {409, api.CodeConflict, "Resource in use"},
	tenant.Rejected:        {422, api.CodeRejected, "Rejected by destination"},
	tenant.TooLarge:        {413, api.CodeBadRequest, "Request too large"},
	tenant.MediaType:       {415, api.CodeMediaType, "Unsupported Media Type"},
	tenant.TooMany:         {429, api.CodeTooManyRequests, "Too many requests"},
	tenant.Unavailable:     {503, api.CodeUnexpected, "Service unavailable"},
	tenant.BadGateway:      {502, api.CodeUnexpected, "Bad gateway"},
	tenant.GatewayTimeout:  {504, api.CodeTimeout, "Timeout"},
}

// Status is the HTTP status of a kind of refusal.
func Status(kind tenant.Kind) int { return problems[kind].status }

const errorPages = "https://developers.telnyx.com/docs/overview/errors/"

// denied is a refusal that admission decided, in the operator's words.
type denied struct{ reply admission.Reply }

func (d *denied) Error() string { return d.reply.Detail }

// writeError answers with every refusal in err; anything else is an unexpected
// error, whose cause goes to the log alone.
func (s *Server) writeError(w http.ResponseWriter, c *call, err error) {
	refusals := refusalsIn(err)
	if len(refusals) == 0 && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		refusals = []*tenant.Error{tenant.Refuse(tenant.Unavailable, "")}
	}
	body := api.Errors{Errors: []api.Error{}}
	status := http.StatusInternalServerError
	for i, refusal := range refusals {
		p := problems[refusal.Kind]
		if p.status == 422 && refusal.Parameter != "" && refusal.Kind != tenant.KeyReused {
			p.status = 400
		}
		detail := refusal.Error()
		if admitted := (*notAdmitted)(nil); errors.As(err, &admitted) {
			p, detail = problem{admitted.reply.Status, admitted.reply.Code, admitted.reply.Title}, admitted.reply.Detail
		}
		if i == 0 {
			status = p.status
		}
		e := api.Error{Code: p.code, Title: p.title, Detail: detail}
		if p.code != "" {
			e.Meta = &api.ErrorMeta{URL: errorPages + p.code}
		}
		if e.Detail == "" {
			e.Detail = "The request failed because it was not well-formed."
		}
		switch {
		case refusal.Parameter != "":
			e.Source = &api.ErrorSource{Parameter: refusal.Parameter}
		case refusal.Pointer != "":
			e.Source = &api.ErrorSource{Pointer: refusal.Pointer}
		default:
			e.Source = &api.ErrorSource{Pointer: "/"}
		}
		if status == http.StatusServiceUnavailable || status == http.StatusBadGateway || status == http.StatusGatewayTimeout {
			e.Detail += " The request id is " + c.requestID + "."
		}
		body.Errors = append(body.Errors, e)
	}
	var decided *denied
	if errors.As(err, &decided) {
		status = decided.reply.Status
		e := admissionError(&decided.reply)
		e.Source = &api.ErrorSource{Parameter: "Authorization"}
		body.Errors = append(body.Errors, e)
	} else if len(refusals) == 0 {
		body.Errors = append(body.Errors, api.Error{
			Code: api.CodeUnexpected, Title: "Unexpected error", Detail: "Something went wrong here. Tell the operator the request id " + c.requestID + ".",
			Source: &api.ErrorSource{Pointer: "/"}, Meta: &api.ErrorMeta{URL: errorPages + api.CodeUnexpected},
		})
	}
	c.status = int32(status)
	if c.gone(err) {
		c.status = statusGone
	}
	s.logRefusal(c, err)
	header := w.Header()
	switch status {
	case 409:
		// The SDKs would send it twice more.
		header.Set("X-Should-Retry", "false")
	case 429:
		if header.Get("Retry-After") == "" {
			header.Set("Retry-After", "1")
		}
		header.Set("X-Should-Retry", "true")
	case 503:
		header.Set("Retry-After", "1")
	}
	text, err := encode(body)
	if err != nil {
		s.logCall(c, slog.LevelError, "an error could not be encoded", "error", err)
	}
	c.put("Content-Type", "application/json")
	c.put("Content-Length", strconv.Itoa(len(text)))
	if status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Bearer realm="tenantry"`)
	}
	// What is left of a body that was too large is not worth reading.
	if status == http.StatusRequestEntityTooLarge {
		header.Set("Connection", "close")
	}
	w.WriteHeader(status)
	w.Write(text)
}

// refusalsIn are the refusals in a tree of errors.
func refusalsIn(err error) []*tenant.Error {
	switch e := err.(type) {
	case nil:
		return nil
	case *tenant.Error:
		return []*tenant.Error{e}
	case interface{ Unwrap() error }:
		return refusalsIn(e.Unwrap())
	case interface{ Unwrap() []error }:
		var all []*tenant.Error
		for _, err := range e.Unwrap() {
			all = append(all, refusalsIn(err)...)
		}
		return all
	}
	return nil
}
