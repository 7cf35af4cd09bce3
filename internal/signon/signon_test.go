package signon_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/signon"
	"github.com/tenantry/tenantry/internal/tenant"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	const ada = "ada@example.com"
	for name, test := range map[string]struct {
		edit     func(*provider)
		email    string
		verified bool
	}{
		"RS256":          {nil, ada, true},
		"ES256":          {func(p *provider) { p.signing = ecKey(p.t, "one") }, ada, true},
		"no key id":      {func(p *provider) { p.signing.id = "" }, ada, true},
		"client in body": {announce("token_endpoint_auth_methods_supported", []string{"client_secret_post", "private_key_jwt"}), ada, true},
		"algorithms not announced": {func(p *provider) {
			p.document = func(o object) { delete(o, "id_token_signing_alg_values_supported") }
		}, ada, true},
		"several audiences": {claim(object{"aud": []string{"another", clientID}, "azp": clientID}), ada, true},
		"not verified":      {claim(object{"email_verified": false}), ada, false},
		"verified as text":  {claim(object{"email_verified": "true"}), ada, true},
		"verified as what":  {claim(object{"email_verified": 1}), ada, false},
		"verified unsaid":   {claim(object{"email_verified": nil}), ada, false},
		"clock behind":      {func(p *provider) { p.claims = func(o object) { o["exp"] = p.source.Now().Unix() - 59 } }, ada, true},
		"clock before":      {func(p *provider) { p.claims = func(o object) { o["nbf"] = p.source.Now().Unix() + 59 } }, ada, true},
		"userinfo": {func(p *provider) {
			claim(object{"email": nil, "email_verified": nil})(p)
			p.userInfo = object{"sub": "ada", "email": "ada@example.org", "email_verified": "true"}
		}, "ada@example.org", true},
		"userinfo, not verified": {func(p *provider) {
			claim(object{"email": nil, "email_verified": true})(p)
			p.userInfo = object{"sub": "ada", "email": "ada@example.org"}
		}, "ada@example.org", false},
		"no address": {func(p *provider) {
			claim(object{"email": nil, "email_verified": nil})(p)
			p.document = func(o object) { delete(o, "userinfo_endpoint") }
		}, "", false},
		"keys of other kinds": {func(p *provider) {
			encryption := rsaKey(p.t, "encryption").jwk()
			encryption["use"] = "enc"
			p.keys = []object{{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "new"}, {"kty": "OKP", "crv": "Ed448", "x": "AA"}, encryption, p.signing.jwk()}
		}, ada, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := newClock().source()
			p := newProvider(t, source, test.edit)
			i, notes := newIssuers(source, loopback...)
			got, err := signIn(t, i, p.signOn())
			want := service.Verified{Issuer: p.URL, Subject: "ada", Email: test.email, EmailVerified: test.verified}
			if err != nil || got != want {
				t.Errorf("%+v, %v\n%s", got, err, notes)
			}
		})
	}
}

// claim changes claims of ID tokens; nil takes one away.
func claim(change object) func(*provider) {
	return func(p *provider) {
		p.claims = func(o object) {
			for name, value := range change {
				if o[name] = value; value == nil {
					delete(o, name)
				}
			}
		}
	}
}

func announce(name string, value any) func(*provider) {
	return func(p *provider) { p.document = func(o object) { o[name] = value } }
}

func token(make func(p *provider, claims object) any) func(*provider) {
	return func(p *provider) { p.idToken = func(claims object) any { return make(p, claims) } }
}

