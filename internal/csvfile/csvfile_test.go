package csvfile

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

var cells = []string{
	"", "Engineering, Sales", "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n", " =1", "\u00a0=1", "＝1", `a"b`, "a\r\nb", "a\rb", "'", " ", "user@example.com", "\ufeff=1", "\u200b=1", "﹦1",
}

func FuzzCell(f *testing.F) {
	for _, seed := range cells {
		f.Add(seed, "x")
		f.Add("x", seed)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		row := append(AppendCell(nil, a), ',')
		row = append(AppendCell(row, []byte(b)), '\n')
		r := csv.NewReader(bytes.NewReader(row))
		fields, err := r.Read()
		if a == "" && b == "" {
			fields, err = []string{"", ""}, nil
		}
		if err != nil || len(fields) != 2 {
			t.Fatalf("%q reads as %q, %v", row, fields, err)
		}
		if strings.ContainsAny(a, ",\"\r\n") && row[0] != '"' {
			t.Errorf("%q is not quoted: %q", a, row)
		}
		for i, cell := range []string{a, b} {
			got := fields[i]
			// The reader turns each line break into one byte.
			cell = strings.ReplaceAll(cell, "\r\n", "\n")
			if plain, quoted := strings.CutPrefix(got, "'"); quoted && got != cell {
				if plain != cell || !startsFormula(cell) {
					t.Errorf("%q became %q", cell, got)
				}
				continue
			}
			if got != cell {
				t.Errorf("%q became %q", cell, got)
			}
			// What a spreadsheet looks at is the first character that it shows.
			seen := strings.TrimLeft(got, " \u00a0\u3000")
			if seen != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(seen)[0]) {
				t.Errorf("%q is a formula", got)
			}
		}
	})
}

// FuzzUsers: a row has its six cells, whatever is in them, and leaves nothing to the next.
func FuzzUsers(f *testing.F) {
	f.Add("6a09cdc3-8948-47f0-aa62-74ac943d6c58", "user@example.com", "Engineering", int64(0), int64(1517610327521))
	f.Add("\"\\", "ü<&>\u2028@example.com", "a\x00b\xff", int64(1), int64(-1))
	f.Fuzz(func(t *testing.T, id, email, name string, signedIn, created int64) {
		const most = 250_000_000_000_000 // the year 9892: the format has four digits
		user := &service.User{
			User:   tenant.User{ID: id, Email: email, Status: tenant.UserEnabled, CreatedAt: time.UnixMilli(created % most).UTC()},
			Groups: []tenant.Group{{Name: name}, {Name: email}},
		}
		if user.CreatedAt.Year() < 0 {
			return
		}
		if signedIn != 0 {
			user.LastSignInAt = time.UnixMilli(signedIn % most).UTC()
			if user.LastSignInAt.Year() < 0 {
				return
			}
		}
		w := &Users{}
		file := append([]byte(UsersHeader), w.Row(user)...)
		file = append(file, w.Row(user)...)
		rows, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
		if err != nil || len(rows) != 3 || strings.Join(rows[1], "|") != strings.Join(rows[2], "|") {
			t.Fatalf("the file reads as %q, %v", rows, err)
		}
		if row := rows[1]; len(row) != 6 || row[2] != "enabled" || row[3] != api.Time(user.CreatedAt) || (row[4] != "") != (signedIn != 0) {
			t.Errorf("the row is %q", row)
		}
	})
}
