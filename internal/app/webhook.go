package app

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/internal/httpapi"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
	"github.com/tenantry/tenantry/internal/webhook"
)

// sendEvents makes what sends events, if there is a URL, and lets the operator see
// the key.
func (a *App) sendEvents(ctx context.Context, options *httpapi.Options, parts Parts) error {
	key, err := a.webhookKey(ctx, parts.Source)
	if err != nil {
		return fmt.Errorf("webhook key: %w", err)
	}
	options.WebhookKey = base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	for _, name := range a.Config.WebhookEvents {
		if !slices.ContainsFunc(tenant.Events, func(event string) bool { return strings.HasPrefix(event+".", name+".") }) {
			return fmt.Errorf("webhook-events: there is no event %q; there are %s", name, strings.Join(tenant.Events, ", "))
		}
	}
	var counted func(string)
	if a.metrics != nil {
		counted = a.metrics.delivered
	}
	if a.Config.WebhookURL == "" {
		return nil
	}
	a.webhook, err = webhook.New(ctx, a.DB, webhook.Options{
		URL: a.Config.WebhookURL, FailoverURL: a.Config.WebhookFailoverURL, Events: a.Config.WebhookEvents,
		Timeout: a.Config.WebhookTimeout, Key: key, Alone: !strings.HasPrefix(a.Config.DatabaseAddress(), "postgres"),
		Logger: parts.Logger, Counted: counted,
	})
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	options.TestWebhook = a.webhook.Test
	return nil
}

// webhookKey is what signs events: the first node to ask makes it, and it is kept
// under the master key.
func (a *App) webhookKey(ctx context.Context, source *tenant.Source) (ed25519.PrivateKey, error) {
	const name = "webhook_key"
	var sealed string
	err := a.DB.View(ctx, func(tx *store.Tx) (err error) {
		sealed, err = tx.Agreed(name)
		return err
	})
	if err == nil && sealed == "" {
		made := a.Sealer.Seal(source.Bytes(ed25519.SeedSize), name)
		err = a.DB.Update(ctx, "", func(tx *store.Tx) (err error) {
			sealed, err = tx.Agree(name, made)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	seed, err := a.Sealer.Open(sealed, name)
	if err != nil {
		return nil, err
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("it has %d bytes", len(seed))
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
