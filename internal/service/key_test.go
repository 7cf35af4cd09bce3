package service_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

// works reports whether a V2 key lets anybody in.
func (w *world) works(key string) bool {
	_, err := w.auth.Actor(w.ctx, auth.Credentials{Authorization: "Bearer " + key})
	return err == nil
}

// TestKeys: a user's keys come, are used, expire, overlap and go.
func TestKeys(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		member := w.in(t, w.portal(t, p.member).Token).Actor

		key, secret, err := w.CreateKey(w.ctx, member, "ci", w.clock.Now().Add(48*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		actor := w.actor(t, secret)
		if actor.UserID != p.user.ID || actor.CredentialID != key.ID || key.Digest != "" || key.Sealed != "" {
			t.Errorf("the key: %+v, its holder: %+v", key, actor)
		}
		if err := w.auth.NoteUses(w.ctx); err != nil {
			t.Fatal(err)
		}
		used := w.clock.Now()
		w.clock.Move(30 * time.Minute)
		w.actor(t, secret)
		auth.NewAuthenticator(w.db, w.sealer, "").Actor(w.ctx, auth.Credentials{Authorization: "Bearer " + secret})
		w.auth.NoteUses(w.ctx)
		find := func(id string) tenant.Key {
			t.Helper()
			keys, err := w.Keys(w.ctx, member, p.user.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range keys {
				if k.ID == id {
					return k
				}
				if k.Digest != "" || k.Sealed != "" {
					t.Error("the list has what finds a key, or shows it")
				}
			}
			return tenant.Key{}
		}
		if k := find(key.ID); k.LastUsedAt != used || k.Name != "ci" {
			t.Errorf("within the hour: %+v", k)
		}
		w.clock.Move(time.Hour)
		w.actor(t, secret)
		w.auth.NoteUses(w.ctx)
		if k := find(key.ID); k.LastUsedAt != w.clock.Now() {
			t.Errorf("an hour later: %+v", k)
		}

		next, nextSecret, err := w.RotateKey(w.ctx, member, key.ID, time.Hour)
		if err != nil || next.Name != "ci" || next.ExpiresAt != key.ExpiresAt {
			t.Fatalf("rotated: %+v, %v", next, err)
		}
		if !w.works(secret) || !w.works(nextSecret) {
			t.Error("both keys are good for an hour")
		}
		w.clock.Move(time.Hour)
		if w.works(secret) || !w.works(nextSecret) {
			t.Error("the new key alone is good after an hour")
		}
		if _, _, err := w.RotateKey(w.ctx, member, key.ID, 0); !is(err, tenant.Conflict) {
			t.Errorf("rotate what has expired: %v", err)
		}
		w.clock.Move(46 * time.Hour)
		if w.works(nextSecret) {
			t.Error("the new key outlives the old one's expiry")
		}

		forever, foreverSecret, err := w.CreateKey(w.ctx, member, "forever", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		w.clock.Move(10 * 365 * 24 * time.Hour)
		if !w.works(foreverSecret) {
			t.Error("a key without expiry has expired")
		}
		member = w.in(t, w.portal(t, p.member).Token).Actor
		owner := w.in(t, w.portal(t, p.owner).Token).Actor
		if err := w.RevokeKey(w.ctx, owner, p.user.ID, forever.ID); err != nil {
			t.Fatal(err)
		}
		if w.works(foreverSecret) {
			t.Error("a revoked key works")
		}
		if _, _, err := w.CreateKey(w.ctx, member, "again", time.Time{}); err != nil {
			t.Fatal(err)
		}
		if k := find(key.ID); k.ID != "" {
			t.Errorf("years later the expired key is there: %+v", k)
		}
		log := w.log(t, p.child.ID)
		if count(log, "api_key.created") != 3 || count(log, "api_key.rotated") != 1 || count(log, "api_key.revoked") != 1 {
			t.Errorf("the log: %v", log)
		}
		// The account's own key is what the contract shows, whatever else there is.
		if _, _, err := w.CreateKey(w.ctx, owner, "mine", time.Time{}); err != nil {
			t.Fatal(err)
		}
		if a, err := w.ManagedAccount(w.ctx, p.manager, p.child.ID); err != nil || a.Key != p.child.Key || a.Token != p.child.Token {
			t.Errorf("the account's keys: %v", err)
		}
	})
}

func TestKeyRefusals(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		member := w.in(t, w.portal(t, p.member).Token).Actor
		owner := w.in(t, w.portal(t, p.owner).Token).Actor
		ownKeys, err := w.Keys(w.ctx, owner, p.child.ID)
		if err != nil || len(ownKeys) != 1 {
			t.Fatalf("the owner's keys: %v, %v", ownKeys, err)
		}
		made, _, err := w.CreateKey(w.ctx, member, "one", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		create := func(actor tenant.Actor, name string, expires time.Time) error {
			_, _, err := w.CreateKey(w.ctx, actor, name, expires)
			return err
		}
		rotate := func(id string, overlap time.Duration) error {
			_, _, err := w.RotateKey(w.ctx, member, id, overlap)
			return err
		}
		keys := func(actor tenant.Actor, userID string) error {
			_, err := w.Keys(w.ctx, actor, userID)
			return err
		}
		for _, test := range []struct {
			name string
			got  error
			want tenant.Kind
		}{
			{"no name", create(member, "", time.Time{}), tenant.Missing},
			{"name taken", create(member, "one", time.Time{}), tenant.Duplicate},
			{"expired already", create(member, "two", w.clock.Now()), tenant.OutOfRange},
			{"nobody's", create(tenant.Actor{}, "two", time.Time{}), tenant.Forbidden},
			{"the operator's", create(operator, "two", time.Time{}), tenant.Forbidden},
			{"overlap below 0", rotate(made.ID, -1), tenant.OutOfRange},
			{"overlap too long", rotate(made.ID, tenant.MaxOverlap+1), tenant.OutOfRange},
			{"rotate another's", rotate(ownKeys[0].ID, 0), tenant.NotFound},
			{"list another's", keys(member, p.child.ID), tenant.Forbidden},
			{"list a stranger's", keys(owner, p.root.ID), tenant.NotFound},
			{"revoke another's", w.RevokeKey(w.ctx, member, p.child.ID, ownKeys[0].ID), tenant.Forbidden},
			{"revoke by the wrong user", w.RevokeKey(w.ctx, member, p.user.ID, ownKeys[0].ID), tenant.NotFound},
			{"revoke the account's own", w.RevokeKey(w.ctx, owner, p.child.ID, ownKeys[0].ID), tenant.Conflict},
		} {
			if !is(test.got, test.want) {
				t.Errorf("%s: %v, want %s", test.name, test.got, refusal(test.want))
			}
		}
		for i := 1; ; i++ {
			if err := create(member, fmt.Sprint("key ", i), time.Time{}); err != nil {
				if !is(err, tenant.Conflict) || i != tenant.MaxKeys {
					t.Errorf("key %d: %v", i, err)
				}
				break
			}
		}
		if err := rotate(made.ID, time.Hour); err != nil {
			t.Errorf("rotate with all keys made: %v", err)
		}
		if _, err := w.RemoveUser(w.ctx, owner, p.user.ID, once(), func(*service.User) ([]byte, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
		if err := create(member, "late", time.Time{}); !is(err, tenant.NotFound) {
			t.Errorf("a key for who has gone: %v", err)
		}
	})
}
