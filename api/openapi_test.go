package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/tenantry/tenantry/api"
)

// shape ties a schema to its Go type. One Go type may have several schemas:
// the list item has no credentials, the full account always has them.
type shape struct {
	goType   reflect.Type
	omits    []string // JSON names of goType that this schema leaves out
	requires []string // JSON names that goType may omit and this schema may not
}

func of[T any](changes ...func(*shape)) shape {
	s := shape{goType: reflect.TypeFor[T]()}
	for _, change := range changes {
		change(&s)
	}
	return s
}

func without(names ...string) func(*shape) { return func(s *shape) { s.omits = names } }
func always(names ...string) func(*shape)  { return func(s *shape) { s.requires = names } }

// shapes names every schema and every struct of the package.
var shapes = map[string]shape{
	"Errors":      of[api.Errors](),
	"Error":       of[api.Error](),
	"ErrorSource": of[api.ErrorSource](),
	"ErrorMeta":   of[api.ErrorMeta](),

	"ManagedAccount":             of[api.ManagedAccount](always("api_key", "api_token")),
	"ManagedAccountListItem":     of[api.ManagedAccount](without("balance", "api_key", "api_token", "connections_left_off")),
	"AccountBalance":             of[api.AccountBalance](),
	"Balance":                    of[api.Balance](),
	"CreateManagedAccount":       of[api.CreateManagedAccount](),
	"UpdateManagedAccount":       of[api.UpdateManagedAccount](),
	"DisableManagedAccount":      of[api.DisableManagedAccount](),
	"EnableManagedAccount":       of[api.EnableManagedAccount](),
	"UpdateGlobalChannelLimit":   of[api.UpdateGlobalChannelLimit](),
	"GlobalChannelLimit":         of[api.GlobalChannelLimit](),
	"AllocatableChannels":        of[api.AllocatableChannels](),
	"OrganizationUser":           of[api.OrganizationUser](),
	"OrganizationUserWithGroups": of[api.OrganizationUser](always("groups")),
	"GroupReference":             of[api.GroupReference](),
	"Meta":                       of[api.Meta](),
	"AuditEvent":                 of[api.AuditEvent](),
	"AuditChange":                of[api.AuditChange](),

	"OperatorAccount":         of[api.OperatorAccount](without("connections_left_off")),
	"OperatorAccountListItem": of[api.OperatorAccount](without("api_key", "api_token", "connections_left_off")),
	"ManagerSettings":         of[api.ManagerSettings](),
	"CreateRootAccount":       of[api.CreateRootAccount](),
	"UpdateCredit":            of[api.UpdateCredit](),
	"ApproveManager":          of[api.ApproveManager](),
	"CreateOrganizationUser":  of[api.CreateOrganizationUser](),
	"CreatedUser":             of[api.CreatedUser](),
	"CreateGroup":             of[api.CreateGroup](),
	"Group":                   of[api.Group](),
	"CreateConnection":        of[api.CreateConnection](),
	"UpdateConnection":        of[api.UpdateConnection](),
	"Connection":              of[api.Connection](),
	"ConnectionLeftOff":       of[api.ConnectionLeftOff](),

	"Webhook":          of[api.Webhook](),
	"WebhookAttempt":   of[api.WebhookAttempt](),
	"WebhookDelivery":  of[api.WebhookDelivery](),
	"WebhookEvent":     of[api.WebhookEvent](),
	"WebhookEventData": of[api.WebhookEventData](),
	"WebhookPayload":   of[api.WebhookPayload](),
	"WebhookCall":      of[api.WebhookCall](),
	"WebhookEventMeta": of[api.WebhookEventMeta](),

	"WebhookResponse":             of[api.Response[api.Webhook]](),
	"WebhookAttemptResponse":      of[api.Response[api.WebhookAttempt]](),
	"WebhookDeliveryResponse":     of[api.Response[api.WebhookDelivery]](),
	"WebhookDeliveryListResponse": of[api.ListResponse[api.WebhookDelivery]](),

	"CreateSession":  of[api.CreateSession](),
	"Session":        of[api.Session](),
	"CreatedSession": of[api.CreatedSession](),
	"Health":         of[api.Health](),

	"ManagedAccountResponse":             of[api.Response[api.ManagedAccount]](),
	"ManagedAccountListResponse":         of[api.ListResponse[api.ManagedAccount]](),
	"AllocatableChannelsResponse":        of[api.Response[api.AllocatableChannels]](),
	"GlobalChannelLimitResponse":         of[api.Response[api.GlobalChannelLimit]](),
	"OrganizationUserResponse":           of[api.Response[api.OrganizationUser]](),
	"OrganizationUserListResponse":       of[api.ListResponse[api.OrganizationUser]](),
	"OrganizationUserWithGroupsResponse": of[api.Response[api.OrganizationUser]](),
	"UsersGroupsReportResponse":          of[api.Response[[]api.OrganizationUser]](),
	"BalanceResponse":                    of[api.Response[api.Balance]](),
	"AuditEventListResponse":             of[api.ListResponse[api.AuditEvent]](),
	"OperatorAccountResponse":            of[api.Response[api.OperatorAccount]](),
	"OperatorAccountListResponse":        of[api.ListResponse[api.OperatorAccount]](),
	"CreatedUserResponse":                of[api.Response[api.CreatedUser]](),
	"GroupResponse":                      of[api.Response[api.Group]](),
	"GroupListResponse":                  of[api.Response[[]api.Group]](),
	"ConnectionResponse":                 of[api.Response[api.Connection]](),
	"ConnectionListResponse":             of[api.Response[[]api.Connection]](),
	"AdmissionCheck":                     of[api.AdmissionCheck](),
	"Admission":                          of[api.Admission](),
	"AdmissionSIP":                       of[api.AdmissionSIP](),
	"AdmissionHTTP":                      of[api.AdmissionHTTP](),
	"AdmissionLease":                     of[api.AdmissionLease](),
	"Lease":                              of[api.Lease](),
	"LeaseList":                          of[api.LeaseList](),
	"Released":                           of[api.Released](),
	"LiveCalls":                          of[api.LiveCalls](),
	"Reconciled":                         of[api.Reconciled](),
	"ChannelUse":                         of[api.ChannelUse](),
	"AdmissionResponse":                  of[api.Response[api.Admission]](),
	"ReleasedResponse":                   of[api.Response[api.Released]](),
	"ReconciledResponse":                 of[api.Response[api.Reconciled]](),
	"ChannelUseResponse":                 of[api.Response[api.ChannelUse]](),
	"SendMessage":                        of[api.SendMessage](),
	"Message":                            of[api.Message](),
	"MessageSender":                      of[api.MessageSender](),
	"MessageRecipient":                   of[api.MessageRecipient](),
	"MessageCopy":                        of[api.MessageRecipient](),
	"MessageMedia":                       of[api.MessageMedia](),
	"MessageCost":                        of[api.MessageCost](),
	"MessageFee":                         of[api.MessageCost](),
	"MessageCostBreakdown":               of[api.MessageCostBreakdown](),
	"MessageResponse":                    of[api.Response[api.Message]](),
	"SessionResponse":                    of[api.Response[api.Session]](),
	"CreatedSessionResponse":             of[api.Response[api.CreatedSession]](),
}

