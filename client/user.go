package client

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"net/url"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/api"
)

// OrganizationUsers are the people of the key's own organization: operations on
// /organizations/users. Every method refuses with *Error.
type OrganizationUsers struct{ c *Client }

// OrganizationUser is a person of an organization as it came.
type OrganizationUser struct {
	api.OrganizationUser
	Fields
}

// MarshalJSON is the object as it came.
func (o OrganizationUser) MarshalJSON() ([]byte, error) { return o.marshal(o.OrganizationUser) }

// OrganizationUserList chooses what a list has. "" and 0 choose nothing.
type OrganizationUserList struct {
	// Email is a part of the address.
	Email string
	// UserStatus is enabled, disabled or blocked.
	UserStatus string
	// IncludeGroups adds each user's groups.
	IncludeGroups bool
	// PageNumber counts from 1; PageSize is 1 to 250, 250 when 0.
	PageNumber, PageSize int64
}

func (p OrganizationUserList) query() url.Values {
	q := url.Values{}
	set(q, "filter[email]", p.Email)
	set(q, "filter[user_status]", p.UserStatus)
	if p.IncludeGroups {
		q.Set("include_groups", "true")
	}
	return q
}

const usersPath = "/organizations/users"

// List is one page of users (ListOrganizationUsers).
func (s *OrganizationUsers) List(ctx context.Context, params OrganizationUserList) (*Page[OrganizationUser], error) {
	r := request{operation: "list organization users", method: "GET", path: usersPath, query: params.query()}
	return page[OrganizationUser](ctx, s.c, r, params.PageNumber, params.PageSize)
}

// All goes through every user from the page that params names on. It ends after
// an error.
func (s *OrganizationUsers) All(ctx context.Context, params OrganizationUserList) iter.Seq2[*OrganizationUser, error] {
	return every(ctx, func() (*Page[OrganizationUser], error) { return s.List(ctx, params) })
}

// Retrieve is one user (GetOrganizationUser), with the groups if they are wanted.
func (s *OrganizationUsers) Retrieve(ctx context.Context, id string, includeGroups bool) (*OrganizationUser, error) {
	q := url.Values{}
	if includeGroups {
		q.Set("include_groups", "true")
	}
	return object[OrganizationUser](ctx, s.c, request{operation: "retrieve organization user", method: "GET", path: pathID(usersPath, id), query: q})
}

// Remove takes a user out of the organization (DeleteOrganizationUser) and is the
// user as it was.
func (s *OrganizationUsers) Remove(ctx context.Context, id string) (*OrganizationUser, error) {
	return object[OrganizationUser](ctx, s.c, request{operation: "remove organization user", method: "POST", path: pathID(usersPath, id, "/actions/remove")})
}

const reportPath = usersPath + "/users_groups_report"

// GroupsReport is every user with groups (GetOrganizationUsersGroupsReport). For
// organizations of many thousands GroupsReportRows holds one row at a time.
func (s *OrganizationUsers) GroupsReport(ctx context.Context) ([]OrganizationUser, error) {
	report, err := call[Page[OrganizationUser]](ctx, s.c, request{operation: "retrieve groups report", method: "GET", path: reportPath})
	if err != nil {
		return nil, err
	}
	return report.Data, nil
}

// GroupsReportCSV is the same as CSV, as the server sends it. The caller closes
// it.
func (s *OrganizationUsers) GroupsReportCSV(ctx context.Context) (io.ReadCloser, error) {
	a, err := s.c.send(ctx, request{operation: "retrieve groups report", method: "GET", path: reportPath, accept: "text/csv"})
	if err != nil {
		return nil, err
	}
	return a.body, nil
}

// GroupsReportRow is one row of the CSV report.
type GroupsReportRow struct {
	ID, Email, UserStatus, CreatedAt string
	// LastSignInAt is "" for a user who never signed in.
	LastSignInAt string
	// Groups are the groups' names, joined by comma and space.
	Groups string
}

var reportColumns = []string{"id", "email", "user_status", "created_at", "last_sign_in_at", "groups"}

// GroupsReportRows goes through the CSV report row by row, each as it arrives. It
// ends after an error.
func (s *OrganizationUsers) GroupsReportRows(ctx context.Context) iter.Seq2[GroupsReportRow, error] {
	return func(yield func(GroupsReportRow, error) bool) {
		body, err := s.GroupsReportCSV(ctx)
		if err != nil {
			yield(GroupsReportRow{}, err)
			return
		}
		defer body.Close()
		rows := csv.NewReader(body)
		rows.ReuseRecord = true
		head, err := rows.Read()
		if err == io.EOF || err == nil && !slices.Equal(head, reportColumns) {
			err = fmt.Errorf("it does not begin with %s", strings.Join(reportColumns, ","))
		}
		for err == nil {
			var cells []string
			if cells, err = rows.Read(); err == nil && !yield(GroupsReportRow{cells[0], cells[1], cells[2], cells[3], cells[4], cells[5]}, nil) {
				return
			}
		}
		if err == io.EOF {
			return
		}
		if _, broken := err.(*Error); !broken {
			err = &Error{Operation: "retrieve groups report", StatusCode: 200, why: unexpected, cause: err}
		}
		yield(GroupsReportRow{}, err)
	}
}
