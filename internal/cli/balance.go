package cli

import (
	"context"

	"github.com/tenantry/tenantry/client"
)

var balanceView = view[client.Balance]{
	id: func(b *client.Balance) string { return b.Balance.Balance },
	columns: []column[client.Balance]{
		{wire: "balance", value: func(b *client.Balance) string { return b.Balance.Balance }},
		{wire: "credit_limit", value: func(b *client.Balance) string { return b.CreditLimit }},
		{wire: "available_credit", value: func(b *client.Balance) string { return b.AvailableCredit }},
		{wire: "pending", value: func(b *client.Balance) string { return b.Pending }},
		{wire: "currency", value: func(b *client.Balance) string { return b.Currency }},
	},
}

// Balance is "tenantry balance".
type Balance struct{ Reading }

// Help shows an example.
func (Balance) Help() string {
	return `Examples:
  tenantry balance
  tenantry balance -q`
}

// Run shows the balance of the key's own account.
func (x *Balance) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	b, err := s.Balance.Retrieve(ctx)
	return finish(s, balanceView, b, err, false)
}
