package httpapi

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/csvfile"
	"github.com/tenantry/tenantry/internal/service"
)

var userRoutes = []Route{
	{"ListOrganizationUsers", "GET /v2/organizations/users", "organization", (*Server).listUsers},
	{"GetOrganizationUsersGroupsReport", "GET /v2/organizations/users/users_groups_report", "organization", (*Server).groupsReport},
	{"GetOrganizationUser", "GET /v2/organizations/users/{id}", "organization", (*Server).retrieveUser},
	{"DeleteOrganizationUser", "POST /v2/organizations/users/{id}/actions/remove", "organization", (*Server).removeUser},
}

func userFilter(q *query) service.UserFilter {
	return service.UserFilter{
		EmailContains: q.contains("filter[email]", 1),
		Status:        q.enum("filter[user_status]", "enabled", "disabled", "blocked"),
		Groups:        q.flag("include_groups"),
	}
}

func (s *Server) listUsers(c *call) (any, error) {
	q := c.query()
	filter := userFilter(q)
	page := q.page(c, mostPerPage)
	if err := q.done(); err != nil {
		return nil, err
	}
	users, place, err := s.service.Users(c.Context(), c.actor, filter, page)
	if err != nil {
		return nil, err
	}
	return listOf(users, wireUser, page, place), nil
}

func (s *Server) retrieveUser(c *call) (any, error) {
	q := c.query()
	groups := q.flag("include_groups")
	if err := q.done(); err != nil {
		return nil, err
	}
	return userAnswer(s.service.User(c.Context(), c.actor, c.id, groups))
}

func (s *Server) removeUser(c *call) (any, error) {
	once, err := c.once()
	if err != nil {
		return nil, err
	}
	answer, err := s.service.RemoveUser(c.Context(), c.actor, c.id, once, func(u *service.User) ([]byte, error) {
		return encode(api.Response[api.OrganizationUser]{Data: wireUser(u)})
	})
	return encoded(answer), err
}

func userAnswer(u *service.User, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return api.Response[api.OrganizationUser]{Data: wireUser(u)}, nil
}

func wireUser(u *service.User) api.OrganizationUser {
	wire := api.OrganizationUser{
		ID: u.ID, RecordType: "organization_sub_user", Email: u.Email, UserStatus: string(u.Status),
		BypassesSSO: u.BypassesSSO, CreatedAt: api.Time(u.CreatedAt),
	}
	if u.Owner() {
		wire.RecordType = "organization_owner"
	}
	if !u.LastSignInAt.IsZero() {
		at := api.Time(u.LastSignInAt)
		wire.LastSignInAt = &at
	}
	if u.Groups != nil {
		groups := make([]api.GroupReference, len(u.Groups))
		for i, g := range u.Groups {
			groups[i] = api.GroupReference{ID: g.ID, Name: g.Name}
		}
		wire.Groups = &groups
	}
	return wire
}

// groupsReport streams every user with groups, as JSON or CSV. Accept chooses;
// without a word from it, Content-Type does, for the vendor's text says so.
func (s *Server) groupsReport(c *call) (any, error) {
	if err := c.query().done(); err != nil {
		return nil, err
	}
	c.put("Vary", "Accept")
	accept := c.Header.Get("Accept")
	if accept == "" || accept == "*/*" {
		accept = c.Header.Get("Content-Type")
	}
	report, rows := &reportWriter{}, &csvfile.Users{}
	if prefersCSV(accept) {
		return stream{"text/csv; charset=utf-8", func(w io.Writer) error {
			io.WriteString(w, csvfile.UsersHeader)
			return s.service.GroupsReport(c.Context(), c.actor, func(u *service.User) error {
				// The line break stands before a row: the contract's example ends without one.
				_, err := w.Write(rows.Row(u))
				return err
			})
		}}, nil
	}
	return stream{"application/json", func(w io.Writer) error {
		io.WriteString(w, `{"data":[`)
		err := s.service.GroupsReport(c.Context(), c.actor, func(u *service.User) error {
			_, err := w.Write(report.json(u))
			return err
		})
		io.WriteString(w, `]}`)
		return err
	}}, nil
}

// prefersCSV reports whether an Accept header likes text/csv better than JSON.
func prefersCSV(accept string) bool {
	var csv, json, any float64
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil || !(q >= 0 && q <= 1) {
				continue
			}
		}
		switch kind {
		case "text/csv":
			csv = max(csv, q)
		case "application/json":
			json = max(json, q)
		case "text/*", "application/*", "*/*":
			any = max(any, q)
		}
	}
	return csv > 0 && csv > json && csv >= any
}

// reportWriter encodes one user after another in one buffer: the report is the
// answer with the most rows, so that nothing is allocated for a row.
type reportWriter struct {
	row   []byte
	wrote bool
}

// json is a row with the comma before it, if it is not the first.
func (r *reportWriter) json(u *service.User) []byte {
	r.row = r.row[:0]
	if r.wrote {
		r.row = append(r.row, ',')
	}
	r.wrote = true
	r.row = append(r.row, `{"id":`...)
	r.row = appendString(r.row, u.ID)
	r.row = append(r.row, `,"record_type":"organization_`...)
	if u.Owner() {
		r.row = append(r.row, `owner"`...)
	} else {
		r.row = append(r.row, `sub_user"`...)
	}
	r.row = append(r.row, `,"email":`...)
	r.row = appendString(r.row, u.Email)
	r.row = append(r.row, `,"user_status":"`...)
	r.row = append(r.row, u.Status...)
	r.row = append(r.row, `","organization_user_bypasses_sso":`...)
	r.row = strconv.AppendBool(r.row, u.BypassesSSO)
	r.row = append(r.row, `,"created_at":"`...)
	r.row = u.CreatedAt.AppendFormat(r.row, api.TimeFormat)
	r.row = append(r.row, `","last_sign_in_at":`...)
	r.row = appendMoment(r.row, u.LastSignInAt)
	r.row = append(r.row, `,"groups":[`...)
	for i, g := range u.Groups {
		if i > 0 {
			r.row = append(r.row, ',')
		}
		r.row = append(r.row, `{"id":`...)
		r.row = appendString(r.row, g.ID)
		r.row = append(r.row, `,"name":`...)
		r.row = appendString(r.row, g.Name)
		r.row = append(r.row, '}')
	}
	return append(r.row, `]}`...)
}

func appendMoment(row []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(row, "null"...)
	}
	row = append(row, '"')
	row = t.AppendFormat(row, api.TimeFormat)
	return append(row, '"')
}

// appendString writes a JSON string: as it is while it is plain ASCII.
func appendString(row []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			e.Encode(s) // a string always encodes
			return append(row, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
		}
	}
	row = append(row, '"')
	row = append(row, s...)
	return append(row, '"')
}
