package service_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

func TestOnce(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		root := w.root(t, "root@example.com", 10)
		actor := w.actor(t, root.Key)
		in := service.NewAccount{BusinessName: "Acme"}
		create := func(o service.Once) (string, error) {
			t.Helper()
			made, err := w.create(actor, in, o)
			if err != nil {
				return "", err
			}
			return made.ID, nil
		}
		must := func(o service.Once) string {
			t.Helper()
			id, err := create(o)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		serial := 0
		body := func() []byte {
			serial++
			return fmt.Append(nil, serial)
		}

		t.Run("retry", func(t *testing.T) {
			b := body()
			first := must(service.Once{Request: "r", Body: b})
			for try := range int64(3) {
				if again := must(service.Once{Request: "r", Body: b, Try: try + 1}); again != first {
					t.Errorf("try %d made another account", try+1)
				}
			}
			if other := must(service.Once{Request: "r", Body: b}); other == first {
				t.Error("an equal request, which is no retry, made nothing")
			}
			if other := must(service.Once{Request: "other", Body: b, Try: 1}); other == first {
				t.Error("another credential got the answer")
			}
			if other := must(service.Once{Request: "r", Body: body(), Try: 1}); other == first {
				t.Error("another body got the answer")
			}
		})

		t.Run("window", func(t *testing.T) {
			b := body()
			first := must(service.Once{Request: "r", Body: b})
			w.clock.Move(5*time.Minute - time.Second)
			if again := must(service.Once{Request: "r", Body: b, Try: 1}); again != first {
				t.Error("not replayed within the window")
			}
			w.clock.Move(2 * time.Second)
			if again := must(service.Once{Request: "r", Body: b, Try: 2}); again == first {
				t.Error("replayed after the window")
			}
		})

		t.Run("twins", func(t *testing.T) {
			// Two equal requests are both meant, and both lose their answers.
			b := body()
			a1, a2 := must(service.Once{Request: "r", Body: b}), must(service.Once{Request: "r", Body: b})
			b1, b2 := must(service.Once{Request: "r", Body: b, Try: 1}), must(service.Once{Request: "r", Body: b, Try: 1})
			if a1 == a2 || b1 == b2 || (b1 != a1 && b1 != a2) || (b2 != a1 && b2 != a2) {
				t.Errorf("made %s and %s, the retries got %s and %s", a1, a2, b1, b2)
			}
			if third := must(service.Once{Request: "r", Body: b, Try: 1}); third == a1 || third == a2 {
				t.Error("a third retry took an answer that was given away")
			}
		})

		t.Run("lost twice", func(t *testing.T) {
			// The answer to the first retry is lost too: the second gets the same.
			b := body()
			must(service.Once{Request: "r", Body: b})
			must(service.Once{Request: "r", Body: b}) // an equal one, whose answer came
			b1 := must(service.Once{Request: "r", Body: b, Try: 1})
			if b2 := must(service.Once{Request: "r", Body: b, Try: 2}); b2 != b1 {
				t.Errorf("one request took two accounts, %s and %s", b1, b2)
			}
			// Nor does it take one that was made in between.
			c1 := must(service.Once{Request: "r", Body: body()})
			again := fmt.Append(nil, serial)
			must(service.Once{Request: "r", Body: again, Try: 1})
			w.clock.Move(time.Second)
			must(service.Once{Request: "r", Body: again})
			w.clock.Move(time.Second)
			if c2 := must(service.Once{Request: "r", Body: again, Try: 2}); c2 != c1 {
				t.Errorf("the second retry got %s, the first %s", c2, c1)
			}
		})

		t.Run("key", func(t *testing.T) {
			b := body()
			first := must(service.Once{Request: "r", Body: b, Key: "k"})
			if again := must(service.Once{Request: "r", Body: b, Key: "k"}); again != first {
				t.Error("the key made two accounts")
			}
			if _, err := create(service.Once{Request: "r", Body: body(), Key: "k"}); !is(err, tenant.KeyReused) {
				t.Errorf("another body with the same key: %v", err)
			}
			if other := must(service.Once{Request: "other", Body: b, Key: "k"}); other == first {
				t.Error("another credential got the answer of the key")
			}
			w.clock.Move(24*time.Hour - time.Second)
			if again := must(service.Once{Request: "r", Body: b, Key: "k"}); again != first {
				t.Error("the key was forgotten within its day")
			}
			w.clock.Move(2 * time.Second)
			if again := must(service.Once{Request: "r", Body: b, Key: "k"}); again == first {
				t.Error("the key was kept after its day")
			}
		})

		t.Run("refusal", func(t *testing.T) {
			// What was refused is not kept: the same request may succeed later.
			b, email := body(), "taken@example.com"
			in.Email = &email
			defer func() { in.Email = nil }()
			taken := must(once())
			if _, err := create(service.Once{Request: "r", Body: b, Key: "again"}); !is(err, tenant.Duplicate) {
				t.Fatal(err)
			}
			if _, err := w.CancelAccount(w.ctx, operator, taken); err != nil {
				t.Fatal(err)
			}
			must(service.Once{Request: "r", Body: b, Key: "again"})
		})

		t.Run("remove", func(t *testing.T) {
			u, _ := w.user(t, root.ID, service.NewUser{Email: "u@example.com"})
			remove := func(try int64) (string, error) {
				answer, err := w.RemoveUser(w.ctx, actor, u.ID, service.Once{Request: "remove " + u.ID, Try: try},
					func(u *service.User) ([]byte, error) { return []byte(u.Email), nil })
				return string(answer), err
			}
			for try := range int64(2) {
				if email, err := remove(try); email != "u@example.com" || err != nil {
					t.Errorf("try %d got %q, %v", try, email, err)
				}
			}
			if _, err := remove(0); !is(err, tenant.NotFound) {
				t.Errorf("removing twice: %v", err)
			}
		})
	})
}

func TestPruneForgets(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		root := w.root(t, "root@example.com", 10)
		if n := w.prune(t); n != 0 {
			t.Errorf("%d rows went before their time", n)
		}
		w.clock.Move(8 * 24 * time.Hour)
		// Answers of the root, and the events of root and approval.
		if n := w.prune(t); n != 3 {
			t.Errorf("%d rows went, want 3", n)
		}
		if err := w.db.Verify(w.ctx); err != nil {
			t.Error(err)
		}
		if _, err := w.AnyAccount(w.ctx, root.ID); err != nil {
			t.Error(err)
		}
	})
}
