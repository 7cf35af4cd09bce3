package auth

import (
	"encoding/base32"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"github.com/tenantry/tenantry/internal/tenant"
)

// factorStep is how long one code holds. Those of the step before and after are
// taken too, for clocks that differ.
const factorStep = 30 * time.Second

var noPadding = base32.StdEncoding.WithPadding(base32.NoPadding)

// MintFactor makes the secret of a second factor, sealed for the user, and the
// otpauth URL that an authenticator takes; who is the name it shows.
func (s *Sealer) MintFactor(userID, issuer, who string) (sealed, url string, err error) {
	secret := s.source.Bytes(20)
	// A colon would end the issuer.
	key, err := totp.Generate(totp.GenerateOpts{Issuer: strings.ReplaceAll(issuer, ":", " "), AccountName: who, Secret: secret})
	if err != nil {
		return "", "", err
	}
	return s.Seal(secret, "second factor "+userID), key.URL(), nil
}

// FactorStep is the time step that the code is of, if it is one of those around now.
func (s *Sealer) FactorStep(factor *tenant.Factor, code string, now time.Time) (step int64, ok bool, err error) {
	secret, err := s.Open(factor.Sealed, "second factor "+factor.UserID)
	if err != nil {
		return 0, false, err
	}
	text, code := noPadding.EncodeToString(secret), strings.ReplaceAll(code, " ", "")
	current := now.Unix() / int64(factorStep/time.Second)
	for _, near := range []int64{current - 1, current, current + 1} {
		// A code of another length is an error, and as wrong as any other.
		right, _ := hotp.ValidateCustom(code, uint64(near), text, hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if right && near > factor.LastStep && !ok {
			step, ok = near, true
		}
	}
	return step, ok, nil
}

// MintRecovery makes a user's recovery codes, and what they are found by.
func (s *Sealer) MintRecovery(userID string) (codes, digests []string) {
	for range tenant.RecoveryCodes {
		text := strings.ToLower(noPadding.EncodeToString(s.source.Bytes(10)))
		codes = append(codes, text[:4]+"-"+text[4:8]+"-"+text[8:12]+"-"+text[12:])
		digests = append(digests, s.RecoveryDigest(userID, text))
	}
	return codes, digests
}

// RecoveryDigest is what a recovery code is found by, however it is typed; "" for
// what is none.
func (s *Sealer) RecoveryDigest(userID, code string) string {
	code = strings.NewReplacer("-", "", " ", "").Replace(strings.ToLower(code))
	if len(code) != 16 {
		return ""
	}
	return s.Digest("recovery " + userID + " " + code)
}