// untyped lists the schemas that the package has no struct for. A struct of the
// same name ends the exception: move the schema to shapes then.
var untyped = []string{}

// extensions are the properties we add to the vendor's replies, for good.
var extensions = []string{"channels_in_use", "connections_left_off", "request_id", "status", "status_reasons"}

// unserved are the operations of vendor-shapes.json that we do not speak.
var unserved = []string{"ExchangeOAuthToken", "GetWebhookDelivery", "ListWebhookDeliveries"}

// otherDefaults are the vendor's defaults that we do not repeat: its text says
// that an absent sort is created_at descending, its schema ascending.
var otherDefaults = []string{"ListManagedAccounts sort"}

func TestDocumentIsValid(t *testing.T) {
	doc := document(t)
	if doc.OpenAPI != "3.0.3" {
		t.Errorf("openapi is %s, want 3.0.3: the validator is slow on anything newer", doc.OpenAPI)
	}
}

func TestSchemasMatchGoTypes(t *testing.T) {
	schemas := document(t).Components.Schemas
	for name := range schemas {
		if _, ok := shapes[name]; !ok && !slices.Contains(untyped, name) {
			t.Errorf("schema %s has no Go type", name)
		}
	}
	for _, name := range untyped {
		if schemas[name] == nil {
			t.Errorf("untyped names schema %s, which does not exist", name)
		}
		if _, ok := shapes[name]; ok {
			t.Errorf("schema %s is both in shapes and in untyped", name)
		}
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			if schemas[name] == nil {
				t.Fatal("no such schema")
			}
			checkStruct(t, schemas[name].Value, shape)
		})
	}

	typed := map[string]bool{}
	for _, shape := range shapes {
		name, _, _ := strings.Cut(shape.goType.Name(), "[")
		typed[name] = true
	}
	for _, name := range structs(t) {
		if !typed[name] {
			t.Errorf("struct %s has no schema", name)
		}
	}
}

