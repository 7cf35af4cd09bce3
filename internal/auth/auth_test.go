package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

func newSealer(t testing.TB, fill byte) *Sealer {
	t.Helper()
	s, err := NewSealer(bytes.Repeat([]byte{fill}, MasterKeySize), tenant.NewSource(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSeal(t *testing.T) {
	s := newSealer(t, 1)
	sealed := s.Seal([]byte("secret"), "row 1")
	if secret, err := s.Open(sealed, "row 1"); string(secret) != "secret" || err != nil {
		t.Errorf("opened %q, %v", secret, err)
	}
	if sealed == s.Seal([]byte("secret"), "row 1") {
		t.Error("sealed twice, it looks the same")
	}
	if strings.Contains(sealed, "secret") {
		t.Error("it is not sealed")
	}
	if _, err := s.Open(sealed, "row 2"); err == nil {
		t.Error("it opens in another row")
	}
	if _, err := newSealer(t, 2).Open(sealed, "row 1"); err == nil || strings.Contains(err.Error(), sealed) {
		t.Errorf("another master key: %v", err)
	}
	raw, _ := base64.RawStdEncoding.DecodeString(strings.TrimPrefix(sealed, sealVersion))
	for i := range raw {
		damaged := bytes.Clone(raw)
		damaged[i] ^= 1
		if _, err := s.Open(sealVersion+base64.RawStdEncoding.EncodeToString(damaged), "row 1"); err == nil {
			t.Errorf("it opens with byte %d changed", i)
		}
	}
	for _, damaged := range []string{"", "1.", sealed[2:], "2." + sealed[2:], sealed[:10], sealed + "A", "1.!"} {
		if _, err := s.Open(damaged, "row 1"); err == nil {
			t.Errorf("%q opens", damaged)
		}
	}
	if first, again := s.Digest("a"), s.Digest("a"); first != again || first == s.Digest("b") || first == newSealer(t, 2).Digest("a") {
		t.Error("a digest is not of the secret and the master key")
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := NewSealer(make([]byte, n), nil); err == nil {
			t.Errorf("a master key of %d bytes was taken", n)
		}
	}
}

func TestMint(t *testing.T) {
	s := newSealer(t, 1)
	key, token := s.MintKey(), s.MintToken()
	if len(key) != 3+32+1+22 || !strings.HasPrefix(key, "KEY") || key[35] != '_' || strings.Trim(key[3:35], "0123456789ABCDEF") != "" {
		t.Errorf("key %q", key)
	}
	if len(token) != 22 || key == s.MintKey() || token == s.MintToken() {
		t.Errorf("token %q", token)
	}
	row := s.NewKey(tenant.KeyV2, key, "a", "u")
	if secret, err := s.Reveal(&row); secret != key || err != nil {
		t.Errorf("revealed %q, %v", secret, err)
	}
	row.ID = "other"
	if _, err := s.Reveal(&row); err == nil {
		t.Error("a secret moved to another key is revealed")
	}
}

func TestLoadSecret(t *testing.T) {
	source := tenant.NewSource(nil, nil)
	path := filepath.Join(t.TempDir(), "master.key")
	made, err := LoadSecret(path, 32, source)
	if err != nil || len(made) != 32 {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if again, err := LoadSecret(path, 32, source); err != nil || !bytes.Equal(again, made) {
		t.Errorf("read again: %v", err)
	}
	if _, err := LoadSecret(path, 16, source); err == nil {
		t.Error("a secret of another length was taken")
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadSecret(path, 32, source); err == nil || !strings.Contains(err.Error(), "600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	os.Chmod(path, 0o600)
	for _, text := range []string{"", "\n", "x", base64.StdEncoding.EncodeToString(make([]byte, 31)), base64.StdEncoding.EncodeToString(made) + "x"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadSecret(path, 32, source); err == nil {
			t.Errorf("%q was taken", text)
		}
		if now, _ := os.ReadFile(path); string(now) != text {
			t.Errorf("a damaged secret was replaced by %q", now)
		}
	}
	if _, err := LoadSecret(filepath.Join(path, "below"), 32, source); err == nil {
		t.Error("a secret was made where no file can be")
	}
	// A file left by a start that was cut off is no reason to show the secret.
	path = filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(path+".new", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSecret(path, 32, source); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestPasswordRules(t *testing.T) {
	p := NewPasswords(0)
	for _, test := range []struct {
		name, password string
		want           tenant.Kind
		taken          bool
	}{
		{"seven characters", "aB3$xyz", tenant.OutOfRange, false},
		{"eight characters", "aB3$xyzw", 0, true},
		{"eight of four bytes", "🦊🐻🐼🐨🐯🦁🐮🐷", 0, true},
		{"seven of four bytes", "🦊🐻🐼🐨🐯🦁🐮", tenant.OutOfRange, false},
		{"with spaces", "four words in a row", 0, true},
		{"65 characters", strings.Repeat("ab", 32) + "c", 0, true},
		{"256 bytes", strings.Repeat("ab", 128), 0, true},
		{"257 bytes", strings.Repeat("ab", 128) + "c", tenant.OutOfRange, false},
		{"64 characters of four bytes", strings.Repeat("🦊🐻", 32), 0, true},
		{"one character", strings.Repeat("a", 20), tenant.Invalid, false},
		{"one character in both cases", strings.Repeat("aA", 10), tenant.Invalid, false},
		{"one character of four bytes", strings.Repeat("🦊", 20), tenant.Invalid, false},
		{"common", "password", tenant.Invalid, false},
		{"common in capitals", "PassWord", tenant.Invalid, false},
		{"common with an ending", "password123!", tenant.Invalid, false},
		{"common number", "12345678", tenant.Invalid, false},
		{"the address", "new_managed_account@customer.org", tenant.Invalid, false},
		{"the mailbox", "New_Managed_Account", tenant.Invalid, false},
		{"the mailbox with an ending", "new_managed_account2026!", tenant.Invalid, false},
		{"the business", "larry's cat food inc", tenant.Invalid, false},
		{"with the business in it", "not larry's cat food inc", 0, true},
		{"the vendor's example", "3jVjLq!tMuWKyWx4NN*CvhnB", 0, true},
		{"no letters", "47 11 08 15 99", 0, true},
		{"NUL", "abc\x00defg", 0, true},
	} {
		err := p.Check("password", test.password, "Larry's Cat Food Inc", "new_managed_account@customer.org")
		if test.taken != (err == nil) || err != nil && !tenant.IsKind(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil && test.password != "password" && strings.Contains(err.Error(), test.password) {
			t.Errorf("%s: the refusal repeats the password", test.name)
		}
	}
	if err := NewPasswords(15).Check("password", "fourteen chars"); !tenant.IsKind(err, tenant.OutOfRange) {
		t.Errorf("14 of 15 characters: %v", err)
	}
}

func TestPasswordHash(t *testing.T) {
	p, ctx := NewPasswords(0), t.Context()
	long := strings.Repeat("x", MaxPassword-1)
	hash, err := p.Hash(ctx, "caller", long+"a")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("%q, %v", hash, err)
	}
	for password, want := range map[string]bool{long + "a": true, long + "b": false, long: false, "": false} {
		if ok, err := p.Matches(ctx, password, hash); ok != want || err != nil {
			t.Errorf("%d bytes match: %t, %v", len(password), ok, err)
		}
	}
	for _, password := range []string{"", "A", strings.Repeat("A", 43)} {
		if ok, err := p.Matches(ctx, password, ""); ok || err != nil {
			t.Errorf("%q matches nobody's hash: %t, %v", password, ok, err)
		}
	}
	if _, err := p.Matches(ctx, "x", "no hash"); err == nil {
		t.Error("a damaged hash is no error")
	}
	// Whoever cannot wait is told so.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	p.making <- struct{}{}
	p.making <- struct{}{}
	p.checking <- struct{}{}
	if _, err := p.Hash(gone, "caller", "x"); !tenant.IsKind(err, tenant.Unavailable) {
		t.Errorf("without a slot: %v", err)
	}
	if _, err := p.Matches(gone, "x", ""); !tenant.IsKind(err, tenant.Unavailable) {
		t.Errorf("without a slot: %v", err)
	}
}

// TestHashesAtOnce: no more than two new passwords and one sign-in at once, and
// one caller with many passwords does not keep the others waiting.
func TestHashesAtOnce(t *testing.T) {
	p := NewPasswords(0)
	if cap(p.making) != 2 || cap(p.checking) != 1 {
		t.Fatalf("%d made and %d checked at once", cap(p.making), cap(p.checking))
	}
	p.making <- struct{}{}
	p.making <- struct{}{}
	ctx, stop := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	refused := make(chan error, mostWaiting+1)
	for range mostWaiting + 1 {
		waiting.Go(func() {
			_, err := p.Hash(ctx, "greedy", "x")
			refused <- err
		})
	}
	if err := <-refused; !tenant.IsKind(err, tenant.TooMany) {
		t.Errorf("one too many waiting: %v", err)
	}
	// Signing in goes on, and so does another caller once there is room.
	if ok, err := p.Matches(t.Context(), "x", ""); ok || err != nil {
		t.Errorf("a sign-in meanwhile: %t, %v", ok, err)
	}
	stop()
	waiting.Wait()
	<-p.making
	if _, err := p.Hash(t.Context(), "modest", "x"); err != nil {
		t.Errorf("another caller: %v", err)
	}
	if len(p.making) != 1 || len(p.waiting) != 0 {
		t.Errorf("%d slots taken, %d callers waiting after all", len(p.making), len(p.waiting))
	}
}

// FuzzAuthorization: whatever stands in the headers, there is an answer, and it is
// a refusal unless the secret is right.
func FuzzAuthorization(f *testing.F) {
	sealer := newSealer(f, 1)
	db, err := store.Open(context.Background(), filepath.Join(f.TempDir(), "tenantry.db"), store.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	const id, key, token = "00000000-0000-7000-8000-000000000001", "KEY01236170692E74656C6E79782E636F6D_YmlnIGlyb24gaXMgZGVhZA", "x6oexQNHTs-fZ7-QsDMOeg"
	if err := db.Update(context.Background(), "", func(tx *store.Tx) error {
		account := tenant.Account{ID: id, Email: "user@example.com", OrganizationName: "x", CreatedAt: tx.Now(), UpdatedAt: tx.Now()}
		change, err := tenant.NewAccount(tenant.Actor{Operator: true}, account, tenant.User{ID: id, AccountID: id, Email: account.Email, Status: tenant.UserEnabled},
			[]tenant.Key{sealer.NewKey(tenant.KeyV2, key, id, id), sealer.NewKey(tenant.KeyV1, token, id, id)})
		if err != nil {
			return err
		}
		return tx.Apply(change)
	}); err != nil {
		f.Fatal(err)
	}
	a := NewAuthenticator(db, sealer, "operator")
	for _, seed := range [][3]string{
		{"Bearer " + key, "", ""}, {"bearer   " + key + " ", "", ""}, {"Token " + token, "", ""}, {"", "USER@example.com", token}, {"", "other@example.com", token}, {"Bearer", "", ""},
		{"Bearer ", "user@example.com", token}, {"Basic dXNlcjpwYXNz", "", ""}, {"Bearer " + token, "", ""}, {"Token " + key, "", ""}, {"Bearer " + key + "\x00", "", ""}, {"Bearer\t" + key, "", ""},
		{"Bearer operator", "", ""}, {"", "", ""}, {"Bearer ü", "ü", "ü"}, {key, "", ""}, {"Bearer  ", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, authorization, user, v1 string) {
		actor, err := a.Actor(t.Context(), Credentials{Authorization: authorization, User: user, Token: v1})
		scheme, secret, _ := strings.Cut(authorization, " ")
		secret = strings.TrimSpace(secret)
		right := strings.EqualFold(scheme, "Bearer") && secret == key || strings.EqualFold(scheme, "Token") && secret == token ||
			authorization == "" && v1 == token && strings.ToLower(user) == "user@example.com"
		switch {
		case right && (err != nil || actor.AccountID != id || !actor.Owner() || actor.Operator):
			t.Errorf("%q %q %q: %+v, %v", authorization, user, v1, actor, err)
		case !right && (!tenant.IsKind(err, tenant.Unauthenticated) || actor.AccountID != ""):
			t.Errorf("%q %q %q was let in: %+v, %v", authorization, user, v1, actor, err)
		}
		operator, err := a.Operator(authorization)
		if want := strings.EqualFold(scheme, "Bearer") && secret == "operator"; want != (err == nil) || want != operator.Operator {
			t.Errorf("%q is the operator: %t, %v", authorization, operator.Operator, err)
		}
	})
}

func TestNoOperator(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		a := NewAuthenticator(db, newSealer(t, 1), "")
		for _, header := range []string{"", "Bearer", "Bearer ", "Bearer x"} {
			if _, err := a.Operator(header); !tenant.IsKind(err, tenant.Unauthenticated) {
				t.Errorf("%q is the operator, and there is none", header)
			}
		}
	})
}
