package service

import (
	"context"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// ChannelShare is how many channels of the pool an account has, its ChannelLimit, and
// how many of them its calls hold now.
type ChannelShare struct {
	tenant.Account
	InUse int64
}

// SharePlace is a place in the list of shares; the zero one is its beginning.
type SharePlace struct{ Limit, Number int64 }

// ChannelShares are the actor's accounts by their share of the pool, the largest first,
// at most size of them, and where the next ones begin; the zero place when there are
// none.
func (s *Service) ChannelShares(ctx context.Context, actor tenant.Actor, after SharePlace, size int) (shares []ChannelShare, next SharePlace, err error) {
	if err := MayManage(actor); err != nil {
		return nil, next, err
	}
	if after == (SharePlace{}) {
		after.Limit = tenant.MaxChannels + 1
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		shares, next = nil, SharePlace{}
		rows, err := tx.AccountsByChannels(actor.AccountID, after.Limit, after.Number, size+1)
		if err != nil {
			return err
		}
		if len(rows) > size {
			rows = rows[:size]
			next = SharePlace{rows[size-1].ChannelLimit, rows[size-1].Number}
		}
		for _, row := range rows {
			inUse, err := tx.ChannelsInUse(row.ID)
			if err != nil {
				return err
			}
			shares = append(shares, ChannelShare{row, inUse})
		}
		return nil
	})
	return shares, next, err
}