// checkStruct holds a schema's properties to a struct's JSON fields.
func checkStruct(t *testing.T, schema *openapi3.Schema, shape shape) {
	t.Helper()
	fields := map[string]bool{}
	for _, field := range reflect.VisibleFields(shape.goType) {
		if field.Anonymous {
			continue // its own fields are visible too
		}
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			t.Errorf("field %s has no JSON name", field.Name)
			continue
		}
		if slices.Contains(shape.omits, name) {
			continue
		}
		fields[name] = true
		property := schema.Properties[name]
		if property == nil {
			t.Errorf("schema lacks %s", name)
			continue
		}
		omitted := strings.Contains(options, "omit")
		required := !omitted || slices.Contains(shape.requires, name)
		if got := slices.Contains(schema.Required, name); got != required {
			t.Errorf("%s: required is %t in the schema, %t by the struct", name, got, required)
		}
		checkType(t, name, property, field.Type, omitted)
	}
	for name := range schema.Properties {
		if !fields[name] {
			t.Errorf("schema has %s, the struct does not", name)
		}
	}
	for _, name := range slices.Concat(shape.omits, shape.requires) {
		if !slices.ContainsFunc(reflect.VisibleFields(shape.goType), func(field reflect.StructField) bool {
			return strings.HasPrefix(field.Tag.Get("json"), name+",")
		}) {
			t.Errorf("the table names %s, which the struct does not have or never omits", name)
		}
	}
}

// checkType holds a property to a field's type. An omitted pointer is absent
// when nil, any other is null.
func checkType(t *testing.T, at string, ref *openapi3.SchemaRef, goType reflect.Type, omitted bool) {
	t.Helper()
	null := goType.Kind() == reflect.Interface
	if goType.Kind() == reflect.Pointer {
		goType, null = goType.Elem(), !omitted
	}
	ref, property := follow(ref)
	// encoding/json writes a nil slice as null and an empty one as []: the
	// struct cannot tell which is meant.
	if property.Nullable != null && goType.Kind() != reflect.Slice {
		t.Errorf("%s: nullable is %t in the schema, %t by the struct", at, property.Nullable, null)
	}
	want := map[reflect.Kind]string{
		reflect.String: "string", reflect.Bool: "boolean", reflect.Int64: "integer", reflect.Float64: "number",
		reflect.Slice: "array", reflect.Struct: "object", reflect.Interface: "",
	}
	kind, ok := want[goType.Kind()]
	if !ok {
		t.Errorf("%s: Go type %s has no place on the wire", at, goType)
		return
	}
	if got := typeOf(property); got != kind {
		t.Errorf("%s: type is %q in the schema, %q by the struct", at, got, kind)
		return
	}
	switch goType.Kind() {
	case reflect.Int64:
		if property.Format != "int64" {
			t.Errorf("%s: format is %q, want int64", at, property.Format)
		}
	case reflect.Slice:
		checkType(t, at+"[]", property.Items, goType.Elem(), false)
	case reflect.Struct:
		name := path.Base(ref.Ref)
		if shapes[name].goType != goType {
			t.Errorf("%s: schema %q is not that of %s", at, name, goType)
		}
	}
}

// structs lists the exported structs of the package from its source.
func structs(t *testing.T) []string {
	t.Helper()
	files, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(source, func(node ast.Node) bool {
			if spec, ok := node.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				if _, ok := spec.Type.(*ast.StructType); ok {
					names = append(names, spec.Name.Name)
				}
			}
			return true
		})
	}
	if len(names) == 0 {
		t.Fatal("found no structs")
	}
	return names
}

