package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/tenantry/tenantry/internal/tenant"
)

// decode reads the body into the struct that dst points at. No body is an empty
// object; null is an absent field; fields that dst does not know are passed
// over, as the contract does not forbid them. What is wrong with several fields
// is told of all of them.
func (c *call) decode(dst any) error { return decodeObject(c.body, dst) }

func decodeObject(body []byte, dst any) error {
	if len(body) == 0 {
		return nil
	}
	if !utf8.Valid(body) {
		return tenant.Refuse(tenant.BadEncoding, "The request body is not UTF-8.")
	}
	fields, err := objectFields(body)
	if err != nil {
		return err
	}
	var errs []error
	v := reflect.ValueOf(dst).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		raw, ok := fields[name]
		if !ok || string(raw) == "null" {
			continue
		}
		if err := json.Unmarshal(raw, v.Field(i).Addr().Interface()); err != nil {
			errs = append(errs, tenant.RefuseField(tenant.WrongType, name, "Must be "+typeName(v.Field(i).Type())+"."))
		}
	}
	return errors.Join(errs...)
}

// objectFields splits a JSON object and refuses one with the same field twice:
// readers disagree which of the two counts.
func objectFields(body []byte) (map[string]json.RawMessage, error) {
	bad := func(detail string) error { return tenant.Refuse(tenant.BadJSON, detail) }
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, bad("The request body must be a JSON object.")
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, bad("The request body is not valid JSON.")
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, bad("The request body is not valid JSON.")
		}
		if _, twice := fields[name]; twice {
			return nil, tenant.RefuseField(tenant.BadJSON, escapePointer(name), "The field stands twice in the request body.")
		}
		fields[name] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, bad("The request body is not valid JSON.")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("Something follows the JSON object in the request body.")
	}
	return fields, nil
}

func escapePointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

func typeName(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list of strings"
	default:
		return "a string"
	}
}
