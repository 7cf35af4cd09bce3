package auth

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/tenantry/tenantry/internal/tenant"
)

// TestFactorStep: the codes of three steps are good, each until a newer one was taken.
func TestFactorStep(t *testing.T) {
	s := newSealer(t, 1)
	sealed, link, err := s.MintFactor("u", "Tenantry: test", "user@example.com")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(link)
	if err != nil || u.Query().Get("issuer") != "Tenantry  test" || u.Query().Get("digits") != "6" || u.Query().Get("period") != "30" {
		t.Errorf("%s, %v", link, err)
	}
	secret := u.Query().Get("secret")
	if strings.Contains(sealed, secret) {
		t.Error("it is not sealed")
	}
	factor := tenant.Factor{UserID: "u", Sealed: sealed}
	now := time.Date(2026, 11, 21, 12, 0, 10, 0, time.UTC)
	step := now.Unix() / 30
	for offset, good := range map[int64]bool{-2: false, -1: true, 0: true, 1: true, 2: false} {
		code, err := totp.GenerateCode(secret, now.Add(time.Duration(offset)*30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for _, typed := range []string{code, code[:3] + " " + code[3:]} {
			if got, ok, err := s.FactorStep(&factor, typed, now); err != nil || ok != good || ok && got != step+offset {
				t.Errorf("%d steps off: %d, %t, %v", offset, got-step, ok, err)
			}
		}
		taken := factor
		taken.LastStep = step + offset
		if _, ok, _ := s.FactorStep(&taken, code, now); ok {
			t.Errorf("%d steps off: taken twice", offset)
		}
	}
	other := factor
	other.UserID = "v"
	if _, _, err := s.FactorStep(&other, "000000", now); err == nil {
		t.Error("the secret opens for another user")
	}
}

// FuzzFactorCode: whatever is typed, only the code itself is taken, and only the own
// recovery codes are found.
func FuzzFactorCode(f *testing.F) {
	s := newSealer(f, 1)
	sealed, link, err := s.MintFactor("u", "Tenantry", "user@example.com")
	if err != nil {
		f.Fatal(err)
	}
	u, _ := url.Parse(link)
	now := time.Date(2026, 11, 21, 12, 0, 10, 0, time.UTC)
	right := map[string]bool{}
	for _, offset := range []time.Duration{-30 * time.Second, 0, 30 * time.Second} {
		code, _ := totp.GenerateCode(u.Query().Get("secret"), now.Add(offset))
		right[code] = true
		f.Add(code)
	}
	codes, digests := s.MintRecovery("u")
	for _, seed := range []string{"", "000000", "１２３４５６", "12 34 56", "-1", "+12345", codes[0], strings.ToUpper(codes[0]), "\x00\xff", strings.Repeat("0", 1000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		plain := strings.ReplaceAll(typed, " ", "")
		if _, ok, err := s.FactorStep(&tenant.Factor{UserID: "u", Sealed: sealed}, typed, now); err != nil || ok && !right[strings.TrimSpace(plain)] || !ok && right[plain] {
			t.Errorf("%q: taken %t, %v", typed, ok, err)
		}
		digest := s.RecoveryDigest("u", typed)
		for i := range codes {
			same := strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(typed), "-", ""), " ", "") == strings.ReplaceAll(codes[i], "-", "")
			if (digest == digests[i]) != same {
				t.Errorf("%q for %q: %t", typed, codes[i], !same)
			}
		}
		if digest != "" && digest == s.RecoveryDigest("v", typed) {
			t.Errorf("%q is the same for another user", typed)
		}
	})
}
