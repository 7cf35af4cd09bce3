package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

func scanKey(row scanner, k *tenant.Key) error {
	var created, expires, used int64
	err := row.Scan(&k.ID, &k.AccountID, &k.UserID, &k.Kind, &k.Digest, &k.Sealed, &created, &k.Name, &expires, &used)
	k.CreatedAt, k.ExpiresAt, k.LastUsedAt = fromMicros(created), fromMicros(expires), fromMicros(used)
	return err
}

const keyColumns = "SELECT id, account_id, user_id, kind, digest, sealed, created_at, name, expires_at, last_used_at FROM api_key WHERE "

// Key is the credential with that digest, or nil.
func (tx *Tx) Key(digest string) (*tenant.Key, error) {
	return one(tx, scanKey, keyColumns+"digest = $1", digest)
}

// KeysOf are a user's credentials, the oldest first.
func (tx *Tx) KeysOf(userID string) ([]tenant.Key, error) {
	return all(tx, scanKey, keyColumns+"user_id = $1 ORDER BY kind, id", userID)
}

// KeyUsed notes when a key was used, unless that is known to the hour already. It
// is nobody's change, and nothing is announced.
func (tx *Tx) KeyUsed(digest string, at time.Time) error {
	return tx.exec("UPDATE api_key SET last_used_at = $2 WHERE digest = $1 AND last_used_at < $3", digest, micros(at), micros(at.Add(-time.Hour)))
}

// applyKeys writes all new keys of a change at once.
func (tx *Tx) applyKeys(keys []tenant.Diff[tenant.Key]) error {
	var rows strings.Builder
	args := make([]any, 0, 9*len(keys))
	for _, d := range keys {
		if d.Before != nil {
			tx.changed(d.Before.Digest)
			err := error(nil)
			if d.After == nil {
				err = tx.exec("DELETE FROM api_key WHERE digest = $1", d.Before.Digest)
			} else {
				err = tx.exec("UPDATE api_key SET expires_at = $2 WHERE digest = $1", d.Before.Digest, micros(d.After.ExpiresAt))
			}
			if err != nil {
				return err
			}
			continue
		}
		k, n := d.After, len(args)
		fmt.Fprintf(&rows, ", ($%d, $%d, $%d, $%d, $%d, $%d, $%d, $%d, $%d)", n+1, n+2, n+3, n+4, n+5, n+6, n+7, n+8, n+9)
		args = append(args, k.ID, k.AccountID, k.UserID, string(k.Kind), k.Digest, k.Sealed, micros(k.CreatedAt), k.Name, micros(k.ExpiresAt))
	}
	if len(args) == 0 {
		return nil
	}
	err := tx.exec("INSERT INTO api_key (id, account_id, user_id, kind, digest, sealed, created_at, name, expires_at) VALUES "+rows.String()[2:], args...)
	if isDuplicate(err, "digest") {
		return tenant.RefuseField(tenant.Duplicate, "api_key", "Another account has this key.")
	}
	return err
}
