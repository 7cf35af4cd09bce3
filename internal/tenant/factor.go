package tenant

import "time"

// RecoveryCodes is how many stand in for a second factor that was lost, once each.
const RecoveryCodes = 10

// Factor is the second factor of a user: a secret that makes time-based codes.
type Factor struct {
	UserID    string
	AccountID string
	// Sealed is the secret, encrypted under the master key.
	Sealed string
	// Confirmed says that a code was shown once: before that no sign-in asks for one.
	Confirmed bool
	// LastStep is the newest time step whose code was taken: none is taken twice.
	LastStep  int64
	CreatedAt time.Time
	// Recovery are keyed hashes of the recovery codes. They are written with a Change
	// that has them, and not read with the factor.
	Recovery []string
}

func (f *Factor) fields() []field { return []field{{"second_factor", f.Confirmed}} }

// EnrolFactor gives a user a secret, which counts once it is confirmed.
func EnrolFactor(actor Actor, user User, before *Factor, after Factor) (Change, error) {
	if before != nil && before.Confirmed {
		return Change{}, Refuse(Conflict, "There is a second factor already: switch it off first.")
	}
	change := changeOf(actor, "organization_user.second_factor_begun", user.AccountID, "organization_user", user.ID)
	change.Factors = []Diff[Factor]{{Before: before, After: &after}}
	return change, nil
}

// ConfirmFactor switches it on, with the step of the code that was shown.
func ConfirmFactor(actor Actor, user User, before Factor, step int64, recovery []string) (Change, error) {
	if before.Confirmed {
		return Change{}, Refuse(Conflict, "The second factor is confirmed already.")
	}
	after := before
	after.Confirmed, after.LastStep, after.Recovery = true, step, recovery
	change := changeOf(actor, "organization_user.second_factor_on", user.AccountID, "organization_user", user.ID)
	change.Factors = []Diff[Factor]{{Before: &before, After: &after}}
	return change, nil
}

// RemoveFactor switches it off, with its recovery codes.
func RemoveFactor(actor Actor, event string, user User, before Factor) Change {
	change := changeOf(actor, event, user.AccountID, "organization_user", user.ID)
	change.Factors = []Diff[Factor]{{Before: &before}}
	return change
}
