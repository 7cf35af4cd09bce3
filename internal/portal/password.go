package portal

import (
	"net/http"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

var passwordRoutes = []Route{
	{"forgot password", "GET " + service.ForgotPath, Anybody, (*Portal).showForgot},
	{"forgot password", "POST " + service.ForgotPath, Anybody, (*Portal).forgot},
	{"reset password", "GET " + service.ResetPath, Anybody, (*Portal).showReset},
	{"reset password", "POST " + service.ResetPath, Anybody, (*Portal).reset},
}

func (p *Portal) showForgot(*visit) (any, error) {
	return page{template: "forgot", title: "Forgot your password?", data: false}, nil
}

func (p *Portal) forgot(v *visit) (any, error) {
	if err := p.service.RequestReset(v.Context(), v.text("email"), "", p.where(v)); err != nil {
		return p.again(v, err, (*Portal).showForgot)
	}
	return page{template: "forgot", title: "Look into your mail", data: true}, nil
}

// mailed is the token of a link in a mail.
func (v *visit) mailed() string {
	if v.Method == http.MethodPost {
		return v.text("token")
	}
	return v.URL.Query().Get("token")
}

type resetForm struct{ Token, Email string }

func (p *Portal) showReset(v *visit) (any, error) {
	user, err := p.service.CheckReset(v.Context(), v.mailed())
	if err != nil {
		return p.deadLink(v, err)
	}
	return page{template: "reset", title: "Set a new password", data: resetForm{v.mailed(), user.Email}}, nil
}

// deadLink is shown for a link that is good no more.
func (p *Portal) deadLink(v *visit, err error) (any, error) {
	if !tenant.IsKind(err, tenant.Unauthenticated) {
		return nil, err
	}
	return page{template: "dead-link", title: "This link is over", status: http.StatusGone, data: err.Error()}, nil
}

func (p *Portal) reset(v *visit) (any, error) {
	if v.PostForm.Get("password") != v.PostForm.Get("repeated") {
		return p.again(v, tenant.RefuseField(tenant.Invalid, "repeated", "The two passwords differ."), (*Portal).showReset)
	}
	if err := p.service.ResetPassword(v.Context(), v.mailed(), v.PostForm.Get("password"), v.requestID); err != nil {
		if tenant.IsKind(err, tenant.Unauthenticated) {
			return p.deadLink(v, err)
		}
		return p.again(v, err, (*Portal).showReset)
	}
	return redirect{to: signInPath, notice: "Your new password is set. Sign in with it."}, nil
}
