package signon_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/signon"
	"github.com/tenantry/tenantry/internal/tenant"
)

// FuzzCallback: whatever a browser brings that was not at the issuer is refused, and
// without its state the issuer is not even asked.
func FuzzCallback(f *testing.F) {
	clock := newClock()
	state := signon.State{
		AccountID: "an account", Issuer: "https://issuer.example.com", State: "the state", Nonce: "the nonce", Verifier: "the verifier",
		ExpiresAt: clock.now.Add(1),
	}
	for _, seed := range []string{
		"", "state=the+state", "state=the+state&code=A", "state=the%20state&code=A&iss=https://issuer.example.com", "state=&code=A", "code=A",
		"state=the+state&state=the+state&code=A", "state=the+state&error=access_denied", "state=the+state&error=server_error&code=A",
		"state=the+state&code=A&iss=https://other.example.com", "state=the+state&code=A&iss=", "%", ";", "state=the+state;code=A", "state=the+state&code=%00%ff",
		"state=the+state&id_token=e30.e30.&access_token=A", "STATE=the+state&code=A", "state[]=the+state&code=A",
	} {
		f.Add(seed)
	}
	keys := newStub(f).keys
	f.Fuzz(func(t *testing.T, raw string) {
		query, _ := url.ParseQuery(raw)
		network := &stub{keys: keys, asked: map[string]int{}}
		// It gives tokens to nobody.
		network.answer = func(r *http.Request) (*http.Response, error) {
			if r.URL.Path != tokenPath {
				return network.usual(r)
			}
			recorder := httptest.NewRecorder()
			say(recorder, 400, object{"error": "invalid_grant"})
			return recorder.Result(), nil
		}
		i, _ := newIssuers(clock.source())
		i.Through(network)
		v, err := i.Finish(t.Context(), &tenant.SignOn{AccountID: "an account", Issuer: state.Issuer, ClientID: clientID}, secret, redirectURL, state, query)
		e, ok := err.(*tenant.Error)
		if !ok || v != (service.Verified{}) || e.Kind != tenant.Unauthenticated && e.Kind != tenant.Unavailable || e.Detail == "" {
			t.Errorf("%+v, %v", v, err)
		}
		if asked := network.counts(); len(asked) > 0 && (len(query["state"]) != 1 || query.Get("state") != "the state" || query.Get("code") == "") {
			t.Errorf("asked %v", asked)
		}
		// The same without anything begun.
		if v, err := i.Finish(t.Context(), &tenant.SignOn{}, secret, redirectURL, signon.State{}, query); err == nil {
			t.Errorf("accepted: %+v", v)
		}
	})
}
