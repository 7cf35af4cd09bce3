package client_test

import (
	"context"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

// TestOperationsHaveMethods compares the doc comments of the methods, which name
// their operation in brackets, with the contract, both ways.
func TestOperationsHaveMethods(t *testing.T) {
	t.Parallel()
	contract, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	operations := map[string]string{} // path by id, of those that a client calls
	for path, item := range contract.Paths.Map() {
		for _, operation := range item.Operations() {
			if strings.HasPrefix(path, "/v2/") || strings.HasPrefix(path, "/operator/") {
				operations[operation.OperationID] = path
			}
		}
	}
	named := map[string]bool{}
	mentions := regexp.MustCompile(`\(([A-Z][A-Za-z]+)\)`)
	eachDeclaration(t, func(file string, d *ast.FuncDecl) {
		if d.Recv == nil || !d.Name.IsExported() || !callsServer(d) {
			return
		}
		found := mentions.FindAllStringSubmatch(strings.Join(strings.Fields(d.Doc.Text()), " "), -1)
		for _, one := range found {
			if operations[one[1]] == "" {
				t.Errorf("%s: %s names %s, which the contract lacks", file, d.Name.Name, one[1])
			}
			named[one[1]] = true
		}
		// All and the other shapes of one operation are described by their first.
		if len(found) == 0 && !slices.Contains([]string{"All", "GroupsReportCSV", "GroupsReportRows", "Next"}, d.Name.Name) {
			t.Errorf("%s: %s names no operation", file, d.Name.Name)
		}
	})
	for id, path := range operations {
		if !named[id] {
			t.Errorf("%s (%s) has no method", id, path)
		}
	}
	if len(named) < 30 {
		t.Errorf("only %d operations are named", len(named))
	}
}

// callsServer reports whether a method takes a context.
func callsServer(d *ast.FuncDecl) bool {
	for _, p := range d.Type.Params.List {
		if s, ok := p.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "Context" {
			return true
		}
	}
	return false
}

func eachDeclaration(t *testing.T, look func(file string, d *ast.FuncDecl)) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				look(name, f)
			}
		}
	}
}

// TestPackagePage wants the first screen of the package's page to show set-up,
// calls, paging and errors.
func TestPackagePage(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var p comment.Parser
	text := string((&comment.Printer{}).Text(p.Parse(file.Doc.Text())))
	lines := strings.Split(text, "\n")
	first := strings.Join(lines[:min(40, len(lines))], "\n")
	for _, want := range []string{"client.New(", "TELNYX_API_KEY", ".All(ctx", ".Create(ctx", "errors.Is(err, client.", "errors.As("} {
		if !strings.Contains(first, want) {
			t.Errorf("the first %d lines do not show %q", 40, want)
		}
	}
}

// TestOperations calls every operation of a real server, happily.
func TestOperations(t *testing.T) {
	t.Parallel()
	eachServer(t, testOperations)
}

