package service

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// messaging is the permission that sub-users need.
const messaging = "messaging"

// MayMessage refuses, with kind Forbidden, who may not send messages.
func MayMessage(actor tenant.Actor) error { return may(actor, messaging) }

// SendMessage records a message of the actor's account. When it is to be sent now, it
// is the caller's until its DueAt, to be handed over: a process that dies before leaves
// it to the others. sendAt is when it is to be sent; zero, or past, is now.
//
// A request that comes twice is recorded once. Then fresh is false, and the message is
// as it stands now; it is somebody else's to hand over.
func (s *Service) SendMessage(ctx context.Context, actor tenant.Actor, content tenant.MessageContent, sendAt time.Time, once Once) (m *tenant.Message, fresh bool, err error) {
	if err := MayMessage(actor); err != nil {
		return nil, false, err
	}
	if err := tenant.CheckMessage(&content); err != nil {
		return nil, false, err
	}
	leave, err := s.underway.enter(ctx, once)
	if err != nil {
		return nil, false, err
	}
	defer leave()
	id := s.db.Source().NewID()
	answer, err := s.once(ctx, store.MessageLane(actor.AccountID), once, func(tx *store.Tx) ([]byte, error) {
		// The account may have been stopped since it was let in.
		if err := tx.Admit(actor.AccountID); err != nil {
			return nil, err
		}
		now := tx.Now()
		m = &tenant.Message{
			ID: id, AccountID: actor.AccountID, Sender: actor.UserID, CredentialID: actor.CredentialID, RequestID: actor.RequestID,
			MessageContent: content, Status: tenant.MessageQueued, ReceivedAt: now,
		}
		at := sendAt
		switch {
		case at.After(now.Add(tenant.MaxSchedule)):
			return nil, tenant.RefuseField(tenant.OutOfRange, "send_at", "May be at most 5 days ahead.")
		case at.After(now):
			m.DueAt = at
		default:
			at = now
			m.DueAt, m.Attempts = now.Add(tenant.HandOverTime), 1
		}
		m.ValidUntil, m.ExpiresAt = at.Add(tenant.MessageLife), at.Add(s.options.KeepMessages)
		return []byte(id), tx.AddMessage(m)
	})
	if err != nil {
		return nil, false, err
	}
	if string(answer) == id {
		return m, true, nil
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		m, err = tx.Message(actor.AccountID, string(answer))
		return err
	})
	return m, false, err
}

// Message is one of the messages of the actor's account.
func (s *Service) Message(ctx context.Context, actor tenant.Actor, id string) (m *tenant.Message, err error) {
	if err := MayMessage(actor); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		m, err = tx.Message(actor.AccountID, id)
		return err
	})
	return m, err
}