func TestBegin(t *testing.T) {
	t.Parallel()
	clock := newClock()
	p := newProvider(t, clock.source(), nil)
	i, _ := newIssuers(clock.source(), loopback...)
	address, state, err := i.Begin(t.Context(), p.signOn(), redirectURL)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(address, p.URL+"/authorize?") {
		t.Fatalf("%s, %v", address, err)
	}
	query := u.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": clientID, "redirect_uri": redirectURL, "scope": "openid email",
		"state": state.State, "nonce": state.Nonce, "code_challenge_method": "S256",
	} {
		if query.Get(name) != want {
			t.Errorf("%s is %q, wanted %q", name, query.Get(name), want)
		}
	}
	if strings.Contains(address, state.Verifier) || len(state.Verifier) != 43 || len(state.State) != 43 || len(state.Nonce) != 43 {
		t.Errorf("%s: %+v", address, state)
	}
	if state.AccountID != "an account" || state.Issuer != p.URL || !state.ExpiresAt.Equal(clock.now.Add(10*time.Minute)) {
		t.Errorf("%+v", state)
	}
	text, _ := json.Marshal(state)
	var again signon.State
	if err := json.Unmarshal(text, &again); err != nil || again != state {
		t.Errorf("%s: %+v, %v", text, again, err)
	}
	if _, other, _ := i.Begin(t.Context(), p.signOn(), redirectURL); other.State == state.State || other.Nonce == state.Nonce || other.Verifier == state.Verifier {
		t.Error("the same again")
	}
}

// TestForgedTokens: what the token endpoint says is not believed for that alone.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*provider){
		"no token":     token(func(*provider, object) any { return nil }),
		"another type": token(func(*provider, object) any { return object{"a": 1} }),
		"no JWT":       token(func(*provider, object) any { return "canary" }),
		"alg none": token(func(_ *provider, claims object) any {
			return part(object{"alg": "none", "kid": "one"}) + "." + part(claims) + "."
		}),
		"alg none, no key id": token(func(_ *provider, claims object) any { return part(object{"alg": "none"}) + "." + part(claims) + "." }),
		"alg absent":          token(func(_ *provider, claims object) any { return part(object{"kid": "one"}) + "." + part(claims) + "." }),
		"HS256 with the client secret": token(func(p *provider, claims object) any {
			return sign(p.t, "HS256", []byte(secret), "one", claims)
		}),
		"HS256 with the public key": token(func(p *provider, claims object) any {
			der, _ := x509.MarshalPKIXPublicKey(p.signing.public)
			return sign(p.t, "HS256", der, "one", claims)
		}),
		"signature cut": token(func(p *provider, claims object) any {
			text := sign(p.t, "RS256", p.signing.private, "one", claims)
			return text[:strings.LastIndex(text, ".")+1]
		}),
		"claims changed": token(func(p *provider, claims object) any {
			parts := strings.Split(sign(p.t, "RS256", p.signing.private, "one", claims), ".")
			claims["sub"] = "the owner"
			return parts[0] + "." + part(claims) + "." + parts[2]
		}),
		"another key": token(func(p *provider, claims object) any {
			return sign(p.t, "RS256", rsaKey(p.t, "").private, "one", claims)
		}),
		"another key, another id": token(func(p *provider, claims object) any {
			return sign(p.t, "RS256", rsaKey(p.t, "").private, "two", claims)
		}),
		"another key, no id": token(func(p *provider, claims object) any {
			return sign(p.t, "RS256", rsaKey(p.t, "").private, "", claims)
		}),
		"its own key": token(func(p *provider, claims object) any {
			own := rsaKey(p.t, "one")
			text := sign(p.t, "RS256", own.private, "one", claims)
			return part(object{"alg": "RS256", "kid": "one", "jwk": own.jwk()}) + text[strings.Index(text, "."):]
		}),
		"a key for encryption": func(p *provider) {
			other := rsaKey(p.t, "two")
			jwk := other.jwk()
			jwk["use"] = "enc"
			p.keys = []object{p.signing.jwk(), jwk}
			p.idToken = func(claims object) any { return sign(p.t, "RS256", other.private, "two", claims) }
		},
		"a key of another algorithm": func(p *provider) {
			announce("id_token_signing_alg_values_supported", []string{"RS256", "RS384"})(p)
			p.idToken = func(claims object) any { return sign(p.t, "RS384", p.signing.private, "one", claims) }
		},
		"a key after too many": func(p *provider) {
			for range 64 {
				p.keys = append(p.keys, p.signing.jwk())
			}
			key := ecKey(p.t, "two")
			p.keys = append(p.keys, key.jwk())
			p.idToken = func(claims object) any { return sign(p.t, "ES256", key.private, "two", claims) }
		},
		"a key of another name": token(func(p *provider, claims object) any {
			return sign(p.t, "RS256", p.signing.private, "two", claims)
		}),
		"an algorithm that is not announced": func(p *provider) {
			announce("id_token_signing_alg_values_supported", []string{"RS256"})(p)
			key := ecKey(p.t, "two")
			p.keys = []object{p.signing.jwk(), key.jwk()}
			p.idToken = func(claims object) any { return sign(p.t, "ES256", key.private, "two", claims) }
		},
		"long header": token(func(p *provider, claims object) any {
			return part(object{"alg": "RS256", "kid": strings.Repeat("x", 1<<14)}) + "." + part(claims) + ".AAAA"
		}),
		"as JSON": token(func(p *provider, claims object) any {
			parts := strings.Split(sign(p.t, "RS256", p.signing.private, "one", claims), ".")
			text, _ := json.Marshal(object{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
			return string(text)
		}),
		"another issuer":       claim(object{"iss": "https://issuer.example.com"}),
		"no issuer":            claim(object{"iss": nil}),
		"a slash more":         func(p *provider) { p.claims = func(o object) { o["iss"] = p.URL + "/" } },
		"another audience":     claim(object{"aud": "another"}),
		"no audience":          claim(object{"aud": nil}),
		"audience, almost":     claim(object{"aud": clientID + " "}),
		"audiences, no azp":    claim(object{"aud": []string{clientID, "another"}}),
		"audiences, other azp": claim(object{"aud": []string{clientID, "another"}, "azp": "another"}),
		"other azp":            claim(object{"azp": "another"}),
		"azp empty":            claim(object{"aud": []string{clientID, "another"}, "azp": ""}),
		"azp of another type":  claim(object{"azp": []string{clientID}}),
		"another nonce":        claim(object{"nonce": strings.Repeat("A", 43)}),
		"no nonce":             claim(object{"nonce": nil}),
		"nonce empty":          claim(object{"nonce": ""}),
		"nobody":               claim(object{"sub": nil}),
		"expired":              func(p *provider) { p.claims = func(o object) { o["exp"] = p.source.Now().Unix() - 61 } },
		"no expiry":            claim(object{"exp": nil}),
		"expiry as text":       claim(object{"exp": "tomorrow"}),
		"to come":              func(p *provider) { p.claims = func(o object) { o["nbf"] = p.source.Now().Unix() + 61 } },
		"userinfo of another": func(p *provider) {
			claim(object{"email": nil})(p)
			p.userInfo = object{"sub": "the owner", "email": "owner@example.com", "email_verified": true}
		},
		"userinfo of nobody": func(p *provider) {
			claim(object{"email": nil})(p)
			p.userInfo = object{"email": "owner@example.com", "email_verified": true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := newClock().source()
			p := newProvider(t, source, edit)
			i, _ := newIssuers(source, loopback...)
			v, err := signIn(t, i, p.signOn())
			refused(t, v, err, tenant.Unauthenticated, "id_token")
		})
	}
}

