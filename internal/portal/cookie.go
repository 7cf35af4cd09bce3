package portal

import (
	"net/http"
	"time"
)

// Cookies are of this host alone and go by TLS alone; browsers make an exception of
// loopback addresses. Lax, so that links in mails find who is signed in: whatever
// changes something is a POST, and those of other sites are refused.
const (
	sessionCookie  = "__Host-tenantry"
	actingCookie   = "__Host-tenantry-as"       // as somebody else's owner
	pendingCookie  = "__Host-tenantry-pending"  // the password was right, a code is owed
	operatorCookie = "__Host-tenantry-operator" // the operator's session
	noticeCookie   = "__Host-tenantry-notice"
	signOnCookie   = "__Host-tenantry-sso"          // a sign-in elsewhere that is under way
	homeCookie     = "__Host-tenantry-organization" // where the browser's last single sign-on was
)

func cookie(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// remember sets a cookie; without a life it goes with the browser.
func remember(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(life.Seconds()), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

func forget(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: name, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}
