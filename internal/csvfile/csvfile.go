// Package csvfile writes what is downloaded as CSV, such that a spreadsheet takes no
// cell for a formula.
package csvfile

import (
	"strings"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/service"
)

// UsersHeader is the first line of the report of users with their groups.
const UsersHeader = "id,email,user_status,created_at,last_sign_in_at,groups"

// Users writes one user after another in one buffer: the report may have a million rows,
// so that nothing is allocated for a row.
type Users struct{ row, cell []byte }

// Row is a user's row with the line break before it: the last one ends without. The next
// overwrites it.
func (r *Users) Row(u *service.User) []byte {
	r.row = append(r.row[:0], '\n')
	r.row = AppendCell(r.row, u.ID)
	r.row = append(r.row, ',')
	r.row = AppendCell(r.row, u.Email)
	r.row = append(r.row, ',')
	r.row = append(r.row, u.Status...)
	r.row = append(r.row, ',')
	r.row = u.CreatedAt.AppendFormat(r.row, api.TimeFormat)
	r.row = append(r.row, ',')
	if !u.LastSignInAt.IsZero() {
		r.row = u.LastSignInAt.AppendFormat(r.row, api.TimeFormat)
	}
	r.row = append(r.row, ',')
	r.cell = r.cell[:0]
	for i, g := range u.Groups {
		if i > 0 {
			r.cell = append(r.cell, ", "...)
		}
		r.cell = append(r.cell, g.Name...)
	}
	r.row = AppendCell(r.row, r.cell)
	return r.row
}

// AppendCell writes one cell, quoted where RFC 4180 wants it. A cell that a
// spreadsheet would take for a formula gets an apostrophe in front: it then
// stays the text it is.
func AppendCell[T string | []byte](row []byte, cell T) []byte {
	formula := startsFormula(cell)
	if !formula && !needsQuotes(cell) {
		return append(row, cell...)
	}
	row = append(row, '"')
	if formula {
		row = append(row, '\'')
	}
	for i := range len(cell) {
		if cell[i] == '"' {
			row = append(row, '"')
		}
		row = append(row, cell[i])
	}
	return append(row, '"')
}

func needsQuotes[T string | []byte](cell T) bool {
	for i := range len(cell) {
		switch cell[i] {
		case ',', '"', '\n', '\r':
			return true
		}
	}
	return len(cell) > 0 && (cell[0] == ' ' || cell[len(cell)-1] == ' ')
}

// startsFormula looks at the first character that is not a space: = + - @, their
// full-width forms, and the control characters that spreadsheets skip.
func startsFormula[T string | []byte](cell T) bool {
	if len(cell) == 0 {
		return false
	}
	switch c := cell[0]; {
	case c == '=', c == '+', c == '-', c == '@', c == '\t', c == '\r', c == '\n':
		return true
	case c != ' ' && c < 0x80:
		return false
	}
	switch r := []rune(strings.TrimLeft(string(cell), " \u00a0\u3000")); {
	case len(r) == 0:
		return false
	default:
		return strings.ContainsRune("=+-@\t\r\n＝＋－＠", r[0])
	}
}