// part is a piece of a JWT.
func part(o object) string {
	text, _ := json.Marshal(o)
	return base64.RawURLEncoding.EncodeToString(text)
}

// TestCallback: what the browser brings is not believed for that alone.
func TestCallback(t *testing.T) {
	t.Parallel()
	type attempt struct {
		query  url.Values
		state  signon.State
		signOn *tenant.SignOn
		secret string
		clock  *clock
		p      *provider
	}
	for name, test := range map[string]struct {
		edit      func(*attempt)
		parameter string
		asks      bool // the issuer may be asked for tokens
	}{
		"another state":     {func(a *attempt) { a.query.Set("state", strings.Repeat("A", 43)) }, "state", false},
		"no state":          {func(a *attempt) { a.query.Del("state") }, "state", false},
		"state, almost":     {func(a *attempt) { a.query.Set("state", a.state.State+"A") }, "state", false},
		"two states":        {func(a *attempt) { a.query.Add("state", "A") }, "state", false},
		"two codes":         {func(a *attempt) { a.query.Add("code", "A") }, "state", false},
		"no sign-in begun":  {func(a *attempt) { a.state, a.query = signon.State{}, url.Values{"code": a.query["code"]} }, "state", false},
		"no nonce begun":    {func(a *attempt) { a.state.Nonce = "" }, "state", false},
		"no verifier begun": {func(a *attempt) { a.state.Verifier = "" }, "state", false},
		"too late":          {func(a *attempt) { a.clock.add(10 * time.Minute) }, "state", false},
		"of another account": {func(a *attempt) {
			other := *a.signOn
			other.AccountID = "another"
			a.signOn = &other
		}, "state", false},
		"issuer changed": {func(a *attempt) {
			other := *a.signOn
			other.Issuer = "https://issuer.example.com"
			a.signOn = &other
		}, "state", false},
		"iss of another":           {func(a *attempt) { a.query.Set("iss", "https://issuer.example.com") }, "code", false},
		"iss, almost":              {func(a *attempt) { a.query.Set("iss", a.p.URL+"/") }, "code", false},
		"iss empty":                {func(a *attempt) { a.query.Set("iss", "") }, "code", false},
		"two iss":                  {func(a *attempt) { a.query["iss"] = []string{a.p.URL, a.p.URL} }, "state", false},
		"iss announced and absent": {func(a *attempt) { a.query.Del("iss") }, "code", false},
		"no code":                  {func(a *attempt) { a.query.Del("code") }, "code", false},
		"denied":                   {func(a *attempt) { a.query.Set("error", "access_denied") }, "code", false},
		"another error":            {func(a *attempt) { a.query.Set("error", "canary"); a.query.Set("error_description", "canary") }, "code", false},
		"another code":             {func(a *attempt) { a.query.Set("code", "A") }, "code", true},
		"another verifier":         {func(a *attempt) { a.state.Verifier = strings.Repeat("A", 43) }, "code", true},
		"another secret":           {func(a *attempt) { a.secret = "canary" }, "code", true},
		"another client": {func(a *attempt) {
			other := *a.signOn
			other.ClientID = "another"
			a.signOn = &other
		}, "code", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			p := newProvider(t, clock.source(), func(p *provider) {
				if name == "iss announced and absent" {
					announce("authorization_response_iss_parameter_supported", true)(p)
				}
			})
			i, _ := newIssuers(clock.source(), loopback...)
			address, state, err := i.Begin(t.Context(), p.signOn(), redirectURL)
			if err != nil {
				t.Fatal(err)
			}
			a := &attempt{visit(t, address), state, p.signOn(), secret, clock, p}
			test.edit(a)
			v, err := i.Finish(t.Context(), a.signOn, a.secret, redirectURL, a.state, a.query)
			refused(t, v, err, tenant.Unauthenticated, test.parameter)
			if name == "denied" && err.Error() != "You did not sign in there." {
				t.Error(err)
			}
			if asked := p.count(tokenPath) > 0; asked != test.asks {
				t.Errorf("the issuer was asked for tokens: %t", asked)
			}
		})
	}
	t.Run("iss of the issuer", func(t *testing.T) {
		t.Parallel()
		source := newClock().source()
		p := newProvider(t, source, announce("authorization_response_iss_parameter_supported", true))
		i, _ := newIssuers(source, loopback...)
		address, state, err := i.Begin(t.Context(), p.signOn(), redirectURL)
		if err != nil {
			t.Fatal(err)
		}
		query := visit(t, address)
		query.Set("iss", p.URL)
		if _, err := i.Finish(t.Context(), p.signOn(), secret, redirectURL, state, query); err != nil {
			t.Error(err)
		}
		// A code is good once.
		v, err := i.Finish(t.Context(), p.signOn(), secret, redirectURL, state, query)
		refused(t, v, err, tenant.Unauthenticated, "code")
	})
}

