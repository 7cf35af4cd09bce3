package service

import (
	"context"
	"fmt"
	"slices"

	"github.com/tenantry/tenantry/internal/directory"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// User is an organization user with the groups, where they were asked for.
type User struct {
	tenant.User
	// Groups is nil unless asked for.
	Groups []tenant.Group
}

// UserFilter says which users a list has; "" asks for nothing.
type UserFilter struct {
	EmailContains string
	// Status is "", enabled, disabled or blocked.
	Status string
	Groups bool
}

var userStatuses = map[string]directory.Statuses{
	"":         enabled | disabled | blocked,
	"enabled":  enabled,
	"disabled": disabled,
	"blocked":  blocked,
}

// Users is a page of the users of the actor's organization, in the order of
// their creation.
func (s *Service) Users(ctx context.Context, actor tenant.Actor, f UserFilter, page Page) ([]User, Place, error) {
	if err := may(actor, "organization"); err != nil {
		return nil, Place{}, err
	}
	return s.listUsers(ctx, actor.AccountID, f, page)
}

// UsersOf is the same for any organization. The operator only.
func (s *Service) UsersOf(ctx context.Context, accountID string, f UserFilter, page Page) ([]User, Place, error) {
	if _, err := s.AnyAccount(ctx, accountID); err != nil {
		return nil, Place{}, err
	}
	return s.listUsers(ctx, accountID, f, page)
}

func (s *Service) listUsers(ctx context.Context, accountID string, f UserFilter, page Page) ([]User, Place, error) {
	page.query = fmt.Sprintf("%q %q", f.EmailContains, f.Status)
	numbers, place, err := s.users.page(ctx, accountID,
		directory.Query{Statuses: userStatuses[f.Status], EmailContains: f.EmailContains}, page)
	if err != nil {
		return nil, Place{}, err
	}
	users := make([]User, 0, len(numbers))
	err = s.db.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.UsersByNumber(accountID, numbers)
		for _, row := range rows {
			user := User{User: row}
			if f.Groups {
				if user.Groups, err = tx.GroupsOf(&row); err != nil {
					return err
				}
			}
			users = append(users, user)
		}
		return err
	})
	return users, place, err
}

// User is one user of the actor's organization.
func (s *Service) User(ctx context.Context, actor tenant.Actor, id string, groups bool) (user *User, err error) {
	if err := may(actor, "organization"); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		row, err := tx.User(actor.AccountID, id, "id")
		if err != nil {
			return err
		}
		user = &User{User: *row}
		if groups {
			user.Groups, err = tx.GroupsOf(row)
		}
		return err
	})
	return user, err
}

// RemoveUser takes a sub-user out of the actor's organization. answer encodes
// the user as it was; a retry of the request gets the same.
func (s *Service) RemoveUser(ctx context.Context, actor tenant.Actor, id string, once Once, answer func(*User) ([]byte, error)) ([]byte, error) {
	if err := may(actor, "organization"); err != nil {
		return nil, err
	}
	return s.once(ctx, laneOf(actor), once, func(tx *store.Tx) ([]byte, error) {
		row, err := tx.User(actor.AccountID, id, "id")
		if err != nil {
			return nil, err
		}
		groups, err := tx.GroupsOf(row)
		if err != nil {
			return nil, err
		}
		change, err := tenant.RemoveUser(actor, *row, groups)
		if err != nil {
			return nil, err
		}
		if err := tx.Apply(change); err != nil {
			return nil, err
		}
		return answer(&User{User: *row})
	})
}

// reportChunk is how many users the report reads in one transaction: few enough
// that none is held for long, however slow the reader is.
const reportChunk = 4096

// reportPart is one chunk, and the memory that the next but one takes over.
type reportPart struct {
	users   []User
	members []store.Member
	groups  []tenant.Group // of all users, end to end
	err     error
}

// GroupsReport calls fn with every user of the actor's organization and the
// user's groups, in order of creation. The value is overwritten by the next.
// Memory does not grow with the organization. A user who is there from start to
// end comes exactly once. Too many at once for one credential are refused with kind
// TooMany.
func (s *Service) GroupsReport(ctx context.Context, actor tenant.Actor, fn func(*User) error) error {
	if err := may(actor, "organization"); err != nil {
		return err
	}
	leave, err := s.reports.enter(actor.CredentialID)
	if err != nil {
		return err
	}
	defer leave()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	parts, spare := make(chan *reportPart), make(chan *reportPart, 2)
	spare <- &reportPart{}
	spare <- &reportPart{}
	go s.readReport(ctx, actor.AccountID, spare, parts)
	for part := range parts {
		if part.err != nil {
			return part.err
		}
		for i := range part.users {
			if err := fn(&part.users[i]); err != nil {
				return err
			}
		}
		spare <- part
	}
	return ctx.Err()
}

// readReport reads the next chunk while the last one is being sent.
func (s *Service) readReport(ctx context.Context, accountID string, spare <-chan *reportPart, parts chan<- *reportPart) {
	defer close(parts)
	after := int64(0)
	for {
		var part *reportPart
		select {
		case part = <-spare:
		case <-ctx.Done():
			return
		}
		part.err = s.db.View(ctx, func(tx *store.Tx) error { return part.read(tx, accountID, after) })
		if part.err == nil && len(part.users) == 0 {
			return
		}
		if part.err == nil {
			after = part.users[len(part.users)-1].Number
		}
		select {
		case parts <- part:
		case <-ctx.Done():
			return
		}
		if part.err != nil {
			return
		}
	}
}

func (p *reportPart) read(tx *store.Tx, accountID string, after int64) error {
	groups, err := tx.Groups(accountID)
	if err != nil {
		return err
	}
	place := make(map[string]int, len(groups))
	for i, g := range groups {
		place[g.ID] = i
	}
	p.users, p.members, p.groups = p.users[:0], p.members[:0], p.groups[:0]
	if err := tx.UsersAfter(accountID, after, reportChunk, func(u *tenant.User) error {
		p.users = append(p.users, User{User: *u})
		return nil
	}); err != nil || len(p.users) == 0 {
		return err
	}
	if err := tx.Members(accountID, after, p.users[len(p.users)-1].Number, func(m *store.Member) error {
		p.members = append(p.members, *m)
		return nil
	}); err != nil {
		return err
	}
	rest := p.members
	for i := range p.users {
		user := &p.users[i]
		first := len(p.groups)
		for len(rest) > 0 && rest[0].UserNumber <= user.Number {
			// A group that has gone may still have members.
			if at, there := place[rest[0].GroupID]; there && rest[0].UserNumber == user.Number {
				p.groups = append(p.groups, groups[at])
			}
			rest = rest[1:]
		}
		user.Groups = p.groups[first:len(p.groups):len(p.groups)]
		slices.SortFunc(user.Groups, func(a, b tenant.Group) int { return place[a.ID] - place[b.ID] })
	}
	return nil
}
