package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

const (
	admissionPrefix = "/admission/v1"
	// The kind of a forwarded request stands in the prefix, for everything behind it
	// is the caller's.
	forwardPrefix = admissionPrefix + "/forward"
)

var admissionRoutes = []Route{
	{"GetChannelUse", "GET " + retrievePrefix + "{id}/channel_use", "managed_accounts", (*Server).channelUse},
	{"OperatorGetChannelUse", "GET " + operatorPrefix + "/accounts/{id}/channel_use", "operator", (*Server).operatorChannelUse},
	{"CheckAdmission", "POST " + admissionPrefix + "/check", "admission", (*Server).checkAdmission},
	{"CheckAdmissionByQuery", "GET " + admissionPrefix + "/check", "admission", (*Server).checkAdmission},
	{"ReleaseLeases", "POST " + admissionPrefix + "/leases/{call_id}/release", "admission", (*Server).releaseLeases},
	{"ListLeases", "GET " + admissionPrefix + "/leases", "admission", (*Server).listLeases},
	{"PutLiveCalls", "PUT " + admissionPrefix + "/switches/{name}/live", "admission", (*Server).putLiveCalls},
	{"PutLiveCallsByPost", "POST " + admissionPrefix + "/switches/{name}/live", "admission", (*Server).putLiveCalls},

	{"OperatorCheckAdmission", "POST " + operatorPrefix + "/admission/check", "operator", (*Server).checkAdmission},
	{"OperatorListLeases", "GET " + operatorPrefix + "/leases", "operator", (*Server).listLeases},
	{"OperatorReleaseLeases", "POST " + operatorPrefix + "/leases/{call_id}/release", "operator", (*Server).releaseLeases},
}

// checks are the same question with another rendering of the answer, by any method;
// they are not in the document, which knows one answer of an operation.
var checks = map[string]Route{
	admissionPrefix + "/check":      {"CheckAdmission", "", "admission", (*Server).checkAdmission},
	admissionPrefix + "/check.txt":  {"CheckAdmission", "", "admission", checkRendered(renderText)},
	admissionPrefix + "/check.form": {"CheckAdmission", "", "admission", checkRendered(renderForm)},
	admissionPrefix + "/check.xml":  {"CheckAdmission", "", "admission", (*Server).checkFreeSWITCH},
}

// forwards are the questions of proxies about a request of somebody else's.
var forwards = []struct{ prefix, kind string }{
	{forwardPrefix + "-" + admission.Login, admission.Login},
	{forwardPrefix + "-" + admission.Message, admission.Message},
	{forwardPrefix, admission.API},
}

// admissionToken is what a switch shows: a bearer token, the password of basic
// authentication, or a header of its own, for those that pass on the Authorization of
// somebody else.
func (c *call) admissionToken() string {
	if token := c.Header.Get("X-Tenantry-Admission"); token != "" {
		return token
	}
	authorization := c.Header.Get("Authorization")
	if token, ok := auth.Bearer(authorization); ok {
		return token
	}
	_, password, _ := c.BasicAuth()
	return password
}

// question is what is asked about admission, and how it is to be answered.
type question struct {
	admission.Request
	credentials auth.Credentials
	strict      bool
}

// given reports whether there are any credentials.
func (q *question) given() bool {
	return q.credentials.Authorization != "" || q.credentials.Token != ""
}

// set fills in a field that came as text. What there is not is passed over: switches
// send whatever they have.
func (q *question) set(name, value string) error {
	var err error
	switch name {
	case "kind":
		q.Kind = value
	case "direction":
		q.Direction = value
	case "api_key":
		q.credentials.Authorization = "Bearer " + value
	case "api_user":
		q.credentials.User = value
	case "api_token":
		q.credentials.Token = value
	case "account_id":
		q.AccountID = value
	case "connection_id":
		q.ConnectionID = value
	case "sip_username":
		q.SIPUsername = value
	case "source_ip":
		q.SourceIP = value
	case "number":
		q.Number = value
	case "call_id":
		q.CallID = value
	case "switch":
		q.Switch = value
	case "units":
		if q.Units, err = strconv.ParseInt(value, 10, 64); err != nil {
			return tenant.RefuseField(tenant.WrongType, name, "Must be a whole number.")
		}
	case "acquire", "strict":
		is, err := strconv.ParseBool(value)
		if err != nil {
			return tenant.RefuseField(tenant.WrongType, name, "Must be true or false.")
		}
		if name == "acquire" {
			q.Acquire = is
		} else {
			q.strict = is
		}
	}
	return nil
}

