package pgtest

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestURL(t *testing.T) {
	for range 5 {
		u := URL(t)
		conn, err := pgx.Connect(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(u, TCP(u))
		conn.Close(t.Context())
	}
}
