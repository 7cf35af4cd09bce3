package httpapi

import (
	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

var sessionRoutes = []Route{
	{"CreateSession", "POST /portal/session", "public", (*Server).createSession},
	{"GetSession", "GET /portal/session", "session", (*Server).getSession},
	{"DeleteSession", "DELETE /portal/session", "session", (*Server).deleteSession},
}

func (s *Server) createSession(c *call) (any, error) {
	var body api.CreateSession
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Email == "" {
		return nil, tenant.RefuseField(tenant.Missing, "email", "An email address is required.")
	}
	if body.Password == "" {
		return nil, tenant.RefuseField(tenant.Missing, "password", "A password is required.")
	}
	if tenant.CheckEmail("email", body.Email) != nil {
		return nil, tenant.RefuseField(tenant.Unauthenticated, "password", "")
	}
	// One address may try less often than one e-mail may be tried, so that nobody
	// alone can lock another out.
	if !s.signIns.take(s.Address(c.Request)).ok || !s.signInsTo.take(tenant.EmailKey(body.Email)).ok {
		s.rateLimited("sign_ins")
		return nil, tenant.RefuseField(tenant.TooMany, "email", "Too many tries to sign in. Wait a little.")
	}
	organization := ""
	if body.OrganizationID != nil {
		organization = *body.OrganizationID
	}
	code := ""
	if body.Code != nil {
		code = *body.Code
	}
	session, err := s.service.SignIn(c.Context(), service.SignIn{
		Email: body.Email, Password: body.Password, OrganizationID: organization, Code: code, Kind: store.APISession,
		Where: service.Where{Address: s.Address(c.Request), UserAgent: c.UserAgent()}, RequestID: c.requestID,
	})
	if err != nil {
		return nil, err
	}
	return api.Response[api.CreatedSession]{Data: api.CreatedSession{
		RecordType: "session", Token: session.Token, ExpiresAt: api.Time(session.ExpiresAt), User: wireUser(&session.User),
	}}, nil
}

func (s *Server) getSession(c *call) (any, error) { return wireSession(c.session), nil }

func (s *Server) deleteSession(c *call) (any, error) {
	return wireSession(c.session), s.service.SignOut(c.Context(), c.session.Session)
}

func wireSession(session *service.Session) api.Response[api.Session] {
	return api.Response[api.Session]{Data: api.Session{
		RecordType: "session", ExpiresAt: api.Time(session.ExpiresAt), User: wireUser(&session.User),
	}}
}