// TestMixUp: one organization's issuer passes the code of another's on to its own.
func TestMixUp(t *testing.T) {
	t.Parallel()
	source := newClock().source()
	honest, lying := newProvider(t, source, nil), newProvider(t, source, nil)
	i, _ := newIssuers(source, loopback...)
	_, state, err := i.Begin(t.Context(), lying.signOn(), redirectURL)
	if err != nil {
		t.Fatal(err)
	}
	address, _, err := i.Begin(t.Context(), honest.signOn(), redirectURL)
	if err != nil {
		t.Fatal(err)
	}
	query := visit(t, address)
	query.Set("state", state.State)
	query.Set("iss", honest.URL)
	v, err := i.Finish(t.Context(), lying.signOn(), secret, redirectURL, state, query)
	refused(t, v, err, tenant.Unauthenticated, "code")
	if lying.count(tokenPath) != 0 {
		t.Error("the lying issuer has seen the code")
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	clock := newClock()
	p := newProvider(t, clock.source(), nil)
	i, notes := newIssuers(clock.source(), loopback...)
	good := func(when string, asked int) {
		t.Helper()
		if _, err := signIn(t, i, p.signOn()); err != nil {
			t.Errorf("%s: %v\n%s", when, err, notes)
		}
		if p.count(keysPath) != asked {
			t.Errorf("%s: keys were asked for %d times, wanted %d", when, p.count(keysPath), asked)
		}
	}
	good("first", 1)
	good("again", 1)
	clock.add(10 * time.Second)
	p.set(func() { p.signing = ecKey(t, "two") })
	good("another key", 2)
	clock.add(10 * time.Second)
	p.set(func() { p.signing = ecKey(t, "two") })
	good("another key of the same name", 3)

	// Signed by a key that the issuer does not have, however often.
	stranger := ecKey(t, "three")
	p.set(func() {
		p.keys = []object{p.signing.jwk()}
		p.idToken = func(claims object) any { return sign(t, "ES256", stranger.private, "three", claims) }
	})
	for range 5 {
		v, err := signIn(t, i, p.signOn())
		refused(t, v, err, tenant.Unauthenticated, "id_token")
	}
	if p.count(keysPath) != 3 {
		t.Errorf("keys were asked for %d times", p.count(keysPath))
	}
	clock.add(10 * time.Second)
	for range 5 {
		v, err := signIn(t, i, p.signOn())
		refused(t, v, err, tenant.Unauthenticated, "id_token")
	}
	if p.count(keysPath) != 4 {
		t.Errorf("keys were asked for %d times", p.count(keysPath))
	}

	// A key that was taken away is good no more once it is looked again.
	p.set(func() { p.idToken, p.keys = nil, []object{stranger.jwk()} })
	clock.add(10 * time.Minute)
	v, err := signIn(t, i, p.signOn())
	refused(t, v, err, tenant.Unauthenticated, "id_token")
}

// TestUnfitIssuers: an issuer that cannot be used is Unavailable for users, and refused
// when its owner enters it.
func TestUnfitIssuers(t *testing.T) {
	t.Parallel()
	answer := func(path string, f http.HandlerFunc) func(*provider) {
		return func(p *provider) { p.answers[path] = f }
	}
	huge := new(big.Int).Lsh(big.NewInt(1), 1<<20)
	tests := map[string]func(*provider){
		"not found":    answer(documentPath, http.NotFound),
		"status 500":   answer(documentPath, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "canary", 500) }),
		"no JSON":      answer(documentPath, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "canary") }),
		"empty":        answer(documentPath, func(http.ResponseWriter, *http.Request) {}),
		"other JSON":   answer(documentPath, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `["canary"]`) }),
		"endless":      func(p *provider) { p.answers[documentPath] = endless(p.t, `{"issuer":"canary`) },
		"endless keys": func(p *provider) { p.answers[keysPath] = endless(p.t, `{"keys":[{"kty":"`) },
		"good, and then endless": func(p *provider) {
			p.answers[documentPath] = func(w http.ResponseWriter, r *http.Request) {
				text, _ := json.Marshal(p.configuration())
				endless(p.t, string(text))(w, r)
			}
		},
		"long header": func(p *provider) {
			p.answers[documentPath] = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X", strings.Repeat("x", 1<<17))
				say(w, 200, p.configuration())
			}
		},
		"status 404, and yet all of it": func(p *provider) {
			p.answers[documentPath] = func(w http.ResponseWriter, _ *http.Request) { say(w, 404, p.configuration()) }
		},
		"huge":                    announce("x", strings.Repeat("x", 1<<20)),
		"hangs up":                answer(documentPath, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"called otherwise":        announce("issuer", "https://canary.example.com"),
		"no name":                 announce("issuer", nil),
		"no authorization":        announce("authorization_endpoint", ""),
		"authorization by script": announce("authorization_endpoint", "javascript:alert(1)//canary"),
		"token endpoint relative": announce("token_endpoint", "/token"),
		"token endpoint ftp":      announce("token_endpoint", "ftp://127.0.0.1/token"),
		"userinfo by file":        announce("userinfo_endpoint", "file:///etc/passwd"),
		"keys with a password": func(p *provider) {
			p.document = func(o object) { o["jwks_uri"] = strings.Replace(p.URL, "//", "//a:b@", 1) + keysPath }
		},
		"long endpoint":    announce("token_endpoint", "https://example.com/"+strings.Repeat("x", 4096)),
		"symmetric alone":  announce("id_token_signing_alg_values_supported", []string{"none", "HS256"}),
		"no algorithm":     announce("id_token_signing_alg_values_supported", []string{}),
		"no client secret": announce("token_endpoint_auth_methods_supported", []string{"private_key_jwt"}),
		"no keys":          func(p *provider) { p.keys = []object{} },
		"symmetric keys":   func(p *provider) { p.keys = []object{{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}} },
		"private keys": func(p *provider) {
			jwk := p.signing.jwk()
			jwk["d"] = "AQAB"
			p.keys = []object{jwk}
		},
		"a key that takes minutes": func(p *provider) {
			p.keys = []object{keyPair{"one", "RS256", nil, &rsa.PublicKey{N: huge, E: 1<<31 - 1}}.jwk()}
		},
		"keys elsewhere": answer(keysPath, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys2", http.StatusFound) }),
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := newClock().source()
			p := newProvider(t, source, edit)
			i, notes := newIssuers(source, loopback...)
			address, state, err := i.Begin(t.Context(), p.signOn(), redirectURL)
			refused(t, service.Verified{}, err, tenant.Unavailable, "")
			if address != "" || state != (signon.State{}) {
				t.Errorf("%s, %+v", address, state)
			}
			err = i.Check(t.Context(), p.URL)
			refused(t, service.Verified{}, err, tenant.Invalid, "")
			if e, ok := err.(*tenant.Error); ok && e.Pointer != "/issuer" {
				t.Errorf("points at %q", e.Pointer)
			}
			if !strings.Contains(notes.String(), "reason=") || strings.Contains(notes.String(), "canary") {
				t.Errorf("noted: %s", notes)
			}
		})
	}
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		source := newClock().source()
		p := newProvider(t, source, nil)
		i, _ := newIssuers(source, loopback...)
		if err := i.Check(t.Context(), p.URL); err != nil {
			t.Error(err)
		}
		for _, bad := range []string{"", "x", "https://", "ftp://example.com", "https://a@example.com", "https://example.com/#x", "https://example.com/?x", "https://" + strings.Repeat("x", 4096), "https://[::1", "https://example.com\n"} {
			refused(t, service.Verified{}, i.Check(t.Context(), bad), tenant.Invalid, "")
		}
	})
	t.Run("down", func(t *testing.T) {
		t.Parallel()
		source := newClock().source()
		p := newProvider(t, source, nil)
		i, _ := newIssuers(source, loopback...)
		p.Close()
		refused(t, service.Verified{}, i.Check(t.Context(), p.URL), tenant.Invalid, "")
		_, _, err := i.Begin(t.Context(), p.signOn(), redirectURL)
		refused(t, service.Verified{}, err, tenant.Unavailable, "")
	})
}

