package portal

import (
	"strings"

	"github.com/tenantry/tenantry/internal/store"
)

const sessionsPath = Prefix + "sessions"

var sessionRoutes = []Route{
	{"sessions", "GET " + sessionsPath, InPerson, (*Portal).sessions},
	{"end session", "POST " + sessionsPath + "/{id}/end", InPerson, (*Portal).endSession},
	{"end all sessions", "POST " + sessionsPath + "/end-all", InPerson, (*Portal).endSessions},
}

type ownSession struct {
	store.Session
	// Here says that it is this one.
	Here bool
	// Device is what the browser calls itself, in short.
	Device string
}

func (p *Portal) sessions(v *visit) (any, error) {
	sessions, err := p.service.Sessions(v.Context(), v.actor)
	if err != nil {
		return nil, err
	}
	var shown []ownSession
	for _, s := range sessions {
		shown = append(shown, ownSession{s, s.ID == v.in.ID, device(s.UserAgent)})
	}
	return page{template: "sessions", title: "Sessions", data: shown}, nil
}

func (p *Portal) endSession(v *visit) (any, error) {
	id := v.PathValue("id")
	if err := p.service.EndSession(v.Context(), v.actor, id); err != nil {
		return p.again(v, err, (*Portal).sessions)
	}
	if id == v.in.ID {
		forget(v.w, sessionCookie)
		return redirect{to: signInPath, notice: "You are signed out."}, nil
	}
	return redirect{to: sessionsPath, notice: "That session has ended."}, nil
}

func (p *Portal) endSessions(v *visit) (any, error) {
	if err := p.service.EndSessions(v.Context(), v.actor); err != nil {
		return p.again(v, err, (*Portal).sessions)
	}
	forget(v.w, sessionCookie)
	return redirect{to: signInPath, notice: "You are signed out everywhere."}, nil
}

// device is a browser and a system, as far as a User-Agent header tells.
func device(agent string) string {
	first := func(names ...string) string {
		for _, name := range names {
			mark, shown, _ := strings.Cut(name, "=")
			if strings.Contains(agent, mark) {
				return shown
			}
		}
		return ""
	}
	browser := first("Edg/=Edge", "OPR/=Opera", "Firefox/=Firefox", "Chrome/=Chrome", "Safari/=Safari", "curl/=curl")
	system := first("iPhone=iPhone", "iPad=iPad", "Android=Android", "Windows=Windows", "Mac OS X=macOS", "Linux=Linux")
	switch {
	case browser == "" && system == "":
		return "Unknown"
	case browser == "" || system == "":
		return browser + system
	}
	return browser + " on " + system
}