func TestSchemasMatchVendorShapes(t *testing.T) {
	vendor := load(t, "testdata/vendor-shapes.json")
	ours := operations(document(t))
	used := map[string]bool{}
	var skipped []string
	for id, theirs := range operations(vendor) {
		mine, ok := ours[id]
		if !ok {
			skipped = append(skipped, id)
			continue
		}
		t.Run(id, func(t *testing.T) {
			if mine.method != theirs.method || mine.path != "/v2"+theirs.path {
				t.Errorf("is %s %s, the vendor's %s /v2%s", mine.method, mine.path, theirs.method, theirs.path)
			}
			for status, response := range theirs.Responses.Map() {
				if strings.HasSuffix(status, "X") {
					continue
				}
				reply := mine.Responses.Value(status)
				if reply == nil {
					t.Errorf("status %s is not declared", status)
					continue
				}
				if status != "200" {
					continue
				}
				for media, content := range response.Value.Content {
					if reply.Value.Content[media] == nil {
						t.Errorf("200 lacks %s", media)
						continue
					}
					checkReply(t, media, reply.Value.Content[media].Schema, content.Schema, used)
				}
			}
			checkParameters(t, id, mine.Operation, theirs.Operation)
			checkRequest(t, mine.Operation, theirs.Operation)
		})
	}
	slices.Sort(skipped)
	if !slices.Equal(skipped, unserved) {
		t.Errorf("unserved operations are %q, the list says %q", skipped, unserved)
	}
	if got := slices.Sorted(maps.Keys(used)); !slices.Equal(got, extensions) {
		t.Errorf("extensions are %q, the list says %q", got, extensions)
	}
}

// checkReply requires that whatever fits our schema fits the vendor's, but for
// the extensions, which it notes in used.
func checkReply(t *testing.T, at string, mineRef, theirsRef *openapi3.SchemaRef, used map[string]bool) {
	t.Helper()
	_, mine := follow(mineRef)
	_, theirs := follow(theirsRef)
	checkValue(t, at, mine, theirs)
	if mine.Nullable && !theirs.Nullable && len(theirs.AnyOf) == 0 {
		t.Errorf("%s may be null, the vendor's may not", at)
	}
	for _, name := range theirs.Required {
		if !slices.Contains(mine.Required, name) {
			t.Errorf("%s/%s is not required", at, name)
		}
	}
	for name, property := range theirs.Properties {
		if mine.Properties[name] == nil {
			t.Errorf("%s/%s is missing", at, name)
			continue
		}
		checkReply(t, at+"/"+name, mine.Properties[name], property, used)
	}
	for name := range mine.Properties {
		if theirs.Properties[name] != nil || theirs.AdditionalProperties.Has != nil && *theirs.AdditionalProperties.Has {
			continue
		}
		used[name] = true
		if !slices.Contains(extensions, name) {
			t.Errorf("%s/%s is neither the vendor's nor a listed extension", at, name)
		}
	}
	if theirs.Items != nil && mine.Items != nil {
		checkReply(t, at+"[]", mine.Items, theirs.Items, used)
	}
}

// checkValue compares what two schemas say of one value, not of its parts.
func checkValue(t *testing.T, at string, mine, theirs *openapi3.Schema) {
	t.Helper()
	if got, want := typeOf(mine), typeOf(theirs); got != want {
		t.Errorf("%s: type is %q, the vendor's %q", at, got, want)
	}
	if len(theirs.Enum) > 0 && !sameValues(mine.Enum, theirs.Enum) {
		t.Errorf("%s: enum is %v, the vendor's %v", at, mine.Enum, theirs.Enum)
	}
	if theirs.Format != "" && mine.Format != theirs.Format {
		t.Errorf("%s: format is %q, the vendor's %q", at, mine.Format, theirs.Format)
	}
}