func testOperations(t *testing.T, s *server) {
	c, ctx := s.client(t), t.Context()
	account := must[*client.ManagedAccount](t)

	made := account(c.ManagedAccounts.Create(ctx, client.ManagedAccountCreate{
		BusinessName: "Sunny Side Ltd", Email: new("sunny@example.com"), Password: new("correct horse battery staple"),
		AllowCustomPricing: new(true), RollupBilling: new(false),
	}))
	if made.Email != "sunny@example.com" || made.OrganizationName != "Sunny Side Ltd" || !made.AllowCustomPricing || made.APIKey == "" || made.APIToken == "" || made.Balance == nil {
		t.Errorf("created %v", made)
	}
	got := account(c.ManagedAccounts.Retrieve(ctx, made.ID))
	if diff := cmp.Diff(made.ManagedAccount, got.ManagedAccount); diff != "" {
		t.Errorf("retrieved otherwise than created: %s", diff)
	}
	page := must[*client.Page[client.ManagedAccount]](t)(c.ManagedAccounts.List(ctx, client.ManagedAccountList{EmailEq: "sunny@example.com"}))
	if len(page.Data) != 1 || page.Data[0].ID != made.ID || page.Data[0].APIKey != "" || page.Meta.TotalResults != 1 || page.HasNext() {
		t.Errorf("listed %v %+v", page.Data, page.Meta)
	}
	if got := account(c.ManagedAccounts.Update(ctx, made.ID, client.ManagedAccountUpdate{AllowCustomPricing: new(false)})); got.AllowCustomPricing {
		t.Errorf("updated to %v", got)
	}
	account(c.ManagedAccounts.Update(ctx, made.ID, client.ManagedAccountUpdate{}))
	for range 2 {
		if got := account(c.ManagedAccounts.Disable(ctx, made.ID)); got.Status != "disabled" {
			t.Errorf("disabled to %v", got)
		}
	}
	if got := account(c.ManagedAccounts.DisableAndHangUp(ctx, made.ID)); got.Status != "disabled" {
		t.Errorf("disabled to %v", got)
	}
	for _, connections := range []bool{false, true} {
		if got := account(c.ManagedAccounts.Enable(ctx, made.ID, connections)); got.Status != "enabled" {
			t.Errorf("enabled to %v", got)
		}
	}
	for _, channels := range []int64{7, 0} {
		limit := must[*client.GlobalChannelLimit](t)(c.ManagedAccounts.UpdateGlobalChannelLimit(ctx, made.ID, channels))
		if limit.ChannelLimit != channels || limit.ID != made.ID {
			t.Errorf("limit %+v", limit)
		}
	}
	pool := must[*client.AllocatableChannels](t)(c.ManagedAccounts.AllocatableGlobalOutboundChannels(ctx))
	if pool.Allocatable != 500 || pool.Allocated < 30 {
		t.Errorf("pool %+v", pool)
	}
	message := must[*client.Message](t)
	sent := message(c.Messages.Send(ctx, client.MessageSend{To: "+18445550001", From: new("+18005550101"), Text: new("Hello")}))
	if got := message(c.Messages.Retrieve(ctx, sent.ID)); got.ID != sent.ID || got.Text != "Hello" || got.To[0].PhoneNumber != "+18445550001" {
		t.Errorf("sent %+v, retrieved %+v", sent, got)
	}
	balance := must[*client.Balance](t)(c.Balance.Retrieve(ctx))
	if balance.Balance.Balance != "1000.00" || balance.AvailableCredit != "1500.00" || balance.Currency != "USD" {
		t.Errorf("balance %+v", balance)
	}

	user := must[*client.OrganizationUser](t)
	users := must[*client.Page[client.OrganizationUser]](t)(c.OrganizationUsers.List(ctx, client.OrganizationUserList{Email: "user@", UserStatus: "enabled", IncludeGroups: true}))
	if len(users.Data) != 1 || users.Data[0].Groups == nil || len(*users.Data[0].Groups) != 2 {
		t.Errorf("users %v", users.Data)
	}
	if got := user(c.OrganizationUsers.Retrieve(ctx, userID, false)); got.Email != "user@example.com" || got.Groups != nil || got.LastSignInAt != nil {
		t.Errorf("user %+v", got)
	}
	if got := user(c.OrganizationUsers.Retrieve(ctx, userID, true)); got.Groups == nil || (*got.Groups)[0].Name != "Engineering" {
		t.Errorf("user with groups %+v", got)
	}
	report := must[[]client.OrganizationUser](t)(c.OrganizationUsers.GroupsReport(ctx))
	var rows []client.GroupsReportRow
	for row, err := range c.OrganizationUsers.GroupsReportRows(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if len(report) != 4 || len(rows) != 4 {
		t.Fatalf("%d users in the report, %d rows", len(report), len(rows))
	}
	for i, u := range report {
		var names []string
		for _, g := range *u.Groups {
			names = append(names, g.Name)
		}
		want := client.GroupsReportRow{ID: u.ID, Email: u.Email, UserStatus: u.UserStatus, CreatedAt: u.CreatedAt, Groups: strings.Join(names, ", ")}
		if rows[i] != want {
			t.Errorf("row %+v, not %+v", rows[i], want)
		}
	}
	body := must[io.ReadCloser](t)(c.OrganizationUsers.GroupsReportCSV(ctx))
	text, err := io.ReadAll(body)
	if err != nil || body.Close() != nil || !strings.HasPrefix(string(text), "id,email,user_status,created_at,last_sign_in_at,groups\n") {
		t.Errorf("CSV %q, %v", text, err)
	}
	if got := user(c.OrganizationUsers.Remove(ctx, adminID)); got.Email != "admin@example.com" {
		t.Errorf("removed %+v", got)
	}
	events := must[*client.Page[client.AuditEvent]](t)(c.AuditEvents.List(ctx, client.AuditEventList{
		CreatedAfter: time.Now().Add(-time.Hour), CreatedBefore: time.Now().Add(time.Hour), PageSize: 1,
	}))
	if len(events.Data) != 1 || events.Meta.TotalPages < 2 {
		t.Errorf("events %+v", events)
	}
	n := int64(0)
	for _, err := range c.AuditEvents.All(ctx, client.AuditEventList{OldestFirst: true, PageSize: 3}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != events.Meta.TotalResults {
		t.Errorf("%d of %d events", n, events.Meta.TotalResults)
	}
}

func TestOperatorOperations(t *testing.T) {
	t.Parallel()
	eachServer(t, testOperatorOperations)
}

func testOperatorOperations(t *testing.T, s *server) {
	o, ctx := s.operator(t), t.Context()
	account := must[*api.OperatorAccount](t)
	user := must[*api.OrganizationUser](t)

	root := account(o.CreateAccount(ctx, api.CreateRootAccount{BusinessName: "Fresh Start", Email: "fresh@example.com", Balance: new("10.00")}))
	if root.Email != "fresh@example.com" || root.Balance.Balance != "10.00" {
		t.Errorf("created %v", root)
	}
	if got := account(o.Account(ctx, root.ID)); got.ID != root.ID {
		t.Errorf("retrieved %v", got)
	}
	if got := account(o.SetCredit(ctx, root.ID, api.UpdateCredit{CreditLimit: new("5.00")})); got.Balance.CreditLimit != "5.00" || got.Balance.Balance != "10.00" {
		t.Errorf("credit set to %v", got)
	}
	if got := account(o.ApproveManager(ctx, root.ID, new(int64(12)))); got.Manager == nil || !got.Manager.Approved || got.Manager.ChannelPool != 12 {
		t.Errorf("approved %v", got)
	}
	if got := account(o.RevokeManager(ctx, root.ID)); got.Manager == nil || got.Manager.Approved {
		t.Errorf("revoked %v", got)
	}
	if got := account(o.ApproveManager(ctx, root.ID, nil)); got.Manager.ChannelPool != 12 {
		t.Errorf("approved again %v", got)
	}
	for _, step := range []struct {
		do   func(context.Context, string) (*api.OperatorAccount, error)
		want string
	}{{o.Block, "blocked"}, {o.Unblock, "enabled"}, {o.Cancel, "cancelled"}} {
		if got := account(step.do(ctx, root.ID)); got.Status != step.want {
			t.Errorf("%q, not %q", got.Status, step.want)
		}
	}
	accounts := must[*client.Page[api.OperatorAccount]](t)
	all := accounts(o.ListAccounts(ctx, client.OperatorAccountList{ManagedAccountList: client.ManagedAccountList{PageSize: 1}}))
	if len(all.Data) != 1 || all.Meta.TotalResults != 2 || !all.HasNext() {
		t.Errorf("listed %v %+v", all.Data, all.Meta)
	}
	managed := accounts(o.ListAccounts(ctx, client.OperatorAccountList{ManagerAccountID: "00000000-0000-7000-8000-000000000001"}))
	if managed.Meta.TotalResults != 3 {
		t.Errorf("listed %+v", managed.Meta)
	}

	const organization = "00000000-0000-7000-8000-000000000002"
	group := must[*api.Group](t)(o.CreateGroup(ctx, organization, api.CreateGroup{Name: "Support", Permissions: []string{"account"}}))
	made := must[*api.CreatedUser](t)(o.CreateUser(ctx, organization, api.CreateOrganizationUser{Email: "new@example.com"}))
	if made.APIKey == "" {
		t.Errorf("no key for %v", made)
	}
	user(o.AddMember(ctx, organization, group.ID, made.ID))
	user(o.RemoveMember(ctx, organization, group.ID, made.ID))
	if got := user(o.BlockUser(ctx, organization, made.ID)); got.UserStatus != "blocked" {
		t.Errorf("blocked %+v", got)
	}
	if got := user(o.UnblockUser(ctx, organization, made.ID)); got.UserStatus != "enabled" {
		t.Errorf("unblocked %+v", got)
	}
	users := must[*client.Page[api.OrganizationUser]](t)(o.ListUsers(ctx, organization, client.OrganizationUserList{IncludeGroups: true}))
	if len(users.Data) != 2 {
		t.Errorf("users %+v", users.Data)
	}
	groups := must[[]api.Group](t)(o.Groups(ctx, organization))
	if len(groups) != 1 || groups[0].Name != "Support" {
		t.Errorf("groups %+v", groups)
	}
	events := must[*client.Page[api.AuditEvent]](t)(o.AuditEvents(ctx, organization, client.AuditEventList{}))
	if len(events.Data) < 4 {
		t.Errorf("events %+v", events.Data)
	}
}

func TestConnectionOperations(t *testing.T) {
	t.Parallel()
	eachServer(t, testConnectionOperations)
}

func testConnectionOperations(t *testing.T, s *server) {
	o, ctx := s.operator(t), t.Context()
	connection := must[*api.Connection](t)

	office := connection(o.CreateConnection(ctx, company, api.CreateConnection{
		Name: "Office", Kind: "credentials", Usernames: []string{"Company"}, Numbers: []string{"+12025550112"},
	}))
	if !office.Active || len(office.Usernames) != 1 || office.Usernames[0] != "company" || office.Addresses == nil {
		t.Errorf("created %+v", office)
	}
	held := connection(o.CreateConnection(ctx, company, api.CreateConnection{Name: "Held", Kind: "address", Hold: new("unpaid")}))
	if held.Active || len(held.Problems) != 2 {
		t.Errorf("created %+v", held)
	}
	if got := connection(o.Connection(ctx, company, office.ID)); !reflect.DeepEqual(got, office) {
		t.Errorf("retrieved %+v, created %+v", got, office)
	}
	if all := must[[]api.Connection](t)(o.Connections(ctx, company)); len(all) != 2 || all[0].ID != held.ID || all[1].ID != office.ID {
		t.Errorf("listed %+v", all)
	}
	must[*client.ManagedAccount](t)(s.client(t).ManagedAccounts.Disable(ctx, company))
	if got := connection(o.Connection(ctx, company, office.ID)); got.Active {
		t.Errorf("on in a disabled account: %+v", got)
	}
	enabled := must[*client.ManagedAccount](t)(s.client(t).ManagedAccounts.Enable(ctx, company, true))
	if left := enabled.ConnectionsLeftOff; len(left) != 1 || left[0].ID != held.ID || left[0].Name != "Held" || len(left[0].Problems) != 2 {
		t.Errorf("left off are %+v", left)
	}
	got := connection(o.UpdateConnection(ctx, company, office.ID, api.UpdateConnection{Name: new("Head office"), Numbers: &[]string{}}))
	if got.Name != "Head office" || len(got.Numbers) != 0 || len(got.Usernames) != 1 || !got.Active {
		t.Errorf("updated to %+v", got)
	}
	_, err := o.UpdateConnection(ctx, company, held.ID, api.UpdateConnection{Active: new(true)})
	if !isOnly(err, client.ErrConflict) {
		t.Error(err)
	}
	_, err = o.CreateConnection(ctx, larry, api.CreateConnection{Name: "Office", Kind: "credentials", Usernames: []string{"company"}})
	if e := refused(t, err); !isOnly(err, client.ErrUnprocessable) || e.Code() != api.CodeDuplicate || e.Operation != "create connection" {
		t.Error(err)
	}
	if got := connection(o.RemoveConnection(ctx, company, office.ID)); got.ID != office.ID {
		t.Errorf("removed %+v", got)
	}
	_, err = o.Connection(ctx, company, office.ID)
	if !isOnly(err, client.ErrNotFound) {
		t.Error(err)
	}
}

// calls are all operations, by the name that an error has of them, with an id
// that may be wrong.
func calls(c *client.Client, id string) map[string]func(context.Context) error {
	m, u := c.ManagedAccounts, c.OrganizationUsers
	return map[string]func(context.Context) error{
		"list managed accounts": func(ctx context.Context) error {
			_, err := m.List(ctx, client.ManagedAccountList{})
			return err
		},
		"create managed account": func(ctx context.Context) error {
			_, err := m.Create(ctx, client.ManagedAccountCreate{})
			return err
		},
		"retrieve managed account": func(ctx context.Context) error { _, err := m.Retrieve(ctx, id); return err },
		"update managed account": func(ctx context.Context) error {
			_, err := m.Update(ctx, id, client.ManagedAccountUpdate{})
			return err
		},
		"disable managed account":       func(ctx context.Context) error { _, err := m.Disable(ctx, id); return err },
		"enable managed account":        func(ctx context.Context) error { _, err := m.Enable(ctx, id, false); return err },
		"update global channel limit":   func(ctx context.Context) error { _, err := m.UpdateGlobalChannelLimit(ctx, id, 1); return err },
		"retrieve allocatable channels": func(ctx context.Context) error { _, err := m.AllocatableGlobalOutboundChannels(ctx); return err },
		"list organization users": func(ctx context.Context) error {
			_, err := u.List(ctx, client.OrganizationUserList{})
			return err
		},
		"retrieve organization user": func(ctx context.Context) error { _, err := u.Retrieve(ctx, id, true); return err },
		"remove organization user":   func(ctx context.Context) error { _, err := u.Remove(ctx, id); return err },
		"retrieve groups report": func(ctx context.Context) error {
			_, err := u.GroupsReport(ctx)
			if err == nil {
				return nil
			}
			for _, err := range u.GroupsReportRows(ctx) {
				return err
			}
			return nil
		},
		"send message":     func(ctx context.Context) error { _, err := c.Messages.Send(ctx, client.MessageSend{}); return err },
		"retrieve message": func(ctx context.Context) error { _, err := c.Messages.Retrieve(ctx, id); return err },
		"retrieve balance": func(ctx context.Context) error { _, err := c.Balance.Retrieve(ctx); return err },
		"list audit events": func(ctx context.Context) error {
			_, err := c.AuditEvents.List(ctx, client.AuditEventList{})
			return err
		},
	}
}

// withID are the calls of one account, user or message.
var withID = []string{"retrieve managed account", "update managed account", "disable managed account", "enable managed account",
	"update global channel limit", "retrieve organization user", "remove organization user", "retrieve message"}

// TestRefusals has every operation refused by a real server for every reason that
// it has.
func TestRefusals(t *testing.T) {
	t.Parallel()
	eachServer(t, testRefusals)
}

func testRefusals(t *testing.T, s *server) {
	managers := []string{"list managed accounts", "create managed account", "retrieve managed account", "update managed account",
		"disable managed account", "enable managed account", "update global channel limit", "retrieve allocatable channels"}
	count := 0
	check := func(c *client.Client, which func(string) bool, kind error, code string) {
		t.Helper()
		for name, call := range calls(c, unknownID) {
			if !which(name) {
				continue
			}
			count++
			err := call(t.Context())
			if err == nil {
				t.Errorf("%s is not refused", name)
				continue
			}
			e := refused(t, err)
			if !isOnly(err, kind) || e.Operation != name || e.Code() != code || e.RequestID == "" || len(e.Errors) == 0 {
				t.Errorf("%s: %v, code %s, %+v", name, err, e.Code(), e)
			}
		}
	}
	all := func(string) bool { return true }
	check(s.client(t, client.WithKey("KEY-nobody-has")), all, client.ErrAuthentication, api.CodeAuthentication)
	check(s.client(t, client.WithKey("")), all, client.ErrAuthentication, api.CodeAuthentication)
	check(s.client(t, client.WithKey(nobodyKey)), func(name string) bool { return slices.Contains(managers, name) }, client.ErrPermissionDenied, api.CodeNotAuthorized)
	check(s.client(t), func(name string) bool { return slices.Contains(withID, name) }, client.ErrNotFound, api.CodeNotFound)
	check(s.client(t), func(name string) bool { return name == "create managed account" || name == "send message" }, client.ErrUnprocessable, api.CodeMissingParameter)
	if count != 16+16+8+8+2 {
		t.Errorf("%d refusals", count)
	}
	_, err := s.client(t).OrganizationUsers.List(t.Context(), client.OrganizationUserList{UserStatus: "asleep"})
	if e := refused(t, err); !isOnly(err, client.ErrBadRequest) || e.Errors[0].Source.Parameter != "filter[user_status]" {
		t.Errorf("%v %+v", err, e.Errors)
	}
	_, err = s.operator(t).Account(t.Context(), unknownID)
	if !isOnly(err, client.ErrNotFound) {
		t.Error(err)
	}
	_, err = s.operator(t).Groups(t.Context(), unknownID)
	if !isOnly(err, client.ErrNotFound) {
		t.Error(err)
	}
}

func TestV1(t *testing.T) {
	t.Parallel()
	eachServer(t, testV1)
}

func testV1(t *testing.T, s *server) {
	c := s.client(t, client.WithV1("manager@example.com", managerToken))
	if _, err := c.ManagedAccounts.Retrieve(t.Context(), larry); err != nil {
		t.Error(err)
	}
	if _, err := s.client(t, client.WithV1("manager@example.com", "wrong")).Balance.Retrieve(t.Context()); !isOnly(err, client.ErrAuthentication) {
		t.Error(err)
	}
	var header http.Header
	fake := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		io.WriteString(w, `{"data":{}}`)
	}, client.WithV1("who", "secret"))
	if _, err := fake.Balance.Retrieve(t.Context()); err != nil || header.Get("Authorization") != "" || header.Get("X-Api-User") != "who" || header.Get("X-Api-Token") != "secret" {
		t.Errorf("%v, sent %v", err, header)
	}
}

