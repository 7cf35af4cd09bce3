package service

import (
	"context"

	"github.com/tenantry/tenantry/internal/store"
)

// What stands here is for the operator only; httpapi lets nobody else call it.

// mostDeliveries is how many deliveries can be seen, of those that a filter finds.
const mostDeliveries = 1000

// Deliveries is a page of the newest events that went, or are to go, to the webhook:
// of one status and one type, or of any for "".
func (s *Service) Deliveries(ctx context.Context, status, eventType string, page Page) ([]store.Delivery, Place, error) {
	var found []store.Delivery
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.Deliveries(status, eventType, mostDeliveries)
		return err
	})
	if err != nil {
		return nil, Place{}, err
	}
	total := int64(len(found))
	first := total
	if page.Number-1 < (total+page.Size-1)/page.Size {
		first = (page.Number - 1) * page.Size
	}
	return found[first:min(total, first+page.Size)], Place{Total: total}, nil
}

// RetryDelivery has an event be sent again, now, whatever became of it.
func (s *Service) RetryDelivery(ctx context.Context, id string) (delivery *store.Delivery, err error) {
	err = s.db.Update(ctx, store.WebhookLane, func(tx *store.Tx) (err error) {
		delivery, err = tx.Retry(id)
		return err
	})
	return delivery, err
}
