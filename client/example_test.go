package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

var ctx = context.Background()

// The ids of what the examples' server starts with.
const (
	exampleLarry   = "00000000-0000-7000-8000-000000000011"
	exampleCompany = "00000000-0000-7000-8000-000000000012"
	exampleUser    = "00000000-0000-7000-8000-000000000021"
)

func Example() {
	c := client.New() // TELNYX_API_KEY and TELNYX_BASE_URL
	for account, err := range c.ManagedAccounts.All(ctx, client.ManagedAccountList{EmailContains: "example.net"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(account.Email, account.Status)
	}
	// Output: hotels@example.net disabled
}

func ExampleNew() {
	c := client.New(
		client.WithKey("KEY01236170692E74656C6E79782E636F6D_YmlnIGlyb24gaXMgZGVhZA"),
		client.WithBaseURL("http://127.0.0.1:8077/v2"),
		client.WithTimeout(20*time.Second),
		client.WithRetries(4),
		client.WithUserAgent("larrys-billing/1.0"),
		client.WithHTTPClient(&http.Client{}),
		client.WithLogger(slog.Default()),
	)
	fmt.Println(c) // never shows the key
	// Output: client of http://127.0.0.1:8077/v2
}

func ExampleWithV1() {
	c := client.New(client.WithV1("manager@example.com", "tenantry-dev-token-001"))
	balance, err := c.Balance.Retrieve(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(balance.Currency)
	// Output: USD
}

func ExampleWithIdempotencyKey() {
	c := client.New()
	// The same key for the same line of a file, each time the program is run.
	once := client.WithIdempotencyKey(ctx, "import-2026-02-line-17")
	first, err := c.ManagedAccounts.Create(once, client.ManagedAccountCreate{BusinessName: "Line 17 Ltd"})
	if err != nil {
		log.Fatal(err)
	}
	again, err := c.ManagedAccounts.Create(once, client.ManagedAccountCreate{BusinessName: "Line 17 Ltd"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.ID == again.ID)
	// Output: true
}

func ExampleManagedAccounts_List() {
	c := client.New()
	page, err := c.ManagedAccounts.List(ctx, client.ManagedAccountList{
		OrganizationNameContains: "cat food",
		Sort:                     "email",
		PageSize:                 50,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, account := range page.Data {
		fmt.Println(account.OrganizationName)
	}
	fmt.Println("page", page.Meta.PageNumber, "of", page.Meta.TotalPages)
	// Output:
	// Larry's Cat Food Inc
	// page 1 of 1
}

func ExampleManagedAccounts_All() {
	c := client.New()
	for account, err := range c.ManagedAccounts.All(ctx, client.ManagedAccountList{Status: "disabled", PageSize: 250}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(account.OrganizationName, account.StatusReasons)
	}
	// Output: Sleeping Beauty Hotels [manager_disabled]
}

func ExampleManagedAccounts_Create() {
	c := client.New()
	account, err := c.ManagedAccounts.Create(ctx, client.ManagedAccountCreate{
		BusinessName:  "Larry's Dog Food Inc",
		RollupBilling: new(true), // nil would not be sent
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(account.OrganizationName, account.Status, account.APIKey != "")
	// Output: Larry's Dog Food Inc enabled true
}

func ExampleManagedAccounts_Retrieve() {
	c := client.New()
	account, err := c.ManagedAccounts.Retrieve(ctx, exampleLarry)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(account.Email)
	if account.Balance != nil { // nil when its billing is rolled up
		fmt.Println(account.Balance.AvailableCredit, account.Balance.Currency)
	}
	// Output:
	// larry@example.com
	// 400.00 USD
}

func ExampleManagedAccounts_Update() {
	c := client.New()
	account, err := c.ManagedAccounts.Update(ctx, exampleLarry, client.ManagedAccountUpdate{AllowCustomPricing: new(true)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(account.AllowCustomPricing)
	// Output: true
}

func ExampleManagedAccounts_Disable() {
	c := client.New()
	account, err := c.ManagedAccounts.Disable(ctx, exampleCompany)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(account.Status)
	account, err = c.ManagedAccounts.Enable(ctx, exampleCompany, true) // true: its connections too
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(account.Status)
	// Output:
	// disabled
	// enabled
}

func ExampleManagedAccounts_UpdateGlobalChannelLimit() {
	c := client.New()
	limit, err := c.ManagedAccounts.UpdateGlobalChannelLimit(ctx, exampleLarry, 40)
	if err != nil {
		log.Fatal(err)
	}
	pool, err := c.ManagedAccounts.AllocatableGlobalOutboundChannels(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(limit.ChannelLimit, "of", pool.Allocatable)
	// Output: 40 of 500
}

func ExampleOrganizationUsers_List() {
	c := client.New()
	page, err := c.OrganizationUsers.List(ctx, client.OrganizationUserList{Email: "user@", IncludeGroups: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, user := range page.Data {
		fmt.Print(user.Email, ":")
		for _, group := range *user.Groups {
			fmt.Print(" ", group.Name)
		}
		fmt.Println()
	}
	// Output: user@example.com: Engineering Sales
}

func ExampleOrganizationUsers_Retrieve() {
	c := client.New()
	user, err := c.OrganizationUsers.Retrieve(ctx, exampleUser, false) // true: with groups
	if err != nil {
		log.Fatal(err)
	}
	if user.LastSignInAt == nil {
		fmt.Println(user.Email, "never signed in")
	}
	// Output: user@example.com never signed in
}

func ExampleOrganizationUsers_GroupsReport() {
	c := client.New()
	users, err := c.OrganizationUsers.GroupsReport(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(users[0].Email, users[0].RecordType)
	// Output: manager@example.com organization_owner
}

// The report as CSV, row by row as it arrives: for organizations of any size.
func ExampleOrganizationUsers_GroupsReportRows() {
	c := client.New()
	for row, err := range c.OrganizationUsers.GroupsReportRows(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s is %s, in %q\n", row.Email, row.UserStatus, row.Groups)
		if row.Email == "user@example.com" {
			break
		}
	}
	// Output:
	// manager@example.com is enabled, in ""
	// user@example.com is enabled, in "Engineering, Sales"
}

func ExampleOrganizationUsers_GroupsReportCSV() {
	c := client.New()
	report, err := c.OrganizationUsers.GroupsReportCSV(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer report.Close()
	if _, err := io.Copy(io.Discard, report); err != nil { // into a file, say
		log.Fatal(err)
	}
}

func ExampleOrganizationUsers_Remove() {
	c := client.New()
	_, err := c.OrganizationUsers.Remove(ctx, "00000000-0000-7000-8000-00000000dead")
	fmt.Println(errors.Is(err, client.ErrNotFound))
	// Output: true
}

func ExampleBalances_Retrieve() {
	c := client.New()
	balance, err := c.Balance.Retrieve(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(balance.Balance.Balance, balance.CreditLimit, balance.AvailableCredit, balance.Currency)
	// Output: 1000.00 500.00 1500.00 USD
}

func ExampleMessages_Send() {
	c := client.New()
	message, err := c.Messages.Send(ctx, client.MessageSend{To: "+18445550001", From: new("+18005550101"), Text: new("Hello, World!")})
	switch {
	case errors.Is(err, client.ErrRateLimited), errors.Is(err, client.ErrConnection):
		fmt.Println("not now:", err) // after all retries
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println(message.To[0].PhoneNumber, message.To[0].Status, message.Parts)
	}
	// Output: +18445550001 queued 1
}

func ExampleMessages_Retrieve() {
	c := client.New()
	sent, err := c.Messages.Send(ctx, client.MessageSend{To: "+18445550001", From: new("Example"), Text: new("Hello, World!")})
	if err != nil {
		log.Fatal(err)
	}
	message, err := c.Messages.Retrieve(ctx, sent.ID) // later
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(message.Text, len(message.Errors))
	// Output: Hello, World! 0
}

func ExampleAuditEvents_All() {
	c := client.New()
	for event, err := range c.AuditEvents.All(ctx, client.AuditEventList{OldestFirst: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.ChangeType, event.ChangeMadeBy)
		break
	}
	// Output: account.created telnyx
}

func ExampleOperator() {
	operator := client.NewOperator(client.New(
		client.WithBaseURL(os.Getenv("TENANTRY_OPERATOR_URL")), // ends in /operator/v1
		client.WithKey(os.Getenv("TENANTRY_OPERATOR_TOKEN")),
	))
	account, err := operator.CreateAccount(ctx, api.CreateRootAccount{
		BusinessName: "Fresh Reseller", Email: fmt.Sprintf("fresh%d@example.com", time.Now().UnixNano()), CreditLimit: new("50.00"),
	})
	if err != nil {
		log.Fatal(err)
	}
	account, err = operator.ApproveManager(ctx, account.ID, new(int64(100)))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(account.OrganizationName, account.Manager.Approved, account.Manager.ChannelPool)
	// Output: Fresh Reseller true 100
}

func ExamplePage_Next() {
	c := client.New()
	page, err := c.OrganizationUsers.List(ctx, client.OrganizationUserList{PageSize: 3})
	for ; page != nil && err == nil; page, err = page.Next(ctx) {
		fmt.Println("page", page.Meta.PageNumber, "has", len(page.Data), "of", page.Meta.TotalResults)
	}
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// page 1 has 3 of 4
	// page 2 has 1 of 4
}

func ExampleFields_Field() {
	c := client.New()
	account, err := c.ManagedAccounts.Retrieve(ctx, exampleLarry)
	if err != nil {
		log.Fatal(err)
	}
	var status string // or any field that the package has no name for
	if ok, err := account.Field("status", &status); ok && err == nil {
		fmt.Println(status)
	}
	// Output: enabled
}

func ExampleError() {
	c := client.New()
	_, err := c.ManagedAccounts.Create(ctx, client.ManagedAccountCreate{})

	var refused *client.Error
	if errors.As(err, &refused) {
		fmt.Println(refused.StatusCode, refused.RequestID != "")
		for _, one := range refused.Errors {
			fmt.Println(one.Code, one.Source.Pointer)
		}
	}
	// Output:
	// 422 true
	// 10004 /business_name
}

// Kinds of errors.
func ExampleError_Is() {
	c := client.New()
	_, err := c.ManagedAccounts.Retrieve(ctx, "00000000-0000-7000-8000-00000000dead")
	switch {
	case errors.Is(err, client.ErrNotFound):
		fmt.Println("no such account")
	case errors.Is(err, client.ErrRateLimited), errors.Is(err, client.ErrServer), errors.Is(err, client.ErrConnection):
		fmt.Println("not now:", err)
	case err != nil:
		fmt.Println(err)
	}
	// Output: no such account
}