// wire is a request as a server saw it.
type wire struct {
	Method, Path, Query, Accept, ContentType, Body string
}

// TestWire pins what each operation sends: what is not given is not sent, and zero
// is sent where it means something.
func TestWire(t *testing.T) {
	t.Parallel()
	var seen wire
	var header http.Header
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		query := strings.NewReplacer("%5B", "[", "%5D", "]").Replace(r.URL.RawQuery)
		seen = wire{r.Method, strings.TrimPrefix(r.URL.EscapedPath(), "/v2"), query, r.Header.Get("Accept"), r.Header.Get("Content-Type"), string(body)}
		header = r.Header
		switch {
		case r.Header.Get("Accept") == "text/csv":
			io.WriteString(w, "id,email,user_status,created_at,last_sign_in_at,groups")
		case strings.HasSuffix(r.URL.Path, "s") && r.Method == "GET" && !strings.HasSuffix(r.URL.Path, "_channels"):
			io.WriteString(w, `{"data":[]}`)
		default:
			io.WriteString(w, `{"data":{}}`)
		}
	}, client.WithUserAgent("wire-test/1"))
	m, u, a := c.ManagedAccounts, c.OrganizationUsers, c.AuditEvents
	o := client.NewOperator(c)
	const json = "application/json"
	noon := time.Date(2026, 2, 3, 12, 0, 0, 5e6, time.FixedZone("", 3600))
	cases := []struct {
		name string
		do   func(ctx context.Context) error
		want wire
	}{
		{"list nothing given", func(ctx context.Context) error { _, err := m.List(ctx, client.ManagedAccountList{}); return err },
			wire{"GET", "/managed_accounts", "", json, "", ""}},
		{"list everything given", func(ctx context.Context) error {
			_, err := m.List(ctx, client.ManagedAccountList{EmailContains: "cat&dog", EmailEq: "a+b@example.com", OrganizationNameContains: "ü ",
				OrganizationNameEq: "=", Status: "blocked", IncludeCancelled: true, Sort: "-email", PageNumber: 2, PageSize: 250})
			return err
		}, wire{"GET", "/managed_accounts", "filter[email][contains]=cat%26dog&filter[email][eq]=a%2Bb%40example.com&filter[organization_name][contains]=%C3%BC+" +
			"&filter[organization_name][eq]=%3D&filter[status][eq]=blocked&include_cancelled_accounts=true&page[number]=2&page[size]=250&sort=-email", json, "", ""}},
		{"create with what is required", func(ctx context.Context) error {
			_, err := m.Create(ctx, client.ManagedAccountCreate{BusinessName: "A"})
			return err
		}, wire{"POST", "/managed_accounts", "", json, json, `{"business_name":"A"}`}},
		{"create with zeros", func(ctx context.Context) error {
			_, err := m.Create(ctx, client.ManagedAccountCreate{BusinessName: "A", Email: new(""), Password: new(""), AllowCustomPricing: new(false), RollupBilling: new(false)})
			return err
		}, wire{"POST", "/managed_accounts", "", json, json,
			`{"business_name":"A","email":"","password":"","managed_account_allow_custom_pricing":false,"rollup_billing":false}`}},
		{"retrieve a strange id", func(ctx context.Context) error { _, err := m.Retrieve(ctx, "u 1/2?x#%..é"); return err },
			wire{"GET", "/managed_accounts/u%201%2F2%3Fx%23%25..%C3%A9", "", json, "", ""}},
		{"update nothing", func(ctx context.Context) error {
			_, err := m.Update(ctx, "x", client.ManagedAccountUpdate{})
			return err
		},
			wire{"PATCH", "/managed_accounts/x", "", json, json, `{}`}},
		{"update to false", func(ctx context.Context) error {
			_, err := m.Update(ctx, "x", client.ManagedAccountUpdate{AllowCustomPricing: new(false)})
			return err
		}, wire{"PATCH", "/managed_accounts/x", "", json, json, `{"managed_account_allow_custom_pricing":false}`}},
		{"disable", func(ctx context.Context) error { _, err := m.Disable(ctx, "x"); return err },
			wire{"POST", "/managed_accounts/x/actions/disable", "", json, "", ""}},
		{"enable", func(ctx context.Context) error { _, err := m.Enable(ctx, "x", false); return err },
			wire{"POST", "/managed_accounts/x/actions/enable", "", json, json, `{}`}},
		{"enable connections", func(ctx context.Context) error { _, err := m.Enable(ctx, "x", true); return err },
			wire{"POST", "/managed_accounts/x/actions/enable", "", json, json, `{"reenable_all_connections":true}`}},
		{"limit of zero", func(ctx context.Context) error { _, err := m.UpdateGlobalChannelLimit(ctx, "x", 0); return err },
			wire{"PATCH", "/managed_accounts/x/update_global_channel_limit", "", json, json, `{"channel_limit":0}`}},
		{"allocatable", func(ctx context.Context) error { _, err := m.AllocatableGlobalOutboundChannels(ctx); return err },
			wire{"GET", "/managed_accounts/allocatable_global_outbound_channels", "", json, "", ""}},
		{"users", func(ctx context.Context) error { _, err := u.List(ctx, client.OrganizationUserList{}); return err },
			wire{"GET", "/organizations/users", "", json, "", ""}},
		{"users chosen", func(ctx context.Context) error {
			_, err := u.List(ctx, client.OrganizationUserList{Email: "a", UserStatus: "enabled", IncludeGroups: true, PageNumber: 3, PageSize: 1})
			return err
		}, wire{"GET", "/organizations/users", "filter[email]=a&filter[user_status]=enabled&include_groups=true&page[number]=3&page[size]=1", json, "", ""}},
		{"user", func(ctx context.Context) error { _, err := u.Retrieve(ctx, "x", false); return err },
			wire{"GET", "/organizations/users/x", "", json, "", ""}},
		{"user with groups", func(ctx context.Context) error { _, err := u.Retrieve(ctx, "x", true); return err },
			wire{"GET", "/organizations/users/x", "include_groups=true", json, "", ""}},
		{"remove", func(ctx context.Context) error { _, err := u.Remove(ctx, "x"); return err },
			wire{"POST", "/organizations/users/x/actions/remove", "", json, "", ""}},
		{"report rows", func(ctx context.Context) error {
			for _, err := range u.GroupsReportRows(ctx) {
				return err
			}
			return nil
		}, wire{"GET", "/organizations/users/users_groups_report", "", "text/csv", "", ""}},
		{"send a message", func(ctx context.Context) error {
			_, err := c.Messages.Send(ctx, client.MessageSend{To: "+1", From: new("A"), MediaURLs: &[]string{"http://a"}, UseProfileWebhooks: new(false)})
			return err
		}, wire{"POST", "/messages", "", json, json, `{"to":"+1","from":"A","media_urls":["http://a"],"use_profile_webhooks":false}`}},
		{"retrieve a message", func(ctx context.Context) error { _, err := c.Messages.Retrieve(ctx, "a/"); return err },
			wire{"GET", "/messages/a%2F", "", json, "", ""}},
		{"balance", func(ctx context.Context) error { _, err := c.Balance.Retrieve(ctx); return err },
			wire{"GET", "/balance", "", json, "", ""}},
		{"audit", func(ctx context.Context) error { _, err := a.List(ctx, client.AuditEventList{}); return err },
			wire{"GET", "/audit_events", "", json, "", ""}},
		{"audit chosen", func(ctx context.Context) error {
			_, err := a.List(ctx, client.AuditEventList{CreatedAfter: noon, CreatedBefore: noon.Add(time.Hour), OldestFirst: true})
			return err
		}, wire{"GET", "/audit_events", "filter[created_after]=2026-02-03T11%3A00%3A00.005Z&filter[created_before]=2026-02-03T12%3A00%3A00.005Z&sort=asc", json, "", ""}},
		{"credit of zero", func(ctx context.Context) error {
			_, err := o.SetCredit(ctx, "x", api.UpdateCredit{Balance: new("0.00")})
			return err
		}, wire{"PATCH", "/accounts/x", "", json, json, `{"balance":"0.00"}`}},
		{"update connection", func(ctx context.Context) error {
			_, err := o.UpdateConnection(ctx, "a/", "c/", api.UpdateConnection{Addresses: &[]string{}, Active: new(false), Hold: new("")})
			return err
		}, wire{"PATCH", "/accounts/a%2F/connections/c%2F", "", json, json, `{"addresses":[],"active":false,"hold":""}`}},
		{"remove connection", func(ctx context.Context) error { _, err := o.RemoveConnection(ctx, "a", "c"); return err },
			wire{"DELETE", "/accounts/a/connections/c", "", json, "", ""}},
		{"add member", func(ctx context.Context) error { _, err := o.AddMember(ctx, "a/", "g/", "u/"); return err },
			wire{"PUT", "/accounts/a%2F/groups/g%2F/users/u%2F", "", json, "", ""}},
	}
	for _, test := range cases {
		if err := test.do(t.Context()); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.want, seen); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
		if got := header.Get("Authorization"); got != "Bearer KEY-of-a-test" {
			t.Errorf("%s: Authorization %q", test.name, got)
		}
		if got := header.Get("User-Agent"); got != "wire-test/1" {
			t.Errorf("%s: User-Agent %q", test.name, got)
		}
		if got := header["Idempotency-Key"]; (len(got) == 1) != (seen.Method == "POST") {
			t.Errorf("%s: %s with Idempotency-Key %q", test.name, seen.Method, got)
		}
	}
}

