package service

import (
	"context"
	"fmt"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// What stands here is for the operator only; httpapi lets nobody else call it.

// Connections are all connections of an account, by name.
func (s *Service) Connections(ctx context.Context, accountID string) (connections []tenant.Connection, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		if _, err := s.anyAccount(tx, accountID); err != nil {
			return err
		}
		connections, err = tx.Connections(accountID)
		return err
	})
	return connections, err
}

// Connection is one of them.
func (s *Service) Connection(ctx context.Context, accountID, id string) (connection *tenant.Connection, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		connection, err = tx.Connection(accountID, id, "connection_id")
		return err
	})
	return connection, err
}

// CreateConnection adds a connection to an account. in.ID is for seeds, ""
// otherwise.
func (s *Service) CreateConnection(ctx context.Context, actor tenant.Actor, accountID string, in tenant.Connection, once Once, answer func(*tenant.Connection) ([]byte, error)) ([]byte, error) {
	lane, err := s.lane(ctx, accountID)
	if err != nil {
		return nil, err
	}
	if in.ID == "" {
		in.ID = s.db.Source().NewID()
	}
	return s.once(ctx, lane, once, func(tx *store.Tx) ([]byte, error) {
		account, err := s.anyAccount(tx, accountID)
		if err != nil {
			return nil, err
		}
		count, err := tx.ConnectionCount(accountID)
		if err != nil {
			return nil, err
		}
		if count >= tenant.MaxConnections {
			return nil, tenant.Refuse(tenant.Conflict, fmt.Sprintf("An account may have at most %d connections.", tenant.MaxConnections))
		}
		connection := in
		connection.CreatedAt, connection.UpdatedAt = tx.Now(), tx.Now()
		change, err := tenant.NewConnection(actor, *account, connection)
		if err != nil {
			return nil, err
		}
		if err := tx.Apply(change); err != nil {
			return nil, err
		}
		return answer(change.Connections[0].After)
	})
}

// AlterConnection changes what alter changes of a connection.
func (s *Service) AlterConnection(ctx context.Context, actor tenant.Actor, accountID, id string, alter func(*tenant.Connection)) (connection *tenant.Connection, err error) {
	lane, err := s.lane(ctx, accountID)
	if err != nil {
		return nil, err
	}
	err = s.db.Update(ctx, lane, func(tx *store.Tx) error {
		account, err := s.anyAccount(tx, accountID)
		if err != nil {
			return err
		}
		before, err := tx.Connection(accountID, id, "connection_id")
		if err != nil {
			return err
		}
		connection = before
		change, err := tenant.AlterConnection(actor, *account, *before, alter, tx.Now())
		if err != nil || change.Empty() {
			return err
		}
		connection = change.Connections[0].After
		return tx.Apply(change)
	})
	return connection, err
}

// RemoveConnection takes a connection away and returns it as it was.
func (s *Service) RemoveConnection(ctx context.Context, actor tenant.Actor, accountID, id string) (connection *tenant.Connection, err error) {
	lane, err := s.lane(ctx, accountID)
	if err != nil {
		return nil, err
	}
	err = s.db.Update(ctx, lane, func(tx *store.Tx) error {
		if connection, err = tx.Connection(accountID, id, "connection_id"); err != nil {
			return err
		}
		return tx.Apply(tenant.RemoveConnection(actor, *connection))
	})
	return connection, err
}

// mostConnections is how many connections a page of people's shows.
const mostConnections = 50

// firstConnections are the first connections of an account, by name.
func firstConnections(tx *store.Tx, accountID string) (found Some[tenant.Connection], err error) {
	rows, err := tx.ConnectionRows(accountID)
	if err != nil {
		return found, err
	}
	for _, row := range rows {
		if found.More = len(found.Rows) == mostConnections; found.More {
			break
		}
		full, err := tx.Connection(accountID, row.ID, "connection_id")
		if err != nil {
			return found, err
		}
		found.Rows = append(found.Rows, *full)
	}
	return found, nil
}

// ManagedConnections are the first connections of one of the actor's accounts, by
// name.
func (s *Service) ManagedConnections(ctx context.Context, actor tenant.Actor, id string) (found Some[tenant.Connection], err error) {
	if err := MayManage(actor); err != nil {
		return found, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		if _, err := tx.ManagedAccount(actor.AccountID, id); err != nil {
			return err
		}
		found, err = firstConnections(tx, id)
		return err
	})
	return found, err
}

// OwnConnections are those of the actor's account.
func (s *Service) OwnConnections(ctx context.Context, actor tenant.Actor) (Some[tenant.Connection], error) {
	if err := actor.Allow(tenant.ViewConnections); err != nil {
		return Some[tenant.Connection]{}, err
	}
	return s.FirstConnections(ctx, actor.AccountID)
}

// FirstConnections are those of any account. The operator only.
func (s *Service) FirstConnections(ctx context.Context, accountID string) (found Some[tenant.Connection], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		if _, err := s.anyAccount(tx, accountID); err != nil {
			return err
		}
		found, err = firstConnections(tx, accountID)
		return err
	})
	return found, err
}

// ChannelUse is what the calls of an account hold now.
type ChannelUse struct {
	// Limit and InUse are outbound channels.
	Limit, InUse int64
}

// ChannelUse is how much of its limit one of the actor's accounts uses.
func (s *Service) ChannelUse(ctx context.Context, actor tenant.Actor, id string) (use ChannelUse, err error) {
	if err := MayManage(actor); err != nil {
		return use, err
	}
	return s.channelUse(ctx, id, func(tx *store.Tx) (*tenant.Account, error) { return tx.ManagedAccount(actor.AccountID, id) })
}

// AnyChannelUse is that of any account. The operator only.
func (s *Service) AnyChannelUse(ctx context.Context, id string) (ChannelUse, error) {
	return s.channelUse(ctx, id, func(tx *store.Tx) (*tenant.Account, error) { return s.anyAccount(tx, id) })
}

func (s *Service) channelUse(ctx context.Context, id string, find func(*store.Tx) (*tenant.Account, error)) (use ChannelUse, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		account, err := find(tx)
		if err != nil {
			return err
		}
		use.Limit = account.ChannelLimit
		use.InUse, err = tx.ChannelsInUse(id)
		return err
	})
	return use, err
}
