package app_test

import (
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/httpapi"
)

// TestRoutesAreTheContract holds the route table to api/openapi.yaml, in both
// directions: operation ids, methods, paths and scopes.
func TestRoutesAreTheContract(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	type operation struct{ pattern, scope string }
	documented := map[string]operation{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			scope, _ := op.Extensions["x-scope"].(string)
			documented[op.OperationID] = operation{method + " " + path, scope}
		}
	}
	served := map[string]bool{}
	for _, route := range httpapi.Routes {
		if served[route.ID] {
			t.Errorf("%s stands twice in the route table", route.ID)
		}
		served[route.ID] = true
		if got, want := (operation{route.Pattern, route.Scope}), documented[route.ID]; got != want {
			t.Errorf("%s is %+v in the route table, %+v in the document", route.ID, got, want)
		}
		if _, path, _ := strings.Cut(route.Pattern, " "); route.Scope == "operator" != strings.HasPrefix(path, "/operator/v1/") {
			t.Errorf("%s: the operator's scope and the path /operator/v1 go together", route.ID)
		}
	}
	for id, op := range documented {
		if !served[id] {
			t.Errorf("%s (%s) is documented and not served", id, op.pattern)
		}
	}
}
