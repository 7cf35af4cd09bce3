package portal

import (
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Need is what a page wants of who asks: one of these, or a tenant.Action that the
// person must be able to do.
type Need string

// What a page may need beside an action.
const (
	// Anybody need not be signed in.
	Anybody Need = "anybody"
	// SignedIn is whoever has a session.
	SignedIn Need = "signed_in"
	// InPerson is who has signed in and does not act for somebody else.
	InPerson Need = "in_person"
	// Managers may manage accounts, and their own is an approved manager.
	Managers Need = "managers"
	// ManagersInPerson are those of them who do not act for somebody else.
	ManagersInPerson Need = "managers_in_person"
	// Operator is who has shown the operator's token.
	Operator Need = "operator"
)

// allows reports whether the actor, who has signed in, may see the page.
func (n Need) allows(actor tenant.Actor) bool {
	switch n {
	case SignedIn:
		return true
	case InPerson:
		return actor.PersonUserID == ""
	case Managers:
		return service.MayManage(actor) == nil
	case ManagersInPerson:
		return Managers.allows(actor) && InPerson.allows(actor)
	}
	action := tenant.Action(n)
	// What no group grants is out of reach, too, for who acts for the owner.
	return actor.Can(action) && (action.Category() != "owner" || InPerson.allows(actor))
}

// Route is one page or one change.
type Route struct {
	Name    string
	Pattern string
	Need    Need
	handle  func(*Portal, *visit) (any, error)
}

// Routes is the whole portal.
var Routes = concat(
	signInRoutes, passwordRoutes, invitationRoutes, signOnRoutes, assetRoutes, homeRoutes,
	accountRoutes, bulkRoutes, channelRoutes, connectionRoutes, userRoutes, groupRoutes,
	keyRoutes, sessionRoutes, profileRoutes, auditRoutes, operatorRoutes,
)

func concat(tables ...[]Route) (all []Route) {
	for _, t := range tables {
		all = append(all, t...)
	}
	return all
}

// item is a line of the menu.
type item struct {
	Text, Path string
	// Key is what reaches it from the keyboard, after g.
	Key  string
	need Need
	Here bool
}

var menu = []item{
	{Text: "Overview", Path: Prefix, Key: "o", need: SignedIn},
	{Text: "Accounts", Path: accountsPath, Key: "a", need: Managers},
	{Text: "Channels", Path: channelsPath, Key: "c", need: Managers},
	{Text: "Connections", Path: connectionsPath, Key: "t", need: Need(tenant.ViewConnections)},
	{Text: "Users", Path: usersPath, Key: "u", need: Need(tenant.ViewUsers)},
	{Text: "Groups", Path: groupsPath, Key: "g", need: Need(tenant.ViewUsers)},
	{Text: "Invitations", Path: invitationsPath, Key: "i", need: Need(tenant.InviteUsers)},
	{Text: "Single sign-on", Path: signOnPath, Key: "n", need: Need(tenant.ManageSignOn)},
	{Text: "Audit log", Path: auditPath, Key: "l", need: Need(tenant.ViewAudit)},
	{Text: "API keys", Path: keysPath, Key: "k", need: SignedIn},
	{Text: "Sessions", Path: sessionsPath, Key: "s", need: InPerson},
	{Text: "Profile", Path: profilePath, Key: "p", need: InPerson},
}

var operatorMenu = []item{
	{Text: "Overview", Path: operatorPath, Key: "o", need: Operator},
	{Text: "Accounts", Path: operatorAccountsPath, Key: "a", need: Operator},
}

// menuOf is what the visitor may go to; here is where the visitor is.
func menuOf(v *visit, here string) []item {
	var shown []item
	switch {
	case v.operator != nil:
		shown = append(shown, operatorMenu...)
	case v.in != nil:
		for _, i := range menu {
			if i.need.allows(v.actor) {
				shown = append(shown, i)
			}
		}
	}
	best := -1
	for i := range shown {
		if within(here, shown[i].Path) && (best < 0 || len(shown[i].Path) > len(shown[best].Path)) {
			best = i
		}
	}
	if best >= 0 {
		shown[best].Here = true
	}
	return shown
}

// within reports whether a path is the page or below it.
func within(path, page string) bool {
	if page == Prefix {
		return path == Prefix
	}
	return path == page || len(path) > len(page) && path[:len(page)] == page && path[len(page)] == '/'
}