// setAll fills in what values has. A field that is there twice, and differs, is
// refused: readers disagree which of the two counts.
func (q *question) setAll(values url.Values) error {
	var errs []error
	for name, list := range values {
		for _, value := range list[1:] {
			if value != list[0] && isQuestion(name) {
				errs = append(errs, tenant.RefuseField(tenant.Malformed, name, "Must be given once."))
			}
		}
		if list[0] != "" {
			errs = append(errs, q.set(name, list[0]))
		}
	}
	return errors.Join(errs...)
}

// setPlain fills in what a query has, if it is one that needs no care: without
// escapes, and with no field twice. It is what most switches send, and spares the
// map that url.ParseQuery makes.
func (q *question) setPlain(query string) bool {
	if strings.ContainsAny(query, "%+;") {
		return false
	}
	var seen [16]string
	n := 0
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		if n == len(seen) || slices.Contains(seen[:n], name) {
			return false
		}
		if value != "" && q.set(name, value) != nil {
			return false // the long way gathers all that is wrong
		}
		seen[n] = name
		n++
	}
	return true
}

func isQuestion(name string) bool {
	switch name {
	case "kind", "direction", "api_key", "api_user", "api_token", "account_id", "connection_id", "sip_username", "source_ip", "number",
		"call_id", "switch", "units", "acquire", "strict":
		return true
	}
	return false
}

// question reads what is asked, from the query and from a body of JSON or of a form.
func (c *call) question() (q question, err error) {
	form := len(c.body) > 0 && c.isForm()
	if form || !q.setPlain(c.URL.RawQuery) {
		q = question{}
		values, err := c.fields()
		if err != nil {
			return q, err
		}
		if err := q.setAll(values); err != nil {
			return q, err
		}
	}
	if form || len(c.body) == 0 {
		return q, nil
	}
	if flat := q; flat.setFlat(c.body) {
		return flat, nil
	}
	return c.decodeQuestion(q)
}

// decodeQuestion fills in what a body of JSON has.
func (c *call) decodeQuestion(q question) (question, error) {
	var body api.AdmissionCheck
	if err := c.decode(&body); err != nil {
		return q, err
	}
	for _, f := range [...]struct {
		into *string
		text string
	}{
		{&q.Kind, body.Kind}, {&q.Direction, body.Direction}, {&q.credentials.User, body.APIUser}, {&q.credentials.Token, body.APIToken},
		{&q.AccountID, body.AccountID}, {&q.ConnectionID, body.ConnectionID}, {&q.SIPUsername, body.SIPUsername},
		{&q.SourceIP, body.SourceIP}, {&q.Number, body.Number}, {&q.CallID, body.CallID}, {&q.Switch, body.Switch},
	} {
		if f.text != "" {
			*f.into = f.text
		}
	}
	if body.APIKey != "" {
		q.credentials.Authorization = "Bearer " + body.APIKey
	}
	if body.Units != nil {
		if q.Units = *body.Units; q.Units == 0 {
			q.Units = -1 // which is refused, where 0 stands for what was left out
		}
	}
	if body.Acquire != nil {
		q.Acquire = *body.Acquire
	}
	if body.Strict != nil {
		q.strict = *body.Strict
	}
	return q, nil
}

// fields are those of the query and of a form.
func (c *call) fields() (url.Values, error) {
	values := url.Values{}
	if c.URL.RawQuery != "" {
		var err error
		if values, err = url.ParseQuery(c.URL.RawQuery); err != nil {
			return nil, tenant.Refuse(tenant.Malformed, "The query string is not well-formed.")
		}
	}
	if !c.isForm() || len(c.body) == 0 {
		return values, nil
	}
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, tenant.Refuse(tenant.Malformed, "The form is not well-formed.")
	}
	for name, list := range form {
		values[name] = append(values[name], list...)
	}
	return values, nil
}

