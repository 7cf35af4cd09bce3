package tenant

import "time"

const (
	// ShortestSignInAs and LongestSignInAs bound how long somebody acts as another's
	// owner.
	ShortestSignInAs = 15 * time.Minute
	LongestSignInAs  = 8 * time.Hour
)

// SignInAs are the Changes that tell, in the log of the managed account and in that of
// its manager, that the actor goes on as the owner of the account until then.
func SignInAs(actor Actor, account Account, sessionID, reason string, life time.Duration, now time.Time) ([]Change, error) {
	if err := CheckReason(reason); err != nil {
		return nil, err
	}
	if life < ShortestSignInAs || life > LongestSignInAs {
		return nil, RefuseField(OutOfRange, "duration", "Must be from 15 minutes to 8 hours.")
	}
	var changes []Change
	for _, log := range []string{account.ID, account.ManagerID} {
		change := changeOf(actor, "managed_account.signed_in_as", log, "managed_account", account.ID)
		change.Notes = []FieldChange{
			{"reason", nil, reason}, {"until", nil, now.Add(life).Format(time.RFC3339)}, {"session_id", nil, sessionID},
		}
		changes = append(changes, change)
	}
	return changes, nil
}
