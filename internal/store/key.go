package store

import (
	"fmt"
	"strings"

	"github.com/tenantry/tenantry/internal/tenant"
)

func scanKey(row scanner, k *tenant.Key) error {
	var created int64
	err := row.Scan(&k.ID, &k.AccountID, &k.UserID, &k.Kind, &k.Digest, &k.Sealed, &created)
	k.CreatedAt = fromMicros(created)
	return err
}

const keyColumns = "SELECT id, account_id, user_id, kind, digest, sealed, created_at FROM api_key WHERE "

// Key is the credential with that digest, or nil.
func (tx *Tx) Key(digest string) (*tenant.Key, error) {
	return one(tx, scanKey, keyColumns+"digest = $1", digest)
}

// KeysOf are a user's credentials, the oldest first.
func (tx *Tx) KeysOf(userID string) ([]tenant.Key, error) {
	return all(tx, scanKey, keyColumns+"user_id = $1 ORDER BY kind, id", userID)
}

// applyKeys writes all keys of a change at once.
func (tx *Tx) applyKeys(keys []tenant.Diff[tenant.Key]) error {
	if len(keys) == 0 {
		return nil
	}
	var rows strings.Builder
	args := make([]any, 0, 7*len(keys))
	for i, d := range keys {
		k, n := d.After, 7*i
		fmt.Fprintf(&rows, ", ($%d, $%d, $%d, $%d, $%d, $%d, $%d)", n+1, n+2, n+3, n+4, n+5, n+6, n+7)
		args = append(args, k.ID, k.AccountID, k.UserID, string(k.Kind), k.Digest, k.Sealed, micros(k.CreatedAt))
	}
	err := tx.exec("INSERT INTO api_key (id, account_id, user_id, kind, digest, sealed, created_at) VALUES "+rows.String()[2:], args...)
	if isDuplicate(err, "digest") {
		return tenant.RefuseField(tenant.Duplicate, "api_key", "Another account has this key.")
	}
	return err
}
