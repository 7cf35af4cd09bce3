package client

import (
	"context"

	"github.com/tenantry/tenantry/api"
)

// Messages are what the key's own account sends: operations on /messages. Every method
// refuses with *Error.
type Messages struct{ c *Client }

// Message is a message as it came.
type Message struct {
	api.Message
	Fields
}

// MarshalJSON is the object as it came.
func (m Message) MarshalJSON() ([]byte, error) { return m.marshal(m.Message) }

// MessageSend is what is to be sent; To is required.
type MessageSend = api.SendMessage

const messagesPath = "/messages"

// Send sends a message (SendMessage). What becomes of it, Retrieve tells later.
func (s *Messages) Send(ctx context.Context, body MessageSend) (*Message, error) {
	return object[Message](ctx, s.c, request{operation: "send message", method: "POST", path: messagesPath, body: body})
}

// Retrieve is one message, and how far it has come (RetrieveMessage).
func (s *Messages) Retrieve(ctx context.Context, id string) (*Message, error) {
	return object[Message](ctx, s.c, request{operation: "retrieve message", method: "GET", path: pathID(messagesPath, id)})
}