// checkParameters requires every vendor query parameter under its flat name.
func checkParameters(t *testing.T, id string, mine, theirs *openapi3.Operation) {
	t.Helper()
	for _, parameter := range theirs.Parameters {
		p := parameter.Value
		if p.In == openapi3.ParameterInHeader {
			continue // OpenAPI keeps Accept for the media types of the replies
		}
		for name, want := range flatten(p.Name, p.Schema.Value) {
			found := mine.Parameters.GetByInAndName(p.In, name)
			if found == nil {
				t.Errorf("%s parameter %s is missing", p.In, name)
				continue
			}
			got := found.Schema.Value
			if typeOf(got) != typeOf(want) {
				t.Errorf("parameter %s: type is %q, the vendor's %q", name, typeOf(got), typeOf(want))
			}
			for _, value := range want.Enum {
				if !slices.Contains(got.Enum, value) {
					t.Errorf("parameter %s does not take %v", name, value)
				}
			}
			if want.Default != nil && !slices.Contains(otherDefaults, id+" "+name) && got.Default != want.Default {
				t.Errorf("parameter %s: default is %v, the vendor's %v", name, got.Default, want.Default)
			}
			if want.Min != nil && (got.Min == nil || *got.Min != *want.Min) {
				t.Errorf("parameter %s: minimum is not the vendor's %v", name, *want.Min)
			}
			if want.Max != nil && (got.Max == nil || *got.Max != *want.Max) {
				t.Errorf("parameter %s: maximum is not the vendor's %v", name, *want.Max)
			}
		}
	}
}

// flatten names the leaves of a deepObject parameter as they travel.
func flatten(name string, schema *openapi3.Schema) map[string]*openapi3.Schema {
	if len(schema.Properties) == 0 {
		return map[string]*openapi3.Schema{name: schema}
	}
	leaves := map[string]*openapi3.Schema{}
	for key, property := range schema.Properties {
		maps.Copy(leaves, flatten(name+"["+key+"]", property.Value))
	}
	return leaves
}

// checkRequest requires that whatever body fits the vendor's schema fits ours.
func checkRequest(t *testing.T, mine, theirs *openapi3.Operation) {
	t.Helper()
	if theirs.RequestBody == nil {
		if mine.RequestBody != nil && mine.RequestBody.Value.Required {
			t.Error("takes a body, the vendor's does not")
		}
		return
	}
	if mine.RequestBody == nil {
		t.Error("takes no body, the vendor's does")
		return
	}
	if mine.RequestBody.Value.Required && !theirs.RequestBody.Value.Required {
		t.Error("requires a body, the vendor's does not")
	}
	_, got := follow(mine.RequestBody.Value.Content["application/json"].Schema)
	_, want := follow(theirs.RequestBody.Value.Content["application/json"].Schema)
	for name, property := range want.Properties {
		if got.Properties[name] == nil {
			t.Errorf("body lacks %s", name)
			continue
		}
		if g, w := typeOf(got.Properties[name].Value), typeOf(property.Value); g != w {
			t.Errorf("body/%s: type is %q, the vendor's %q", name, g, w)
		}
	}
	for name := range got.Properties {
		if want.Properties[name] == nil {
			t.Errorf("body/%s is not the vendor's", name)
		}
	}
	if g, w := slices.Sorted(slices.Values(got.Required)), slices.Sorted(slices.Values(want.Required)); !slices.Equal(g, w) {
		t.Errorf("body requires %q, the vendor's %q", g, w)
	}
}