// endless is an answer that never ends; white space, so that what it begins with stands.
// It wants the reader to go before the tenth mebibyte.
func endless(t testing.TB, head string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, head)
		for range 160 {
			if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
				return
			}
		}
		t.Error("10 MiB were read")
	}
}

// TestUnfitAnswers: the same after the sign-in.
func TestUnfitAnswers(t *testing.T) {
	t.Parallel()
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}
	for name, test := range map[string]struct {
		path   string
		answer http.HandlerFunc
	}{
		"status 500": {tokenPath, func(w http.ResponseWriter, _ *http.Request) { say(w, 500, object{"error": "canary"}) }},
		"status 503": {tokenPath, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "canary", http.StatusServiceUnavailable) }},
		"too many":   {tokenPath, func(w http.ResponseWriter, _ *http.Request) { say(w, 429, object{"error": "slow_down"}) }},
		"no JSON":    {tokenPath, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "canary") }},
		"no token":   {tokenPath, func(w http.ResponseWriter, _ *http.Request) { say(w, 200, object{"id_token": "canary"}) }},
		"endless":    {tokenPath, endless(t, `{"access_token":"canary`)},
		"redirect":   {tokenPath, redirect},
		"hangs up":   {tokenPath, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"userinfo: status 500": {userInfoPath, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "canary", 500)
		}},
		"userinfo: a JWT": {userInfoPath, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/jwt")
			io.WriteString(w, part(object{"alg": "none"})+"."+part(object{"sub": "ada", "email": "owner@example.com"})+".")
		}},
		"userinfo: endless":  {userInfoPath, endless(t, `{"sub":"ada","email":"`)},
		"userinfo: redirect": {userInfoPath, redirect},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := newClock().source()
			p := newProvider(t, source, func(p *provider) {
				p.answers[test.path] = test.answer
				claim(object{"email": nil})(p)
			})
			i, notes := newIssuers(source, loopback...)
			v, err := signIn(t, i, p.signOn())
			refused(t, v, err, tenant.Unavailable, "")
			// The token endpoint may have moved: the next asks where it is.
			i.Begin(t.Context(), p.signOn(), redirectURL)
			if asked := p.count(documentPath); test.path == tokenPath && asked != 2 {
				t.Errorf("asked for the configuration %d times", asked)
			}
			if p.count("/elsewhere") != 0 {
				t.Error("a redirect was followed")
			}
			if strings.Contains(notes.String(), "canary") {
				t.Errorf("noted: %s", notes)
			}
		})
	}
	t.Run("the issuer has trouble", func(t *testing.T) {
		t.Parallel()
		source := newClock().source()
		p := newProvider(t, source, nil)
		i, _ := newIssuers(source, loopback...)
		_, state, err := i.Begin(t.Context(), p.signOn(), redirectURL)
		if err != nil {
			t.Fatal(err)
		}
		v, err := i.Finish(t.Context(), p.signOn(), secret, redirectURL, state, url.Values{"state": {state.State}, "error": {"server_error"}})
		refused(t, v, err, tenant.Unavailable, "")
	})
	t.Run("the keys cannot be asked for", func(t *testing.T) {
		t.Parallel()
		clock := newClock()
		p := newProvider(t, clock.source(), nil)
		i, _ := newIssuers(clock.source(), loopback...)
		address, state, err := i.Begin(t.Context(), p.signOn(), redirectURL)
		if err != nil {
			t.Fatal(err)
		}
		clock.add(time.Minute)
		p.set(func() {
			p.signing = rsaKey(t, "two")
			p.answers[keysPath] = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "canary", 500) }
		})
		v, err := i.Finish(t.Context(), p.signOn(), secret, redirectURL, state, visit(t, address))
		refused(t, v, err, tenant.Unavailable, "")
		// What was known of the issuer is not believed any more.
		_, _, err = i.Begin(t.Context(), p.signOn(), redirectURL)
		refused(t, service.Verified{}, err, tenant.Unavailable, "")
	})
}

