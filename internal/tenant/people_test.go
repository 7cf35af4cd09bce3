package tenant

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestActions: each action needs a permission that a group can grant, or the owner;
// who has it may, and nobody else does.
func TestActions(t *testing.T) {
	owner := Actor{AccountID: "a", UserID: "a"}
	every := Actor{AccountID: "a", UserID: "u", Permissions: Permissions}
	for action, category := range categories {
		if category != ownerOnly && !slices.Contains(Permissions, category) {
			t.Errorf("%s needs %q, which no group can grant", action, category)
		}
		if !owner.Can(action) || owner.Allow(action) != nil {
			t.Errorf("the owner cannot %s", action)
		}
		if every.Can(action) != (category != ownerOnly) {
			t.Errorf("who has all permissions: %s: %t", action, every.Can(action))
		}
		for _, permission := range Permissions {
			actor := Actor{AccountID: "a", UserID: "u", Permissions: []string{permission}}
			if actor.Can(action) != (permission == category) || (actor.Allow(action) == nil) != (permission == category) {
				t.Errorf("%s with %s alone: %t", action, permission, actor.Can(action))
			}
		}
		for _, nobody := range []Actor{{}, {Operator: true}, {AccountID: "a", UserID: "u"}} {
			if nobody.Can(action) {
				t.Errorf("%+v can %s", nobody, action)
			}
		}
	}
	if every.Can("unheard of") || !owner.Can("unheard of") {
		t.Error("an action that nobody knows is not the owner's alone")
	}
}

// TestTries: however tries, failures and pauses follow each other, at most so many may
// fail in any TryTime, and no lock outlasts its bound.
func TestTries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.Int64Range(1, 6).Draw(t, "most")
		now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		var tries Tries
		var begun []time.Time // since the window began, or the lock
		pending := 0
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "wait")))
			},
			"begin": func(t *rapid.T) {
				next, err := tries.Begin(most, now)
				if now.Before(tries.LockedUntil) && err == nil {
					t.Fatal("a lock does not hold")
				}
				if err != nil {
					return
				}
				tries = next
				pending++
				begun = append(begun, now)
			},
			"fail": func(t *rapid.T) {
				if pending == 0 {
					return
				}
				pending--
				next, locked := tries.Failed(most, now)
				if locked {
					if until := next.LockedUntil.Sub(now); until < firstLock || until > longestLock {
						t.Fatalf("locked for %s", until)
					}
					begun = nil
				}
				tries = next
			},
			"": func(t *rapid.T) {
				// A window that ends may touch the next one: twice as many, and no more.
				recent := 0
				for _, at := range begun {
					if now.Sub(at) < TryTime {
						recent++
					}
				}
				if recent > int(2*most) {
					t.Fatalf("%d tries in %s", recent, TryTime)
				}
				if tries.Count > most || tries.Kept().Before(tries.LockedUntil) {
					t.Fatalf("%+v", tries)
				}
			},
		})
	})
}

// TestMadeBy: whoever acts as the owner is told by the own name.
func TestMadeBy(t *testing.T) {
	own := Actor{AccountID: "child", UserID: "child"}
	as := own
	as.PersonAccountID, as.PersonUserID = "m", "agent"
	if own.MadeBy("child") != "account_owner" || own.Person() != "child" {
		t.Errorf("the owner: %s, %s", own.MadeBy("child"), own.Person())
	}
	if as.MadeBy("child") != "account_manager" || as.Person() != "agent" {
		t.Errorf("who acts as the owner: %s, %s", as.MadeBy("child"), as.Person())
	}
}