func TestEveryOperation(t *testing.T) {
	doc := document(t)
	for _, op := range list(doc) {
		t.Run(op.method+" "+op.path, func(t *testing.T) {
			if op.OperationID == "" || op.Summary == "" || len(op.Tags) != 1 {
				t.Error("wants an operationId, a summary and one tag")
			}
			scope, _ := op.Extensions["x-scope"].(string)
			want, ok := map[string]string{
				"managed_accounts": "bearerAuth | v1Token v1User",
				"organization":     "bearerAuth | v1Token v1User",
				"account":          "bearerAuth | v1Token v1User",
				"messaging":        "bearerAuth | v1Token v1User",
				"operator":         "operatorToken",
				"session":          "sessionToken",
				"admission":        "admissionToken | admissionHeader | operatorToken",
				"public":           "",
			}[scope]
			if !ok {
				t.Errorf("x-scope is %q", scope)
			}
			if op.Security == nil || securityOf(*op.Security) != want {
				t.Errorf("security does not fit x-scope %s: want %q", scope, want)
			}
			refusals := 0
			for status, response := range op.Responses.Map() {
				headers := []string{"x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
				if status == "429" {
					headers = append(headers, "Retry-After")
				}
				for _, name := range headers {
					if response.Value.Headers[name] == nil {
						t.Errorf("%s lacks header %s", status, name)
					}
				}
				if status == "200" {
					continue
				}
				refusals++
				content := response.Value.Content["application/json"]
				if content == nil || path.Base(content.Schema.Ref) != "Errors" {
					t.Errorf("%s is not the Errors envelope", status)
				}
			}
			if refusals == 0 || op.Responses.Value("200") == nil || op.Responses.Default() == nil {
				t.Error("wants 200, an error status and default")
			}
			query := map[string]bool{}
			for _, parameter := range op.Parameters {
				query[parameter.Value.Name] = true
				checkDescription(t, "parameter "+parameter.Value.Name, parameter.Value.Description)
			}
			for _, name := range []string{"page_number", "number", "page[size]", "page_size", "page"} {
				// number is a phone number there
				if scope != "admission" && query[name] != query["page[number]"] {
					t.Errorf("page parameters come together or not at all: %s", name)
				}
			}
		})
	}
}

func TestEverySchema(t *testing.T) {
	doc := document(t)
	requests, replies := map[string]bool{}, map[string]bool{}
	for _, op := range list(doc) {
		if op.RequestBody != nil {
			for _, content := range op.RequestBody.Value.Content {
				collect(content.Schema, requests)
			}
		}
		// What we ask of others is ours to say, as a reply is.
		for _, callback := range op.Callbacks {
			for _, item := range callback.Value.Map() {
				for _, content := range item.Post.RequestBody.Value.Content {
					collect(content.Schema, replies)
				}
			}
		}
		for _, response := range op.Responses.Map() {
			for media, content := range response.Value.Content {
				if media == "application/json" && content.Schema.Ref == "" {
					t.Errorf("%s: a reply is not a named schema", op.OperationID)
				}
				collect(content.Schema, replies)
			}
		}
	}
	for name, ref := range doc.Components.Schemas {
		schema := ref.Value
		for property, p := range schema.Properties {
			checkDescription(t, name+"."+property, p.Value.Description)
			_, target := follow(p)
			if target.Items != nil {
				_, target = follow(target.Items)
			}
			if len(target.Properties) > 0 && !slices.ContainsFunc(
				slices.Collect(maps.Values(doc.Components.Schemas)),
				func(named *openapi3.SchemaRef) bool { return named.Value == target }) {
				t.Errorf("%s.%s is not a named schema", name, property)
			}
		}
		for _, property := range schema.Required {
			if schema.Properties[property] == nil {
				t.Errorf("%s requires %s, which it does not have", name, property)
			}
		}
		closed := schema.AdditionalProperties.Has != nil && !*schema.AdditionalProperties.Has
		switch {
		case requests[name] && replies[name]:
			t.Errorf("%s is both a request and a reply", name)
		case requests[name] && closed:
			t.Errorf("%s is a request and refuses unknown properties", name)
		case replies[name] && !closed:
			t.Errorf("%s is a reply and allows undocumented properties", name)
		case !requests[name] && !replies[name]:
			t.Errorf("%s is used by no operation", name)
		}
	}
}

// checkDescription wants a text that ends with its source, as in "Default 1. [S]".
func checkDescription(t *testing.T, at, text string) {
	t.Helper()
	_, source, ok := strings.Cut(text, " [")
	if !ok || !strings.HasSuffix(source, "]") {
		t.Errorf("%s: description %q does not end with its source in brackets", at, text)
	}
}

// collect notes the named schemas that ref leads to.
func collect(ref *openapi3.SchemaRef, names map[string]bool) {
	if ref == nil {
		return
	}
	ref, schema := follow(ref)
	if ref.Ref != "" {
		if names[path.Base(ref.Ref)] {
			return
		}
		names[path.Base(ref.Ref)] = true
	}
	collect(schema.Items, names)
	for _, property := range schema.Properties {
		collect(property, names)
	}
}

// securityOf writes alternatives as "a | b c".
func securityOf(requirements openapi3.SecurityRequirements) string {
	var alternatives []string
	for _, requirement := range requirements {
		alternatives = append(alternatives, strings.Join(slices.Sorted(maps.Keys(requirement)), " "))
	}
	return strings.Join(alternatives, " | ")
}

// TestExchanges holds requests that the SDKs were seen to send, and replies
// built from the Go types, to the document by the validator that the HTTP tests
// use.
func TestExchanges(t *testing.T) {
	router, err := legacy.NewRouter(document(t))
	if err != nil {
		t.Fatal(err)
	}
	const (
		accounts = "/v2/managed_accounts"
		account  = accounts + "/f65ceda4-6522-4ad6-aede-98de83385123"
		users    = "/v2/organizations/users"
	)
	const at = "2018-02-02T22:25:27.521Z"
	full := api.ManagedAccount{
		RecordType: "managed_account", ID: "f65ceda4-6522-4ad6-aede-98de83385123", Email: "user@example.com",
		APIKey: "KEY0", APIUser: "manager@example.com", APIToken: "x6oexQNHTs", CreatedAt: at, UpdatedAt: at,
		Balance: &api.AccountBalance{
			RecordType: "balance", Balance: "-3.00", CreditLimit: "100.00", AvailableCredit: "97.00", Currency: "USD",
		},
		Status: "disabled", StatusReasons: []string{"manager_disabled"},
	}
	item := full
	item.Balance, item.APIKey, item.APIToken = nil, "", ""
	page := func(data ...api.ManagedAccount) any {
		return api.ListResponse[api.ManagedAccount]{Data: data, Meta: api.Meta{PageNumber: 1, PageSize: 20}}
	}
	user := api.OrganizationUser{
		ID: "u", RecordType: "organization_owner", Email: "user@example.com", UserStatus: "enabled", CreatedAt: at,
	}
	audit := func(changes []api.AuditChange) any {
		return api.ListResponse[api.AuditEvent]{
			Data: []api.AuditEvent{{
				RecordType: "audit_event", ChangeMadeBy: "telnyx", ChangeType: "update", Changes: changes, CreatedAt: at,
			}},
			Meta: api.Meta{PageNumber: 1, PageSize: 20},
		}
	}
	refusal := api.Errors{Errors: []api.Error{{Code: api.CodeNotFound, Title: "Resource not found"}}}

	tests := []struct {
		name, method, target, body string
		status                     int
		media                      string
		reply                      any
		bad                        string // part of the complaint; empty for a good exchange
	}{
		{name: "full account", method: "GET", target: account, reply: api.Response[api.ManagedAccount]{Data: full}},
		{name: "full account without its key", method: "GET", target: account, reply: api.Response[api.ManagedAccount]{Data: item}, bad: "api_key"},
		{name: "list", method: "GET", target: accounts, reply: page(item)},
		{name: "empty list", method: "GET", target: accounts, reply: page([]api.ManagedAccount{}...)},
		{name: "null list", method: "GET", target: accounts, reply: page(), bad: "nullable"},
		{name: "list that leaks a key", method: "GET", target: accounts, reply: page(full), bad: "unsupported"},
		{name: "operator list that leaks a key", method: "GET", target: "/operator/v1/accounts", reply: page(full), bad: "unsupported"},
		{name: "undocumented field", method: "GET", target: "/healthz", reply: map[string]any{"status": "ok", "version": "1"}, bad: "version"},
		{name: "bracket names", method: "GET", target: accounts + "?filter[email][contains]=john&page%5Bsize%5D=2&page_number=3&sort=-email", reply: page(item)},
		{name: "printed hash", method: "GET", target: accounts + "?filter=%7B:email=%3E%7D&page=%7B:size=%3E2%7D&number=2", reply: page(item)},
		{name: "short filter", method: "GET", target: accounts + "?filter[email][contains]=jo", bad: "filter[email][contains]"},
		{name: "size out of bounds", method: "GET", target: accounts + "?page[size]=251", bad: "page[size]"},
		{name: "pool before id", method: "GET", target: accounts + "/allocatable_global_outbound_channels", reply: api.Response[api.AllocatableChannels]{Data: api.AllocatableChannels{RecordType: "allocatable_global_outbound_channels"}}},
		{name: "update of Node without a body", method: "PATCH", target: account, reply: api.Response[api.ManagedAccount]{Data: full}},
		{name: "enable with an unknown property", method: "POST", target: account + "/actions/enable", body: `{"x":1}`, reply: api.Response[api.ManagedAccount]{Data: full}},
		{name: "create without a name", method: "POST", target: accounts, body: `{}`, bad: "business_name"},
		{name: "refusal", method: "GET", target: account, status: 404, reply: refusal},
		{name: "method not allowed", method: "GET", target: account, status: 405, reply: refusal},
		{name: "not ready", method: "GET", target: "/readyz", status: 503, reply: refusal},
		{name: "user", method: "GET", target: users + "/u%201%2F2", reply: api.Response[api.OrganizationUser]{Data: user}},
		{name: "report without groups", method: "GET", target: users + "/users_groups_report", reply: api.Response[[]api.OrganizationUser]{Data: []api.OrganizationUser{user}}, bad: "groups"},
		{name: "report as CSV", method: "GET", target: users + "/users_groups_report", media: "text/csv", reply: "id,email,user_status,created_at,last_sign_in_at,groups\nu,user@example.com,enabled," + at + ",,\"Engineering, Sales\""},
		{name: "audit dates of Ruby", method: "GET", target: "/v2/audit_events?filter[created_after]=1970-01-01+00:00:00+UTC&sort=asc", reply: audit([]api.AuditChange{{Field: "a.b", From: nil, To: 1}})},
		{name: "audit without changes", method: "GET", target: "/v2/audit_events", reply: audit(nil)},
		{name: "this document", method: "GET", target: "/openapi.yaml", media: "application/yaml", reply: string(api.OpenAPI)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := exchange(t, router, test.method, test.target, test.body, test.status, test.media, test.reply)
			switch {
			case test.bad == "" && err != nil:
				t.Error(err)
			case test.bad != "" && (err == nil || !strings.Contains(err.Error(), test.bad)):
				t.Errorf("got %v, want a complaint about %q", err, test.bad)
			}
		})
	}
}