func (c *call) isForm() bool { return c.mediaType() == "application/x-www-form-urlencoded" }

func (c *call) mediaType() string {
	if c.Header.Get("Content-Type") == "application/json" {
		return "application/json" // without a map for its parameters
	}
	kind, _, _ := mime.ParseMediaType(c.Header.Get("Content-Type"))
	return kind
}

// decideQuestion finds out who asks, and decides.
func (s *Server) decideQuestion(ctx context.Context, q *question) (*admission.Decision, error) {
	if !q.given() {
		return s.admission.Decide(ctx, q.Request)
	}
	if q.Kind == "" {
		return nil, tenant.RefuseField(tenant.Missing, "kind", "Must be one of "+strings.Join(admission.Kinds, ", ")+".")
	}
	d := &admission.Decision{AccountID: q.AccountID, ConnectionID: q.ConnectionID}
	actor, refused, err := s.identify(ctx, q.Kind, q.credentials)
	switch {
	case err != nil:
		return nil, err
	case refused == admission.UnknownCredentials:
		d.Reason = refused
		return d, nil
	case refused == admission.Unreachable:
		return s.admission.Unknown(q.Kind, d), nil
	}
	if q.AccountID != "" && q.AccountID != actor.AccountID {
		d.Reason = admission.UnknownCredentials
		return d, nil
	}
	r := q.Request
	r.AccountID = actor.AccountID
	if refused != "" {
		r.Acquire = false
	}
	if d, err = s.admission.Decide(ctx, r); err == nil && refused != "" && d.Allowed() {
		d.Reason = refused
	}
	return d, err
}

// identify finds whose credentials they are. What is against them, whatever the
// account's standing is, is a reason: a user who may not act, UnknownCredentials or,
// where the database could not be asked, Unreachable; of the last two nobody is known.
func (s *Server) identify(ctx context.Context, kind string, credentials auth.Credentials) (tenant.Actor, admission.Reason, error) {
	actor, err := s.auth.Holder(ctx, credentials, auth.Reading{Gate: s.admission.Gate, Age: s.admission.Age(kind)})
	switch {
	case err == nil:
		return actor, "", nil
	case tenant.IsKind(err, tenant.Blocked):
		return actor, admission.UserBlocked, nil
	case tenant.IsKind(err, tenant.Inactive):
		return actor, admission.UserDisabled, nil
	case tenant.IsKind(err, tenant.Unauthenticated):
		return tenant.Actor{}, admission.UnknownCredentials, nil
	case tenant.IsKind(err, tenant.Unavailable) && ctx.Err() == nil:
		return tenant.Actor{}, admission.Unreachable, nil
	default:
		return tenant.Actor{}, "", err
	}
}

func (s *Server) checkAdmission(c *call) (any, error) {
	q, err := c.question()
	if err != nil {
		return nil, err
	}
	d, err := s.decideQuestion(c.Context(), &q)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(c.Header.Get("Accept"), "text/plain") {
		return s.renderStrict(renderText, &q, d), nil
	}
	return s.renderStrict(renderJSON, &q, d), nil
}

// renderStrict answers in HTTP's own status where that was asked for.
func (s *Server) renderStrict(render renderer, q *question, d *admission.Decision) rendered {
	reply := s.reasons[d.Reason]
	answer := render(q.Direction, d, reply)
	if q.strict {
		answer.status = reply.Status
	}
	return answer
}

func checkRendered(render renderer) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		q, err := c.question()
		if err != nil {
			return nil, err
		}
		d, err := s.decideQuestion(c.Context(), &q)
		if err != nil {
			return nil, err
		}
		return s.renderStrict(render, &q, d), nil
	}
}

