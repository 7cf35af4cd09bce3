// Package signon asks an organization's issuer who somebody is: the relying party of
// OpenID Connect, by authorization code and PKCE.
//
// Tenants enter issuers, so an issuer is trusted to speak for its organization's people
// and with nothing else: not to be in a network that only this server reaches, not to
// be quick, brief or well-formed. Nothing here touches the database.
package signon

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

const (
	// patience is how long a call waits for the issuer, whatever it asks there.
	patience = 10 * time.Second
	// stateLife is how long somebody may take to sign in.
	stateLife = 10 * time.Minute
	// leeway is how far the issuer's clock may be from ours.
	leeway = time.Minute
)

// Options tune Issuers.
type Options struct {
	// Allowed are networks that issuers may be in beside the public Internet.
	Allowed []netip.Prefix
	Source  *tenant.Source
	// Logger is told why an issuer could not be used; nil for nobody. Users are not
	// told: it would help them to look around in networks that are not theirs.
	Logger *slog.Logger
}

// State is what to keep between Begin and Finish, where nobody but the browser's user
// can use it. It is good for one Finish.
type State struct {
	AccountID string `json:"account_id"`
	Issuer    string `json:"issuer"`
	State     string `json:"state"`
	Nonce     string `json:"nonce"`
	// Verifier is a secret: with it and the code somebody else could sign in.
	Verifier  string    `json:"verifier"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Begin asks for a sign-in at the organization's issuer: url is where to send the
// browser, which the issuer sends back to redirectURL within ten minutes. An issuer that
// cannot be asked is refused with kind Unavailable.
func (i *Issuers) Begin(ctx context.Context, signOn *tenant.SignOn, redirectURL string) (url string, state State, err error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	found, err := i.find(ctx, signOn.Issuer, keepIssuer)
	if err != nil {
		return "", State{}, i.unavailable(signOn.AccountID, signOn.Issuer, err)
	}
	state = State{
		AccountID: signOn.AccountID, Issuer: signOn.Issuer, State: i.secret(), Nonce: i.secret(), Verifier: i.secret(),
		ExpiresAt: i.source.Now().Add(stateLife),
	}
	config := found.client(signOn, "", redirectURL)
	return config.AuthCodeURL(state.State, oidc.Nonce(state.Nonce), oauth2.S256ChallengeOption(state.Verifier)), state, nil
}

// secret is a text that cannot be guessed, of the form that a PKCE verifier must have.
func (i *Issuers) secret() string { return base64.RawURLEncoding.EncodeToString(i.source.Bytes(32)) }

// Finish takes the query that the issuer sent the browser back with. What does not prove
// who that is, is refused with kind Unauthenticated; an issuer that cannot be asked with
// kind Unavailable. The address is verified only if the issuer says so.
func (i *Issuers) Finish(ctx context.Context, signOn *tenant.SignOn, secret, redirectURL string, state State, query url.Values) (service.Verified, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	code, err := i.code(signOn, state, query)
	if err != nil {
		return service.Verified{}, err
	}
	found, err := i.find(ctx, signOn.Issuer, keepIssuer)
	if err != nil {
		return service.Verified{}, i.unavailable(signOn.AccountID, signOn.Issuer, err)
	}
	// Another server's answer could be passed off for this one's (RFC 9207).
	if found.namesItself && !query.Has("iss") {
		return service.Verified{}, refuse("code", "The answer does not say which sign-in server it comes from. Begin again.")
	}
	token, err := i.exchange(ctx, found, signOn, secret, redirectURL, code, state.Verifier)
	if err != nil {
		return service.Verified{}, err
	}
	raw, _ := token.Extra("id_token").(string)
	claims, err := i.verify(ctx, found, signOn, state.Nonce, raw)
	if err != nil {
		return service.Verified{}, err
	}
	if claims.Email == "" && found.userInfoURL != "" {
		var more claimsOf
		if err := i.get(ctx, i.client, found.userInfoURL, token.AccessToken, &more); err != nil {
			return service.Verified{}, i.unavailable(signOn.AccountID, signOn.Issuer, err)
		}
		if more.Subject != claims.Subject {
			return service.Verified{}, refuse("id_token", "The sign-in server told of two different people. Begin again.")
		}
		claims.Email, claims.EmailVerified = more.Email, more.EmailVerified
	}
	return service.Verified{
		Issuer: signOn.Issuer, Subject: claims.Subject, Email: claims.Email, EmailVerified: bool(claims.EmailVerified),
	}, nil
}

func refuse(parameter, detail string) error {
	return tenant.RefuseParameter(tenant.Unauthenticated, parameter, detail)
}

// code is what the query has to be exchanged, once it is the answer to what was begun.
func (i *Issuers) code(signOn *tenant.SignOn, state State, query url.Values) (string, error) {
	for _, name := range []string{"state", "iss", "error", "code"} {
		if len(query[name]) > 1 {
			return "", refuse("state", "This is no answer of a sign-in server. Begin again.")
		}
	}
	switch {
	case state.State == "" || state.Nonce == "" || state.Verifier == "" || !same(query.Get("state"), state.State):
		return "", refuse("state", "This sign-in was not begun in this browser. Begin again.")
	case !i.source.Now().Before(state.ExpiresAt):
		return "", refuse("state", "This sign-in took longer than ten minutes. Begin again.")
	case state.AccountID != signOn.AccountID || state.Issuer != signOn.Issuer:
		return "", refuse("state", "Your organization has changed where its people sign in. Begin again.")
	case query.Has("iss") && query.Get("iss") != signOn.Issuer:
		return "", refuse("code", "The answer comes from another sign-in server than that of your organization. Begin again.")
	}
	// What else the query says of an error, anybody can have written.
	switch query.Get("error") {
	case "":
	case "access_denied":
		return "", refuse("code", "You did not sign in there.")
	case "server_error", "temporarily_unavailable":
		return "", i.unavailable(signOn.AccountID, signOn.Issuer, &fault{cause: "it sent the browser back with " + query.Get("error")})
	default:
		return "", refuse("code", "The sign-in server did not let you in. If that goes on, tell the owner of your organization.")
	}
	if query.Get("code") == "" {
		return "", refuse("code", "The answer of the sign-in server has no code. Begin again.")
	}
	return query.Get("code"), nil
}

// same compares in a time that tells nothing of where they differ, nor of how long.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// exchange turns the code into tokens.
func (i *Issuers) exchange(ctx context.Context, found *issuer, signOn *tenant.SignOn, secret, redirectURL, code, verifier string) (*oauth2.Token, error) {
	config := found.client(signOn, secret, redirectURL)
	token, err := config.Exchange(context.WithValue(ctx, oauth2.HTTPClient, i.client), code, oauth2.VerifierOption(verifier))
	if err == nil {
		return token, nil
	}
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		switch status := e.Response.StatusCode; {
		case status == http.StatusUnauthorized || e.ErrorCode == "invalid_client" || e.ErrorCode == "unauthorized_client":
			return nil, refuse("code", "The sign-in server does not know your organization's client id and secret. Tell the owner of your organization.")
		case e.ErrorCode != "" && status < 500 && status != http.StatusTooManyRequests:
			return nil, refuse("code", "The sign-in server did not take the code that it had given. Begin again.")
		}
		err = &fault{cause: fmt.Sprintf("the token endpoint answers with status %d", e.Response.StatusCode)}
	} else if _, ok := errors.AsType[*url.Error](err); ok || ctx.Err() != nil {
		err = unanswered(errors.Join(err, ctx.Err()))
	} else {
		err = &fault{cause: "what the token endpoint answers is none of OAuth"}
	}
	// It may have moved.
	i.forget(found)
	return nil, i.unavailable(signOn.AccountID, signOn.Issuer, err)
}

// claimsOf are what an ID token or the userinfo endpoint says of somebody.
type claimsOf struct {
	Subject       string   `json:"sub"`
	Email         string   `json:"email"`
	EmailVerified flag     `json:"email_verified"`
	Authorized    *string  `json:"azp"`
	NotBefore     *float64 `json:"nbf"`
}

// flag is a boolean, which some issuers write as text. All else is false.
type flag bool

func (f *flag) UnmarshalJSON(text []byte) error {
	*f = string(text) == `true` || string(text) == `"true"`
	return nil
}

// verify is what an ID token says, once it was the issuer that said so, to us, now, and
// as the answer to what was begun.
func (i *Issuers) verify(ctx context.Context, found *issuer, signOn *tenant.SignOn, nonce, raw string) (*claimsOf, error) {
	refused := refuse("id_token", "The answer of the sign-in server does not prove who you are. Begin again.")
	signed, err := jose.ParseSignedCompact(raw, found.algorithms)
	if err != nil {
		return nil, i.suspect(signOn, refused, err)
	}
	head := signed.Signatures[0].Protected
	keys := &keySet{issuers: i, found: found, head: head}
	now := i.source.Now()
	token, err := oidc.NewVerifier(signOn.Issuer, keys, &oidc.Config{
		ClientID: signOn.ClientID, SupportedSigningAlgs: []string{head.Algorithm}, Now: func() time.Time { return now.Add(-leeway) },
	}).Verify(ctx, raw)
	if keys.err != nil {
		return nil, i.unavailable(signOn.AccountID, signOn.Issuer, keys.err)
	}
	if _, expired := errors.AsType[*oidc.TokenExpiredError](err); expired {
		refused = refuse("id_token", "What the sign-in server says of you holds no longer. Begin again.")
	}
	if err != nil {
		return nil, i.suspect(signOn, refused, err)
	}
	var claims claimsOf
	if err := token.Claims(&claims); err != nil {
		return nil, i.suspect(signOn, refused, err)
	}
	switch {
	case !same(token.Nonce, nonce):
		err = errors.New("the nonce is not the one that was sent")
	case claims.Authorized == nil && len(token.Audience) > 1:
		err = errors.New("it is for several clients and does not say for which it was made")
	case claims.Authorized != nil && *claims.Authorized != signOn.ClientID:
		err = errors.New("it was made for another client")
	case claims.NotBefore != nil && *claims.NotBefore > float64(now.Add(leeway).Unix()):
		err = errors.New("it does not hold yet")
	case claims.Subject == "":
		err = errors.New("it names nobody")
	default:
		return &claims, nil
	}
	return nil, i.suspect(signOn, refused, err)
}

// suspect notes why an ID token was refused: whoever runs the issuer may have to mend it.
func (i *Issuers) suspect(signOn *tenant.SignOn, refused, cause error) error {
	text := cause.Error()
	i.logger.Warn("an ID token was refused", "account", signOn.AccountID, "issuer", signOn.Issuer, "reason", text[:min(len(text), 200)])
	return refused
}

// Check asks the issuer for its configuration and keys, for an owner who enters it, and
// refuses one that cannot be used.
func (i *Issuers) Check(ctx context.Context, issuer string) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if !usable(issuer, true) {
		return tenant.RefuseField(tenant.Invalid, "issuer", "Must be an https URL without a query.")
	}
	_, err := i.find(ctx, issuer, keepKeys)
	if err == nil {
		return nil
	}
	i.unavailable("", issuer, err)
	said := saidNothing
	if f, ok := errors.AsType[*fault](err); ok && f.said != "" {
		said = f.said
	}
	return tenant.RefuseField(tenant.Invalid, "issuer", said)
}

// unavailable notes why an issuer could not be used, and is what users are told.
func (i *Issuers) unavailable(accountID, issuer string, cause error) error {
	i.logger.Warn("a sign-in server cannot be used", "account", accountID, "issuer", issuer, "reason", cause.Error())
	return tenant.Refuse(tenant.Unavailable, "The sign-in server of your organization did not answer. Try again in a moment.")
}
