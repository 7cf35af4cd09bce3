package pgtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestMeasure(t *testing.T) {
	at := time.Now()
	lap := func(what string) { t.Logf("%-20s %v", what, time.Since(at).Round(100*time.Microsecond)); at = time.Now() }
	pristine()
	lap("initdb")
	s := sharing(t)
	lap("copy+start")
	URL(t)
	lap("first URL")
	// template
	Template(t, "x", func(u string) error {
		conn, err := pgx.Connect(context.Background(), u)
		if err != nil {
			return err
		}
		for i := range 30 {
			if _, err := conn.Exec(context.Background(), fmt.Sprintf("create table t%d (a text primary key, b text, c bigint); create index on t%d (b); create index on t%d (c, b); insert into t%d select g::text, 'x', g from generate_series(1,100) g", i, i, i, i)); err != nil {
				return err
			}
		}
		return conn.Close(context.Background())
	})
	lap("first Template")
	for _, from := range []string{"template0", s.templates["x"].database} {
		for _, strategy := range []string{"", " STRATEGY wal_log", " STRATEGY file_copy"} {
			var create, drop time.Duration
			const n = 40
			for i := range n {
				b := time.Now()
				if err := s.do(fmt.Sprintf("CREATE DATABASE m%d TEMPLATE %s%s", i, from, strategy)); err != nil {
					t.Fatal(err)
				}
				create += time.Since(b)
				conn, err := pgx.Connect(context.Background(), s.url(fmt.Sprintf("m%d", i)))
				if err != nil {
					t.Fatal(err)
				}
				conn.Exec(context.Background(), "create table z (a bigint); insert into z select generate_series(1,1000)")
				conn.Close(context.Background())
				if i%2 == 0 {
				b = time.Now()
				if err := s.do(fmt.Sprintf("DROP DATABASE m%d WITH (FORCE)", i)); err != nil {
					t.Fatal(err)
				}
				drop += time.Since(b)
				}
			}
			for i := range n {
					s.do(fmt.Sprintf("DROP DATABASE IF EXISTS m%d WITH (FORCE)", i))
			}
			t.Logf("%s %q: create %v drop %v", from[:9], strategy, create/n, drop/(n/2))
		}
	}
}