// TestSlow: whoever waits no longer is let go, at each endpoint.
func TestSlow(t *testing.T) {
	t.Parallel()
	for _, path := range []string{documentPath, keysPath, tokenPath, userInfoPath} {
		for _, body := range []bool{false, true} {
			t.Run(path, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancel(t.Context())
				hold := make(chan struct{})
				source := newClock().source()
				p := newProvider(t, source, func(p *provider) {
					claim(object{"email": nil})(p)
					p.answers[path] = func(w http.ResponseWriter, r *http.Request) {
						if body {
							io.WriteString(w, "{")
							w.(http.Flusher).Flush()
						}
						cancel()
						<-hold
					}
				})
				t.Cleanup(func() { close(hold) })
				i, _ := newIssuers(source, loopback...)
				address, state, err := i.Begin(ctx, p.signOn(), redirectURL)
				if path == documentPath || path == keysPath {
					refused(t, service.Verified{}, err, tenant.Unavailable, "")
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				v, err := i.Finish(ctx, p.signOn(), secret, redirectURL, state, visit(t, address))
				refused(t, v, err, tenant.Unavailable, "")
			})
		}
	}
}

func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, notes := newIssuers(tenant.NewSource(nil, nil))
		network := newStub(t)
		i.Through(network)
		network.answer = func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		for _, ask := range []func() error{
			func() error { return i.Check(t.Context(), "https://issuer.example.com") },
			func() error {
				_, _, err := i.Begin(t.Context(), &tenant.SignOn{Issuer: "https://issuer.example.com"}, redirectURL)
				return err
			},
		} {
			start := time.Now()
			if err := ask(); err == nil || time.Since(start) != 10*time.Second {
				t.Errorf("%v after %s", err, time.Since(start))
			}
			synctest.Wait()
		}
		if !strings.Contains(notes.String(), "no answer in time") {
			t.Errorf("noted: %s", notes)
		}
	})
}

