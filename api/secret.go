package api

import (
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
)

// What holds a secret prints without it: every verb of fmt, and slog, show the
// first characters and stars. JSON has it in full, for that is what the wire is.

// Mask keeps enough of a secret to tell two apart, and no more.
func Mask(secret string) string {
	if len(secret) < 12 {
		return strings.Repeat("*", min(len(secret), 4))
	}
	return secret[:6] + "****"
}

// masked are the fields that hold secrets, by their names on the wire.
var masked = map[string]bool{"api_key": true, "api_token": true, "token": true, "password": true}

// printable writes a struct as its wire names and values, secrets masked.
func printable(v any) string {
	var out strings.Builder
	out.WriteByte('{')
	printFields(&out, reflect.ValueOf(v))
	out.WriteByte('}')
	return out.String()
}

func printFields(out *strings.Builder, v reflect.Value) {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		if field.Anonymous {
			printFields(out, value)
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if value.Kind() == reflect.Pointer {
			if value.IsNil() {
				continue
			}
			value = value.Elem()
		}
		if value.IsZero() {
			continue
		}
		if out.Len() > 1 {
			out.WriteByte(' ')
		}
		if masked[name] {
			fmt.Fprintf(out, "%s:%s", name, Mask(value.String()))
		} else {
			fmt.Fprintf(out, "%s:%v", name, value.Interface())
		}
	}
}

// Format prints a without its secrets, whatever the verb.
func (a ManagedAccount) Format(f fmt.State, _ rune) { io.WriteString(f, printable(a)) }

// LogValue is what slog shows of a.
func (a ManagedAccount) LogValue() slog.Value { return slog.StringValue(printable(a)) }

// Format prints a without its secrets, whatever the verb.
func (a OperatorAccount) Format(f fmt.State, _ rune) { io.WriteString(f, printable(a)) }

// LogValue is what slog shows of a.
func (a OperatorAccount) LogValue() slog.Value { return slog.StringValue(printable(a)) }

// Format prints c without its secrets, whatever the verb.
func (c CreateManagedAccount) Format(f fmt.State, _ rune) { io.WriteString(f, printable(c)) }

// LogValue is what slog shows of c.
func (c CreateManagedAccount) LogValue() slog.Value { return slog.StringValue(printable(c)) }

// Format prints c without its secrets, whatever the verb.
func (c CreateRootAccount) Format(f fmt.State, _ rune) { io.WriteString(f, printable(c)) }

// LogValue is what slog shows of c.
func (c CreateRootAccount) LogValue() slog.Value { return slog.StringValue(printable(c)) }

// Format prints c without its secrets, whatever the verb.
func (c CreateOrganizationUser) Format(f fmt.State, _ rune) { io.WriteString(f, printable(c)) }

// LogValue is what slog shows of c.
func (c CreateOrganizationUser) LogValue() slog.Value { return slog.StringValue(printable(c)) }

// Format prints u without its secrets, whatever the verb.
func (u CreatedUser) Format(f fmt.State, _ rune) { io.WriteString(f, printable(u)) }

// LogValue is what slog shows of u.
func (u CreatedUser) LogValue() slog.Value { return slog.StringValue(printable(u)) }

// Format prints c without its secrets, whatever the verb.
func (c CreateSession) Format(f fmt.State, _ rune) { io.WriteString(f, printable(c)) }

// LogValue is what slog shows of c.
func (c CreateSession) LogValue() slog.Value { return slog.StringValue(printable(c)) }

// Format prints s without its secrets, whatever the verb.
func (s CreatedSession) Format(f fmt.State, _ rune) { io.WriteString(f, printable(s)) }

// LogValue is what slog shows of s.
func (s CreatedSession) LogValue() slog.Value { return slog.StringValue(printable(s)) }
