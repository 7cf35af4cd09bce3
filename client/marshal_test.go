package client_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

// TestMarshal: a result written as JSON is what came, with what this package does
// not know and without what did not come.
func TestMarshal(t *testing.T) {
	const came = `{"id":"1","email":"a@example.com","new_field":{"x":[1,2]}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/managed_accounts" {
			w.Write([]byte(`{"data":[{"id":"0"},` + came + `],"meta":{"total_pages":1,"page_number":1}}`))
			return
		}
		w.Write([]byte(`{"data":` + came + `}`))
	}))
	defer server.Close()
	c := client.New(client.WithBaseURL(server.URL), client.WithKey("k"))
	one, err := c.ManagedAccounts.Retrieve(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	page, err := c.ManagedAccounts.List(t.Context(), client.ManagedAccountList{})
	if err != nil {
		t.Fatal(err)
	}
	for _, account := range []*client.ManagedAccount{one, &page.Data[1]} {
		text, err := json.Marshal(account)
		if err != nil || string(text) != came {
			t.Errorf("%s, %v", text, err)
		}
	}
	// One that no server sent is written as it is.
	text, err := json.Marshal(client.GlobalChannelLimit{GlobalChannelLimit: api.GlobalChannelLimit{ID: "1"}})
	if err != nil || string(text) != `{"record_type":"","id":"1","email":"","manager_account_id":"","channel_limit":0}` {
		t.Errorf("%s, %v", text, err)
	}
}
