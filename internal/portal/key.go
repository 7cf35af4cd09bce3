package portal

import (
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

const keysPath = Prefix + "keys"

var keyRoutes = []Route{
	{"keys", "GET " + keysPath, SignedIn, (*Portal).keys},
	{"create key", "POST " + keysPath, SignedIn, (*Portal).createKey},
	{"rotate key", "POST " + keysPath + "/{id}/rotate", SignedIn, (*Portal).rotateKey},
	{"revoke key", "POST " + keysPath + "/{id}/revoke", SignedIn, (*Portal).revokeKey},
}

type keyPage struct {
	Keys []ownKey
	// Made and Secret are of a key that was made just now: it is shown this once.
	Made   *tenant.Key
	Secret string
	// Managed says that the account has a manager.
	Managed bool
	// Expiries and Overlaps are choices of the forms, in days and in hours.
	Expiries, Overlaps []choice
}

type choice struct{ Value, Text string }

type ownKey struct {
	tenant.Key
	Expired bool
	// First says that it came with the account or the user, and Account that it is the
	// account's own, which its manager can see.
	First, Account bool
}

var (
	expiries = []choice{{"", "Never"}, {"168h", "7 days"}, {"720h", "30 days"}, {"2160h", "90 days"}, {"8760h", "1 year"}}
	overlaps = []choice{{"0s", "At once"}, {"1h", "In 1 hour"}, {"24h", "In 1 day"}, {"168h", "In 7 days"}, {"720h", "In 30 days"}}
)

func (p *Portal) keys(v *visit) (any, error) { return p.showKeys(v, nil, "") }

func (p *Portal) showKeys(v *visit, made *tenant.Key, secret string) (any, error) {
	keys, err := p.service.Keys(v.Context(), v.actor, v.actor.UserID)
	if err != nil {
		return nil, err
	}
	shown := keyPage{Made: made, Secret: secret, Managed: v.actor.ManagerID != "", Expiries: expiries, Overlaps: overlaps}
	for _, key := range keys {
		shown.Keys = append(shown.Keys, ownKey{key, key.Expired(p.source.Now()), key.Name == "", key.Name == "" && v.actor.Owner()})
	}
	return page{template: "keys", title: "API keys", data: shown}, nil
}

// span is a length of time of the form, refused where it is none.
func (v *visit) span(field string) (time.Duration, error) {
	text := v.text(field)
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > 10*365*24*time.Hour {
		return 0, tenant.RefuseField(tenant.Invalid, field, "Choose one of the list.")
	}
	return d, nil
}

func (p *Portal) createKey(v *visit) (any, error) {
	life, err := v.span("expires")
	if err != nil {
		return p.again(v, err, (*Portal).keys)
	}
	expires := time.Time{}
	if life > 0 {
		expires = p.source.Now().Add(life)
	}
	key, secret, err := p.service.CreateKey(v.Context(), v.actor, v.text("name"), expires)
	if err != nil {
		return p.again(v, err, (*Portal).keys)
	}
	return p.showKeys(v, key, secret)
}

func (p *Portal) rotateKey(v *visit) (any, error) {
	overlap, err := v.span("overlap")
	if err != nil {
		return p.again(v, err, (*Portal).keys)
	}
	key, secret, err := p.service.RotateKey(v.Context(), v.actor, v.PathValue("id"), overlap)
	if err != nil {
		return p.again(v, err, (*Portal).keys)
	}
	return p.showKeys(v, key, secret)
}

func (p *Portal) revokeKey(v *visit) (any, error) {
	if err := p.service.RevokeKey(v.Context(), v.actor, v.actor.UserID, v.PathValue("id")); err != nil {
		return p.again(v, err, (*Portal).keys)
	}
	return redirect{to: keysPath, notice: "The key is good no more."}, nil
}