// checkFreeSWITCH answers mod_xml_curl. Whatever it cannot understand sends it to the
// next dialplan it has, so that every refusal is a document, and has status 200.
func (s *Server) checkFreeSWITCH(c *call) (any, error) {
	values, err := c.fields()
	if err != nil {
		values = url.Values{}
	}
	if section := values.Get("section"); err == nil && section != "" && section != "dialplan" {
		return renderedXML(freeswitchNotFound), nil
	}
	q := question{Request: admission.Request{Kind: admission.Call}}
	if err == nil {
		err = q.setAll(values)
	}
	q.freeswitch(values)
	d := &admission.Decision{}
	if err == nil {
		if d, err = s.decideQuestion(c.Context(), &q); err != nil {
			d = &admission.Decision{}
		}
	}
	if err != nil {
		if c.gone(err) {
			return nil, err
		}
		d.Reason = admission.Unreachable
		s.logCall(c, slog.LevelWarn, "a switch was refused for want of an answer", "error", err)
	}
	reply := s.reasons[d.Reason]
	context := values.Get("Caller-Context")
	if context == "" {
		context = "default"
	}
	return renderedXML(renderFreeSWITCH(context, values.Get("then") == "park", q.Direction, d, reply)), nil
}

// freeswitch takes from the fields of a channel what was not said. A user name
// counts only when the call was authenticated with it.
func (q *question) freeswitch(values url.Values) {
	first := func(names ...string) string {
		for _, name := range names {
			if value := values.Get(name); value != "" {
				return value
			}
		}
		return ""
	}
	if q.CallID == "" {
		q.CallID = first("Unique-ID", "Caller-Unique-ID", "variable_uuid")
	}
	if q.Switch == "" {
		q.Switch = first("FreeSWITCH-Switchname", "hostname")
	}
	if q.AccountID != "" || q.ConnectionID != "" || q.SIPUsername != "" || q.SourceIP != "" || q.Number != "" || q.given() {
		return
	}
	if q.Direction == admission.Inbound {
		q.Number = first("Caller-Destination-Number", "Hunt-Destination-Number")
		return
	}
	if q.SIPUsername = first("variable_sip_auth_username"); q.SIPUsername == "" {
		q.SourceIP = first("variable_sip_network_ip", "Caller-Network-Addr")
	}
}

// serveForward answers a proxy that asks about a request of somebody else's, whatever
// the method and the rest of the path are.
func (s *Server) serveForward(c *call, kind string) (any, error) {
	q := question{Request: admission.Request{Kind: kind}, credentials: c.credentials()}
	d := &admission.Decision{Reason: admission.UnknownCredentials}
	if q.given() {
		var err error
		if d, err = s.decideQuestion(c.Context(), &q); err != nil {
			return nil, err
		}
	}
	reply := s.reasons[d.Reason]
	return renderForward(c.Header.Get("X-Tenantry-Statuses") == "all", d, reply), nil
}

func (s *Server) channelUse(c *call) (any, error) {
	return useAnswer(c.id)(s.service.ChannelUse(c.Context(), c.actor, c.id))
}

func (s *Server) operatorChannelUse(c *call) (any, error) {
	return useAnswer(c.id)(s.service.AnyChannelUse(c.Context(), c.id))
}

func useAnswer(id string) func(service.ChannelUse, error) (any, error) {
	return func(use service.ChannelUse, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		return api.Response[api.ChannelUse]{Data: api.ChannelUse{RecordType: "channel_use", AccountID: id, Limit: use.Limit, InUse: use.InUse}}, nil
	}
}

func (s *Server) releaseLeases(c *call) (any, error) {
	id := c.PathValue("call_id")
	if err := admission.CheckName("call_id", id); err != nil {
		return nil, asParameter(err, "call_id")
	}
	n, err := s.admission.Release(c.Context(), id)
	if err != nil {
		return nil, err
	}
	return api.Response[api.Released]{Data: api.Released{CallID: id, Released: n}}, nil
}

func (s *Server) putLiveCalls(c *call) (any, error) {
	name := c.PathValue("name")
	if err := admission.CheckName("name", name); err != nil {
		return nil, asParameter(err, "name")
	}
	ids, err := c.liveCalls()
	if err != nil {
		return nil, err
	}
	done, err := s.admission.Reconcile(c.Context(), name, ids)
	if err != nil {
		return nil, err
	}
	return api.Response[api.Reconciled]{Data: api.Reconciled{Switch: name, Live: done.Live, Ending: done.Ending}}, nil
}

