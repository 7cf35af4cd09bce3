package httpapi

import (
	"strings"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/service"
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
	for _, key := range []string{"address " + address(c.Request), "email " + tenant.EmailKey(body.Email)} {
		if v := s.signIns.take(key); !v.ok {
			return nil, tenant.RefuseField(tenant.TooMany, "email", "Too many tries to sign in. Wait a little.")
		}
	}
	organization := ""
	if body.OrganizationID != nil {
		organization = *body.OrganizationID
	}
	session, err := s.service.SignIn(c.Context(), body.Email, body.Password, organization, c.requestID)
	if err != nil {
		return nil, err
	}
	return api.Response[api.CreatedSession]{Data: api.CreatedSession{
		RecordType: "session", Token: session.Token, ExpiresAt: api.Time(session.ExpiresAt), User: wireUser(&session.User),
	}}, nil
}

func (s *Server) getSession(c *call) (any, error) {
	return sessionAnswer(s.service.Session(c.Context(), bearer(c)))
}

func (s *Server) deleteSession(c *call) (any, error) {
	return sessionAnswer(s.service.SignOut(c.Context(), bearer(c)))
}

func bearer(c *call) string {
	scheme, token, _ := strings.Cut(c.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func sessionAnswer(session *service.Session, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return api.Response[api.Session]{Data: api.Session{
		RecordType: "session", ExpiresAt: api.Time(session.ExpiresAt), User: wireUser(&session.User),
	}}, nil
}
