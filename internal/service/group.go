package service

import (
	"context"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// OwnGroups are all groups of the actor's organization, by name.
func (s *Service) OwnGroups(ctx context.Context, actor tenant.Actor) (groups []tenant.Group, err error) {
	if err := actor.Allow(tenant.ViewUsers); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		groups, err = tx.Groups(actor.AccountID)
		return err
	})
	return groups, err
}

// OwnGroup is one of them.
func (s *Service) OwnGroup(ctx context.Context, actor tenant.Actor, id string) (group *tenant.Group, err error) {
	if err := actor.Allow(tenant.ViewUsers); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		group, err = tx.Group(actor.AccountID, id, "group_id")
		return err
	})
	return group, err
}

// GroupMembers are at most limit users of a group of the actor's organization, in the
// order of their creation, with numbers above after; next is where the others come
// after, 0 when there are none.
func (s *Service) GroupMembers(ctx context.Context, actor tenant.Actor, groupID string, after int64, limit int) (users []tenant.User, next int64, err error) {
	if err := actor.Allow(tenant.ViewUsers); err != nil {
		return nil, 0, err
	}
	if limit < 1 {
		return nil, 0, tenant.RefuseParameter(tenant.OutOfRange, "page[size]", "Must be at least 1.")
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		users, next = nil, 0
		if _, err := tx.Group(actor.AccountID, groupID, "group_id"); err != nil {
			return err
		}
		numbers, err := tx.MembersOf(groupID, after, limit+1)
		if err != nil {
			return err
		}
		if len(numbers) > limit {
			numbers = numbers[:limit]
			next = numbers[limit-1]
		}
		users, err = tx.UsersByNumber(actor.AccountID, numbers)
		return err
	})
	return users, next, err
}

// CreateOwnGroup adds a group to the actor's organization. It can grant only what the
// actor may do, as can those that the actor alters, removes or puts somebody into.
func (s *Service) CreateOwnGroup(ctx context.Context, actor tenant.Actor, name string, permissions []string) (group *tenant.Group, err error) {
	if err := actor.Allow(tenant.ManageGroups); err != nil {
		return nil, err
	}
	err = s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		group, err = s.addGroup(tx, actor, tenant.Group{AccountID: actor.AccountID, Name: name, Permissions: permissions})
		return err
	})
	if err != nil {
		return nil, err
	}
	return group, nil
}

// AlterGroup gives a group of the actor's organization another name and other
// permissions, which its members have at once, on all nodes.
func (s *Service) AlterGroup(ctx context.Context, actor tenant.Actor, id, name string, permissions []string) (group *tenant.Group, err error) {
	err = s.changeGroup(ctx, actor, id, func(before tenant.Group) (tenant.Change, error) {
		change, err := tenant.AlterGroup(actor, before, name, permissions)
		group = &before
		if len(change.Groups) > 0 {
			group = change.Groups[0].After
		}
		return change, err
	})
	if err != nil {
		return nil, err
	}
	return group, nil
}

// RemoveGroup takes a group of the actor's organization away, and what it granted from
// its members, at once, however many they are.
func (s *Service) RemoveGroup(ctx context.Context, actor tenant.Actor, id string) error {
	return s.changeGroup(ctx, actor, id, func(group tenant.Group) (tenant.Change, error) { return tenant.RemoveGroup(actor, group) })
}

func (s *Service) changeGroup(ctx context.Context, actor tenant.Actor, id string, rule func(tenant.Group) (tenant.Change, error)) error {
	if err := actor.Allow(tenant.ManageGroups); err != nil {
		return err
	}
	return s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		group, err := tx.Group(actor.AccountID, id, "group_id")
		if err != nil {
			return err
		}
		change, err := rule(*group)
		if err != nil {
			return err
		}
		return tx.Apply(change)
	})
}

// JoinGroup puts a user of the actor's organization into one of its groups.
func (s *Service) JoinGroup(ctx context.Context, actor tenant.Actor, groupID, userID string) error {
	return s.setOwnMember(ctx, actor, groupID, userID, true)
}

// LeaveGroup takes a user of the actor's organization out of one of its groups, whatever
// the group grants.
func (s *Service) LeaveGroup(ctx context.Context, actor tenant.Actor, groupID, userID string) error {
	return s.setOwnMember(ctx, actor, groupID, userID, false)
}

func (s *Service) setOwnMember(ctx context.Context, actor tenant.Actor, groupID, userID string, member bool) error {
	if err := actor.Allow(tenant.ManageGroups); err != nil {
		return err
	}
	return s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		_, err := setMember(tx, actor, actor.AccountID, groupID, userID, member)
		return err
	})
}
