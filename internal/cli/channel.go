package cli

import (
	"context"
	"strconv"

	"github.com/tenantry/tenantry/client"
)

// Channels is "tenantry channels": the outbound channels that a manager hands out.
type Channels struct {
	Show ShowChannels `cmd:"" help:"Show the pool and what is handed out of it."`
	Set  SetChannels  `cmd:"" help:"Give an account a number of channels."`
}

var poolView = view[client.AllocatableChannels]{
	id: func(c *client.AllocatableChannels) string { return strconv.FormatInt(c.Allocatable, 10) },
	columns: []column[client.AllocatableChannels]{
		{wire: "allocatable_global_outbound_channels", label: "pool", value: func(c *client.AllocatableChannels) string { return strconv.FormatInt(c.Allocatable, 10) }},
		{wire: "total_global_channels_allocated", label: "allocated", value: func(c *client.AllocatableChannels) string { return strconv.FormatInt(c.Allocated, 10) }},
		{wire: "channels_in_use", label: "in use", value: func(c *client.AllocatableChannels) string {
			var n int64
			if known, err := c.Field("channels_in_use", &n); err != nil || !known {
				return "" // Telnyx does not say
			}
			return strconv.FormatInt(n, 10)
		}},
		{wire: "free", value: func(c *client.AllocatableChannels) string { return strconv.FormatInt(c.Allocatable-c.Allocated, 10) }},
		{wire: "managed_account_allow_custom_pricing", label: "custom pricing", value: func(c *client.AllocatableChannels) string { return strconv.FormatBool(c.AllowCustomPricing) }},
	},
}

// ShowChannels is a command.
type ShowChannels struct{ Reading }

// Help shows an example.
func (ShowChannels) Help() string {
	return `Example:
  tenantry channels show`
}

// Run shows the pool.
func (x *ShowChannels) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	c, err := s.ManagedAccounts.AllocatableGlobalOutboundChannels(ctx)
	return finish(s, poolView, c, err, false)
}

var limitView = view[client.GlobalChannelLimit]{
	id: func(l *client.GlobalChannelLimit) string { return l.ID },
	columns: []column[client.GlobalChannelLimit]{
		{wire: "id", value: func(l *client.GlobalChannelLimit) string { return l.ID }},
		{wire: "email", value: func(l *client.GlobalChannelLimit) string { return l.Email }},
		{wire: "channel_limit", value: func(l *client.GlobalChannelLimit) string { return strconv.FormatInt(l.ChannelLimit, 10) }},
		{wire: "manager_account_id", value: func(l *client.GlobalChannelLimit) string { return l.ManagerAccountID }},
	},
}

// SetChannels is a command.
type SetChannels struct {
	OnAccount
	Channels int64 `arg:"" help:"Number of outbound channels; 0 forbids outbound calls."`
	Changing
}

// Help shows an example.
func (SetChannels) Help() string {
	return `Example:
  tenantry channels set ID 30`
}

// Run sets an account's limit.
func (x *SetChannels) Run(ctx context.Context, t *Terminal) error {
	if x.Channels < 0 {
		return usagef("the number of channels has to be 0 or more")
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	l, err := s.ManagedAccounts.UpdateGlobalChannelLimit(ctx, x.ID, x.Channels)
	return finish(s, limitView, l, err, false)
}