// TestBadIDs wants ids that would name something else not to be sent at all.
func TestBadIDs(t *testing.T) {
	t.Parallel()
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s %s was sent", r.Method, r.URL) })
	for _, id := range []string{"", ".", ".."} {
		all := calls(c, id)
		for _, name := range withID {
			err := all[name](t.Context())
			if err == nil || !strings.HasPrefix(err.Error(), name+": an id must not be empty or dots") {
				t.Errorf("%s with id %q: %v", name, id, err)
			}
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("TELNYX_API_KEY", "")
	t.Setenv("TELNYX_BASE_URL", "")
	if got := client.New().BaseURL(); got != "https://api.telnyx.com/v2" {
		t.Errorf("the address is %q without settings", got)
	}
	var key string
	fake := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		key = r.Header.Get("Authorization")
		io.WriteString(w, `{"data":{}}`)
	})
	t.Setenv("TELNYX_API_KEY", "KEY-out-of-a-file\n")
	t.Setenv("TELNYX_BASE_URL", fake.BaseURL()+"/")
	if _, err := client.New().Balance.Retrieve(t.Context()); err != nil || key != "Bearer KEY-out-of-a-file" {
		t.Errorf("%v, sent %q", err, key)
	}
	if _, err := client.New(client.WithKey("KEY-given")).Balance.Retrieve(t.Context()); err != nil || key != "Bearer KEY-given" {
		t.Errorf("%v, sent %q", err, key)
	}
	if got := client.New(client.WithBaseURL("http://elsewhere.invalid/v2//")).BaseURL(); got != "http://elsewhere.invalid/v2" {
		t.Errorf("the address is %q", got)
	}
}

