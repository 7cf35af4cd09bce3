// Package client is a light client for the account-management API of Telnyx and
// of Tenantry. It needs the standard library and package api, nothing else.
//
// Set up: New reads TELNYX_API_KEY and TELNYX_BASE_URL, as the official SDKs do.
//
//	c := client.New()
//	c := client.New(client.WithKey("KEY…"), client.WithBaseURL("http://127.0.0.1:8077/v2"))
//
// Call:
//
//	account, err := c.ManagedAccounts.Create(ctx, client.ManagedAccountCreate{BusinessName: "Larry's Cat Food Inc"})
//
// Page through everything, one request at a time:
//
//	for account, err := range c.ManagedAccounts.All(ctx, client.ManagedAccountList{}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(account.Email)
//	}
//
// Tell errors apart:
//
//	if errors.Is(err, client.ErrNotFound) { … }
//
//	var refused *client.Error
//	if errors.As(err, &refused) {
//		fmt.Println(refused.StatusCode, refused.RequestID, refused.Errors)
//	}
//
// A request that fails for a reason that may pass (no connection, 408, 409, 429,
// 5xx) is sent again, twice by default, after as long as the server asks or longer
// each time. POSTs carry an idempotency key that stays the same, so that a create
// whose answer was lost is not done twice.
//
// Optional values are pointers where absent differs from zero: new(true) is set,
// nil is not. Fields of an answer that this package does not know are kept: see
// Fields. Whatever holds a key or password prints masked.
package client