// exchange validates a request and, if there is one, its reply. Status 0 is 200,
// no media type is JSON.
func exchange(t *testing.T, router routers.Router, method, target, body string, status int, media string, reply any) error {
	t.Helper()
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	route, params, err := router.FindRoute(request)
	if err != nil {
		t.Fatal(err)
	}
	input := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
			IncludeResponseStatus: true,
			SkipSettingDefaults:   true, // it would add page[size] beside page_size
		},
	}
	if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil || reply == nil {
		return err
	}
	data, ok := reply.(string)
	if !ok {
		encoded, err := json.Marshal(reply)
		if err != nil {
			t.Fatal(err)
		}
		data = string(encoded)
	}
	if status == 0 {
		status = http.StatusOK
	}
	if media == "" {
		media = "application/json"
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: status, Options: input.Options,
		Header: http.Header{"Content-Type": {media}, "X-Request-Id": {"r"}, "X-Ratelimit-Reset": {"1"}},
		Body:   io.NopCloser(strings.NewReader(data)),
	})
}

// operation is an operation and where it is found.
type operation struct {
	*openapi3.Operation
	method, path string
}

func list(doc *openapi3.T) []operation {
	var found []operation
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			found = append(found, operation{op, method, path})
		}
	}
	slices.SortFunc(found, func(a, b operation) int {
		return strings.Compare(a.path+" "+a.method, b.path+" "+b.method)
	})
	return found
}