// TestRemembered: what an issuer said is kept for ten minutes, and asked for once by
// whoever wants to know it at the same time.
func TestRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, _ := newIssuers(tenant.NewSource(nil, nil))
		network := newStub(t)
		i.Through(network)
		begin := func(ctx context.Context, issuer string) error {
			_, _, err := i.Begin(ctx, &tenant.SignOn{Issuer: issuer, ClientID: clientID}, redirectURL)
			return err
		}
		const issuer = "https://issuer.example.com"
		wanted := func(when string, count int) {
			t.Helper()
			if got := network.counts(); got[issuer+documentPath] != count {
				t.Errorf("%s: asked %v, wanted %d", when, got, count)
			}
		}

		// The first to ask goes away; a hundred others wait.
		network.answer = func(r *http.Request) (*http.Response, error) {
			select {
			case <-time.After(time.Second):
				return network.usual(r)
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 100)
		go func() { results <- begin(ctx, issuer) }()
		synctest.Wait()
		for range 100 {
			go func() { results <- begin(t.Context(), issuer) }()
		}
		synctest.Wait()
		cancel()
		if err := <-results; !tenant.IsKind(err, tenant.Unavailable) {
			t.Errorf("who went away: %v", err)
		}
		for range 100 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		wanted("at once", 1)
		network.answer = network.usual

		time.Sleep(9 * time.Minute)
		if err := begin(t.Context(), issuer); err != nil {
			t.Error(err)
		}
		wanted("soon", 1)
		time.Sleep(time.Minute)
		if err := begin(t.Context(), issuer); err != nil {
			t.Error(err)
		}
		wanted("after ten minutes", 2)

		// A failure is not kept, neither is what was known before.
		time.Sleep(10 * time.Minute)
		network.answer = func(*http.Request) (*http.Response, error) { return nil, errors.New("away") }
		if err := begin(t.Context(), issuer); err == nil {
			t.Error("no failure")
		}
		wanted("away", 3)
		network.answer = network.usual
		if err := begin(t.Context(), issuer); err != nil {
			t.Error(err)
		}
		wanted("back", 4)

		// An owner who enters it again asks again.
		time.Sleep(time.Minute)
		if err := i.Check(t.Context(), issuer); err != nil {
			t.Error(err)
		}
		wanted("check", 5)

		// More issuers than are remembered: the oldest goes.
		time.Sleep(time.Second)
		for n := range signon.MostIssuers - 1 {
			if err := begin(t.Context(), "https://"+string(rune('a'+n%26))+rand.Text()+".example.com"); err != nil {
				t.Fatal(err)
			}
		}
		begin(t.Context(), issuer)
		wanted("full", 5)
		begin(t.Context(), "https://one-more.example.com")
		begin(t.Context(), issuer)
		wanted("more than full", 6)
	})
}

// TestHostile: an issuer that makes the reading of it panic takes nobody along.
func TestHostile(t *testing.T) {
	t.Parallel()
	i, _ := newIssuers(tenant.NewSource(nil, nil))
	network := newStub(t)
	i.Through(network)
	network.answer = func(*http.Request) (*http.Response, error) { panic("canary") }
	refused(t, service.Verified{}, i.Check(t.Context(), "https://issuer.example.com"), tenant.Invalid, "")
	network.answer = network.usual
	if err := i.Check(t.Context(), "https://issuer.example.com"); err != nil {
		t.Error(err)
	}
}