// TestUnknownFields reaches what this package has no name for.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/managed_accounts"):
			io.WriteString(w, list(`{"page_number":1,"total_pages":1}`, "a", "b", "c"))
		default:
			io.WriteString(w, `{"data":{"id":"x","email":"e@example.com","nickname":"the x","tags":["a",{"b":1}],"nothing":null},"trace":"outside"}`)
		}
	})
	ctx := t.Context()
	one := must[*client.ManagedAccount](t)(c.ManagedAccounts.Retrieve(ctx, "x"))
	var nickname string
	if ok, err := one.Field("nickname", &nickname); !ok || err != nil || nickname != "the x" {
		t.Errorf("%t %v %q", ok, err, nickname)
	}
	var tags []any
	if ok, err := one.Field("tags", &tags); !ok || err != nil || !reflect.DeepEqual(tags, []any{"a", map[string]any{"b": 1.0}}) {
		t.Errorf("%t %v %v", ok, err, tags)
	}
	email, nothing := "", new(1)
	if ok, err := one.Field("email", &email); !ok || err != nil || email != one.Email {
		t.Errorf("a field with a name: %t %v %q", ok, err, email)
	}
	if ok, err := one.Field("nothing", &nothing); !ok || err != nil || nothing != nil {
		t.Errorf("null: %t %v %v", ok, err, nothing)
	}
	for _, name := range []string{"absent", "trace", "data", ""} {
		if ok, err := one.Field(name, &nickname); ok || err != nil {
			t.Errorf("%q: %t %v", name, ok, err)
		}
	}
	if ok, err := one.Field("tags", &nickname); !ok || err == nil {
		t.Errorf("a list into a string: %t %v", ok, err)
	}
	if ok, err := (&client.ManagedAccount{}).Field("id", &nickname); ok || err != nil {
		t.Errorf("an object of one's own: %t %v", ok, err)
	}
	page := must[*client.Page[client.ManagedAccount]](t)(c.ManagedAccounts.List(ctx, client.ManagedAccountList{}))
	for i, want := range []string{"the a", "the b", "the c"} {
		if ok, err := page.Data[i].Field("nickname", &nickname); !ok || err != nil || nickname != want {
			t.Errorf("item %d: %t %v %q", i, ok, err, nickname)
		}
	}
	// Every result keeps them.
	limit := must[*client.GlobalChannelLimit](t)(c.ManagedAccounts.UpdateGlobalChannelLimit(ctx, "x", 1))
	pool := must[*client.AllocatableChannels](t)(c.ManagedAccounts.AllocatableGlobalOutboundChannels(ctx))
	user := must[*client.OrganizationUser](t)(c.OrganizationUsers.Retrieve(ctx, "x", false))
	balance := must[*client.Balance](t)(c.Balance.Retrieve(ctx))
	for i, f := range []client.Fields{limit.Fields, pool.Fields, user.Fields, balance.Fields} {
		nickname = ""
		if ok, err := f.Field("nickname", &nickname); !ok || err != nil || nickname != "the x" {
			t.Errorf("result %d: %t %v %q", i, ok, err, nickname)
		}
	}
}