func operations(doc *openapi3.T) map[string]operation {
	byID := map[string]operation{}
	for _, op := range list(doc) {
		byID[op.OperationID] = op
	}
	return byID
}

// follow resolves {description, allOf: [ref]}, which is how 3.0 describes a
// property that is a reference.
func follow(ref *openapi3.SchemaRef) (*openapi3.SchemaRef, *openapi3.Schema) {
	if len(ref.Value.AllOf) == 1 {
		ref = ref.Value.AllOf[0]
	}
	return ref, ref.Value
}

// typeOf is the one type of a schema, "" for any.
func typeOf(schema *openapi3.Schema) string {
	if schema.Type == nil {
		return ""
	}
	return strings.Join(schema.Type.Slice(), "|")
}

func sameValues(a, b []any) bool {
	sorted := func(values []any) []string {
		var texts []string
		for _, value := range values {
			texts = append(texts, fmt.Sprint(value))
		}
		slices.Sort(texts)
		return texts
	}
	return slices.Equal(sorted(a), sorted(b))
}

func document(t *testing.T) *openapi3.T {
	t.Helper()
	onDisk, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(onDisk, api.OpenAPI) {
		t.Fatal("api.OpenAPI is not openapi.yaml")
	}
	return load(t, "openapi.yaml")
}

func load(t *testing.T, file string) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return doc
}