// liveCalls reads a list of calls: JSON, or text with one on each line. That none
// lives has to be said in JSON: an empty text is what a script sends when the program
// that should have made its list has failed, and it would end every call.
func (c *call) liveCalls() ([]string, error) {
	if c.mediaType() == "text/plain" {
		var ids []string
		for line := range strings.Lines(string(c.body)) {
			if id := strings.TrimSpace(line); id != "" {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			return nil, tenant.RefuseField(tenant.Missing, "call_ids", `No call is in the text. When none lives, send {"call_ids":[]} as JSON.`)
		}
		return ids, nil
	}
	var body api.LiveCalls
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.CallIDs == nil {
		return nil, tenant.RefuseField(tenant.Missing, "call_ids", "A list of the calls that live is required; it may be empty.")
	}
	return body.CallIDs, nil
}

func (s *Server) listLeases(c *call) (any, error) {
	q := c.query()
	var f admission.LeaseFilter
	f.AccountID, _ = q.text("account_id")
	f.CallID, _ = q.text("call_id")
	f.Switch, _ = q.text("switch")
	after, _ := q.text("after")
	size, _ := q.whole("limit", 1, 1000)
	if err := q.done(); err != nil {
		return nil, err
	}
	leases, more, err := s.admission.Leases(c.Context(), f, after, int(size))
	if err != nil {
		return nil, err
	}
	list := api.LeaseList{Data: make([]api.Lease, len(leases)), More: more}
	for i := range leases {
		list.Data[i] = wireLease(&leases[i])
	}
	return list, nil
}

func wireLease(l *store.Lease) api.Lease {
	return api.Lease{
		RecordType: "lease", ID: l.ID, AccountID: l.AccountID, ConnectionID: l.ConnectionID, CallID: l.CallID, Direction: l.Direction,
		Units: l.Units, Switch: l.Switch, AcquiredAt: api.Time(l.AcquiredAt), ExpiresAt: api.Time(l.ExpiresAt),
	}
}

// asParameter is a refusal of a part of the path.
func asParameter(err error, parameter string) error {
	var refusal *tenant.Error
	if errors.As(err, &refusal) {
		return tenant.RefuseParameter(refusal.Kind, parameter, refusal.Detail)
	}
	return err
}

// checkAdmissionType refuses a body that these routes do not read.
func (s *Server) checkAdmissionType(c *call) error {
	switch c.mediaType() {
	case "application/json", "application/x-www-form-urlencoded", "text/plain", "":
		return nil
	}
	return tenant.RefuseParameter(tenant.MediaType, "Content-Type", "A request body must be application/json, application/x-www-form-urlencoded or text/plain.")
}

// Pace lets an account have so many of each kind a second on average, and twice as many
// at once; nodes on one database keep to it together. A kind without a rate has no limit.
func Pace(db *store.DB, rates map[string]float64) func(kind, accountID string) bool {
	if len(rates) == 0 {
		return nil
	}
	limiters := map[string]*limiter{}
	for kind, rate := range rates {
		limiters[kind] = newLimiter(db.Source().Now, rate, int(max(1, 2*rate)), "admission_"+kind, db.Tell)
	}
	db.Hear(func(text string) {
		for _, l := range limiters {
			l.hear(text)
		}
	})
	return func(kind, accountID string) bool {
		l := limiters[kind]
		return l == nil || l.take(accountID).ok
	}
}

// mostLive is how large a list of live calls may be, in bytes.
const mostLive = 8 << 20

// Admission is a handler of the admission API alone, for a listener of its own.
func (s *Server) Admission() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		}
		if r.URL.Path != "/healthz" && r.URL.Path != "/readyz" && !strings.HasPrefix(r.URL.Path, admissionPrefix) {
			s.refuse(w, r, tenant.Refuse(tenant.NotFound, ""))
			return
		}
		s.serveAdmission(w, r)
	})
}

// serveAdmission looks at the prefixes first: what follows them is somebody else's,
// in whatever form.
func (s *Server) serveAdmission(w http.ResponseWriter, r *http.Request) {
	if o := s.checks[r.URL.Path]; o != nil {
		s.serve(o, w, r, "")
		return
	}
	for _, f := range forwards {
		if rest, ok := strings.CutPrefix(r.URL.Path, f.prefix); ok && (rest == "" || rest[0] == '/') {
			s.serve(s.forwards[f.prefix], w, r, "")
			return
		}
	}
	s.serveMux(w, r)
}
